"""The address that a request counts for: of the client, or of the proxy in front of the gateway.

`X-Forwarded-For` is a claim. It counts only if the connection comes from a proxy that `FORWARDED_ALLOW_IPS` names, and
then as far as such proxies have written it: each appends the address that it sees, so the list is read from its end.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "unknown"
THIS_MACHINE: Final = "127.0.0.1"
_IPV6_PREFIX: Final = 64
"""A client chooses the rest of its IPv6 address as it likes."""


def client_network(scope: Scope, proxies: Sequence[Network]) -> str:
    """The client's IPv4 address or IPv6 network, as text; `UNKNOWN` if the server does not know it.

    `proxies`: the networks in `FORWARDED_ALLOW_IPS`. Without any, a client whose address uvicorn took from the header
    counts as a program on this machine: by default, uvicorn believes the header of every program there.
    """
    peer = str((scope.get("client") or ("",))[0])
    forwarded = _forwarded_addresses(scope)
    if not proxies:
        return THIS_MACHINE if peer in forwarded else _network_of(_parse(peer))
    address = _parse(peer)
    # Without an address, the connection came over a Unix socket. It is trusted if every address is.
    if _is_within(address, proxies) or (not peer and any(each.prefixlen == 0 for each in proxies)):
        for each in forwarded:
            address = _parse(each)
            if not _is_within(address, proxies):
                break
    return _network_of(address)


def _forwarded_addresses(scope: Scope) -> Iterator[str]:
    """The addresses in `X-Forwarded-For`, the last one first, without ports."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    for each in reversed(",".join(lines).split(",") if lines else []):
        text = each.strip()
        host, bracket, _ = text.removeprefix("[").partition("]")
        yield host if bracket or text.count(":") != 1 else text.partition(":")[0]


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _is_within(address: Address | None, networks: Sequence[Network]) -> bool:
    return address is not None and any(address in each for each in networks)


def _network_of(address: Address | None) -> str:
    if address is None:
        return UNKNOWN
    if address.is_loopback:
        return THIS_MACHINE
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False) if address.version == 6 else address)

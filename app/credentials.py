"""Credential: the headers that authenticate a request at LangSmith, and the scope that keeps tenants apart.

The secret is only in `headers`, which no repr shows. Whatever must differ between credentials, such as a cache key or a
metric label, uses `scope`: a keyed hash of LangSmith's base URL and of all headers that decide what the client may see.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

API_KEY: Final = "x-api-key"
AUTHORIZATION: Final = "authorization"
TENANT: Final = "x-tenant-id"
ORGANIZATION: Final = "x-organization-id"
CREDENTIAL_HEADERS: Final = (API_KEY, AUTHORIZATION, TENANT, ORGANIZATION)

_HEADER_VALUE: Final = re.compile(rb"[\x21-\x7e]+( [\x21-\x7e]+)*")
keyed_hash: Final = functools.partial(hashlib.blake2b, digest_size=16)

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Lower-case names and values, as in an ASGI scope."""


@dataclass(frozen=True)
class Credential:
    """A credential for LangSmith. `scope` and `client` are keyed hashes, equal in processes with the same hash key.

    Args:
        scope: identity of what LangSmith shows for this credential.
        headers: the headers to send to LangSmith, by lower-case name. Secret.
        client: identity of the gateway's client, for its rate limit: its key or its token, whatever workspace it names.
            None if it is not known, or if it sent both a key and `Authorization`, of which LangSmith may check one.
        is_client_known: whether the gateway itself has checked the identity. Otherwise it is what the client says.
        is_gateways_own: whether all clients share this credential, which is the gateway's (`GATEWAY_AUTH=server`).
    """

    scope: str
    headers: Mapping[str, str] = field(repr=False)
    client: str | None = None
    is_client_known: bool = False
    is_gateways_own: bool = False

    @classmethod
    def of(cls, base_url: str, headers: Mapping[str, str], *, hash_key: bytes) -> "Credential":
        """The credential with these headers at the LangSmith with this base URL."""
        digest = _digest_of_base_url(base_url, hash_key).copy()
        digest.update(_framed(headers, (API_KEY, AUTHORIZATION)))
        client = digest.hexdigest() if (API_KEY in headers) != (AUTHORIZATION in headers) else None
        digest.update(_framed(headers, (TENANT, ORGANIZATION)))
        return cls(digest.hexdigest(), dict(headers), client)


@functools.lru_cache(maxsize=8)
def _digest_of_base_url(base_url: str, hash_key: bytes) -> "hashlib.blake2b":
    """The beginning of all digests of one gateway."""
    return keyed_hash(len(base_url).to_bytes(4, "big") + base_url.encode(), key=hash_key)


def _framed(headers: Mapping[str, str], names: Iterable[str]) -> bytes:
    """The headers as bytes. The length in front of each keeps ("ab", "c") and ("a", "bc") apart."""
    parts = [f"{name}={headers.get(name, '')}".encode() for name in names]
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])


def is_header_value(value: bytes) -> bool:
    """Whether this is one line of visible ASCII words, each separated by one space.

    A value with a line break could inject another header. HTTP libraries refuse it too, but quote it in their errors.
    """
    return _HEADER_VALUE.fullmatch(value) is not None

"""RedisUrl: the URL of a Redis, parsed and validated when the settings are read, with a one-line error.

A single Redis is written as in redis-py's own URLs. Sentinel groups and clusters are written as in those of the
libraries `limits` and `throttled`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import parse_url
from redis.exceptions import RedisError

_SCHEME: Final = re.compile(r"(?:(rediss?)(?:\+(sentinel|cluster))?|unix)://", re.ASCII)
_EXAMPLES: Final = {
    None: "redis://:password@redis.example.com:6379/0",
    "unix": "unix:///run/redis.sock?db=0",
    "sentinel": "redis+sentinel://:password@a.example.com:26379,b.example.com:26379/mymaster/0",
    "cluster": "redis+cluster://:password@a.example.com:6379,b.example.com:6379",
}
_PORTS: Final = {None: 6379, "sentinel": 26379, "cluster": 6379}
_OPTIONS: Final = frozenset(
    {"db", "username", "password", "client_name", "protocol", "health_check_interval", "max_connections"}
    | {f"socket_{name}" for name in ("timeout", "connect_timeout", "keepalive", "read_size")}
)
_TLS_OPTIONS: Final = frozenset(
    {f"ssl_{name}" for name in ("keyfile", "certfile", "password", "cert_reqs", "check_hostname", "min_version")}
    | {f"ssl_{name}" for name in ("ca_certs", "ca_data", "ca_path", "ciphers")}
    | {f"ssl_{name}_verify_flags" for name in ("include", "exclude")}
)
_NOT_WITH_CLUSTER: Final = frozenset({"ssl_password", "ssl_ca_path"})
"""Options that redis-py's client of a cluster does not take."""
_BROKEN_PERCENT_CODE: Final = re.compile(r"%(?![0-9a-f]{2})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RedisUrl:
    """Where a Redis is and how to connect.

    hosts: names and ports; those of the sentinels if there is a `service`, and none for a Unix socket.
    service: name that the sentinels know the master by.
    options: keyword arguments of redis-py's connections. They may hold a password, and are left out of the repr.
    """

    hosts: tuple[tuple[str, int], ...]
    service: str | None = None
    is_cluster: bool = False
    is_tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises ValueError with a message that continues `must be …` and quotes no password."""
        match = _SCHEME.match(url)
        if match is None:
            schemes = "redis, rediss, unix, redis+sentinel or redis+cluster"
            raise ValueError(f"a Redis such as {_EXAMPLES[None]}: it begins with {schemes}, and ://")
        kind = "unix" if match[0] == "unix://" else match[2]
        try:
            address = cls(**_read(_split(url), kind), is_cluster=kind == "cluster", is_tls=match[1] == "rediss")
            _check_options(address)
        except _RedisUrlError as exc:
            raise ValueError(f"a Redis such as {_EXAMPLES[kind]}: {exc}") from None
        return address


class _RedisUrlError(Exception):
    """The second half of the message: what is wrong with the URL."""


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url:
        raise _RedisUrlError("a space is written %20, and line breaks do not belong here")
    if _BROKEN_PERCENT_CODE.search(url):
        raise _RedisUrlError("a % that does not begin a code such as %2F is written %25")
    try:
        unquote(url, errors="strict")
        parts = urlsplit(url)
    except ValueError:
        raise _RedisUrlError("its % codes are not UTF-8, or its host is not valid") from None
    if parts.fragment or "#" in url or "@" in parts.path + parts.query:
        raise _RedisUrlError("in a user name, password or option, / ? # and @ are written %2F %3F %23 and %40")
    return parts


def _read(parts: SplitResult, kind: str | None) -> dict[str, Any]:
    """The values of `hosts`, `service` and `options`."""
    user, at, location = parts.netloc.rpartition("@")
    if kind == "unix":
        if location or not parts.path.strip("/"):
            raise _RedisUrlError("a path follows three slashes, and no host")
        return {"hosts": (), "options": _options(f"unix://{user}{at}{parts.path}", parts, kind)}
    hosts = tuple(_host(each, _PORTS[kind]) for each in location.split(","))
    if kind is None and len(hosts) > 1:
        raise _RedisUrlError("it has one host; several are written redis+sentinel:// or redis+cluster://")
    path = parts.path.strip("/").split("/")
    service = unquote(path.pop(0)) if kind == "sentinel" else None
    if service == "":
        raise _RedisUrlError("the name of a service follows the sentinels")
    db = "/".join(path)
    if not re.fullmatch(r"\d{0,9}", db, re.ASCII):
        raise _RedisUrlError("a database is a number")
    # redis-py parses the options. The host is a placeholder, because a URL needs one.
    options = _options(f"redis://{user}{at}redis/{db}", parts, kind)
    if kind == "cluster" and options.get("db"):
        raise _RedisUrlError("a cluster has no database but 0")
    return {"hosts": hosts, "service": service, "options": options}


def _host(text: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = "", 0
    if port == 0:
        raise _RedisUrlError("a port is a number from 1 to 65535")
    if not host:
        raise _RedisUrlError("a host is missing")
    return unquote(host), port or default_port


def _options(base: str, parts: SplitResult, kind: str | None) -> dict[str, Any]:
    """The options of the URL, with user name, password and database, as redis-py parses them."""
    known = _OPTIONS | (_TLS_OPTIONS if parts.scheme.startswith("rediss") else frozenset())
    known -= _NOT_WITH_CLUSTER if kind == "cluster" else frozenset()
    try:
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _RedisUrlError("an option is a name, = and a value") from None
    names = [name for name, _ in given]
    if not known.issuperset(names) or len(set(names)) < len(names):
        raise _RedisUrlError(f"options, each once, are {', '.join(sorted(known))}")
    if not all(value for _, value in given):
        raise _RedisUrlError("an option has no value")
    try:
        options = dict[str, Any](parse_url(f"{base}?{parts.query}"))
    except ValueError:
        raise _RedisUrlError("an option has a value that it does not take") from None
    if not all(_is_usable(name, value) for name, value in options.items()):
        raise _RedisUrlError("an option has a value that it does not take")
    return {name: value for name, value in options.items() if name not in {"host", "port", "connection_class"}}


def _is_usable(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    return 0 < value < math.inf or (value == 0 and name in {"db", "health_check_interval"})


def _check_options(address: RedisUrl) -> None:
    """Check what redis-py itself checks only when it connects, by making a connection that is never opened."""
    options = {name: value for name, value in address.options.items() if name not in {"path", "max_connections"}}
    try:
        if address.is_tls:
            SSLConnection(**options).ssl_context.get()
        else:
            Connection(**options)
    except OSError as exc:
        raise _RedisUrlError(f"its ssl_ options cannot be used, {exc.strerror or type(exc).__name__}") from None
    except (RedisError, ValueError):
        raise _RedisUrlError("an option has a value that it does not take") from None

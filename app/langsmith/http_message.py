"""The request and the response between the HTTP layer and the connection pool: values with only what a GET needs.

httpx's own take more time to make than everything else about a request (measured: 60 µs for a request, 30 for a
response), because they parse, encode and check what is known here already. Errors are httpx's.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import httpx
import msgspec

Origin = tuple[str, str, int]
"""Scheme, host and port."""
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class HttpUrl:
    """A URL without a query string, in parts.

    text: the whole URL.
    origin: where to connect.
    host: the header `Host`.
    path: decoded, for people.
    raw_path: percent-encoded, for the request line.
    """

    text: str
    origin: Origin
    host: bytes
    path: str
    raw_path: str

    @classmethod
    def of(cls, url: httpx.URL) -> "HttpUrl":
        """Raises httpx.UnsupportedProtocol for a scheme other than http and https."""
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol("The URL must begin with http:// or https://.")
        origin = url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]
        return cls(str(url), origin, url.netloc, url.path, url.raw_path.decode("ascii"))

    @property
    def scheme(self) -> str:
        return self.origin[0]


class HttpRequest(msgspec.Struct, frozen=True):
    """A GET.

    origin: where to send it.
    head: all of its bytes.
    connect_seconds, read_seconds: how long a connection, and each wait for bytes of the response, may take; None for no
        limit.
    """

    origin: Origin
    head: bytes
    connect_seconds: float | None = None
    read_seconds: float | None = None


class ResponseStream(Protocol):
    """The body of a response, which arrives in pieces. Iterating raises the httpx.TransportError that ended it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None:
        """Give up what has not arrived yet. Nothing happens if all of it has."""


class HttpResponse(msgspec.Struct, frozen=True):
    """Status and headers, and the body to come. Headers are by lower-case name; several lines of one are joined."""

    status: int
    headers: Mapping[str, str]
    stream: ResponseStream


class Connections(Protocol):
    """A pool of connections, or what takes its place."""

    async def get(self, request: HttpRequest) -> HttpResponse:
        """Send the request, and wait for the head of its response, whose stream must be closed.

        Raises the httpx.TransportError that says what went wrong; its cause is the error of the operating system.
        """

    async def aclose(self) -> None:
        """Close every connection."""


def encode_head(target: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The bytes of a GET. Raises httpx.LocalProtocolError, without quoting it, for a header with a line break."""
    lines = [b"GET %b HTTP/1.1" % target.encode("ascii"), *(b"%b: %b" % pair for pair in headers), b"", b""]
    head = b"\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise httpx.LocalProtocolError("A header of the request has a line break in it.")
    return head


def headers_by_name(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name, from their lines. The lines of one header are joined by commas."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in lines:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers

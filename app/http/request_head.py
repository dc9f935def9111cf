"""The head of a request: its limits, and the errors that refuse a request because of it.

`BoundedProtocol` checks each head before the application sees the request. With a server that does not use that class
(see protocol_selection.py), `RequestHeadMiddleware` makes the same checks later: the server has then read the whole
head into memory already.
"""

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.errors import HTTPError
from app.http.negotiation import PLAIN_JSON
from app.http.params import MAX_URL_BYTES
from app.http.response import error_response

MAX_HEADERS_BYTES: Final = 32 * 1024
"""Limit on all header lines of a request together, and on all of its trailers."""
HEAD_IS_CHECKED: Final = "head_is_checked"
"""Key in a request's `scope["state"]`: the server has checked the head, and its headers contain no trailers."""
REFUSAL: Final = "refusal"
"""Key in `scope["state"]` of the HTTPError by which the server has refused a request."""
_LINE_OVERHEAD_BYTES: Final = 4
"""Colon, space and line end of a header line."""

_HOST: Final = re.compile(rb"(?:[\w.~%-]*|\[[0-9A-Fa-f:.]+\])(?::\d*)?")
"""Value of `Host`. RFC 3986 also allows sub-delimiters, such as the comma that some take for a list of hosts."""
_HTTP_VERSIONS: Final = {"1.0", "1.1", "2", "3"}
"""Versions of HTTP, as servers call them in a request's scope."""

Headers = list[tuple[bytes, bytes]]


def headers_bytes(headers: Headers) -> int:
    """Size of header lines or trailers as HTTP/1.1 writes them."""
    return sum(len(name) + len(value) for name, value in headers) + _LINE_OVERHEAD_BYTES * len(headers)


def check_head(url: bytes, headers: Headers, http_version: str, *, may_be_long: bool = True) -> HTTPError | None:
    """The error that refuses a request with this head, or None.

    Args:
        url: the target of the request, as the client sent it.
        headers: with names in lower case.
        http_version: such as "1.1".
        may_be_long: false if URL and headers together are known to have no more bytes than a URL may have.
    """
    if may_be_long:
        if len(url) > MAX_URL_BYTES:
            return url_too_long()
        if headers_bytes(headers) > MAX_HEADERS_BYTES:
            return headers_too_long()
    hosts = []
    codings = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"transfer-encoding":
            codings.append(value.lower())
    if codings and (codings != [b"chunked"] or http_version == "1.0"):
        return refusal(501, "The only `Transfer-Encoding` is `chunked`, in HTTP/1.1.")
    if http_version not in _HTTP_VERSIONS:
        return refusal(505, "Use HTTP/1.1.")
    return _check_target(url, hosts, http_version)


def _check_target(url: bytes, hosts: list[bytes], http_version: str) -> HTTPError | None:
    # Two hosts: a proxy may have routed or authorized the request by the other one (RFC 9112, section 3.2).
    if len(hosts) > 1 or (not hosts and http_version == "1.1"):
        return refusal(400, "Send exactly one `Host` header.")
    host = hosts[0] if hosts else b""
    if not _HOST.fullmatch(host):
        return refusal(400, "The `Host` header is not a host with an optional port.")
    if not url.startswith(b"/") and url != b"*" and not _names_host(url, host):
        return refusal(400, "The URL names another host than the `Host` header.")
    if b"#" in url:  # a proxy may have taken the fragment for a part of the path
        return refusal(400, "A URL in a request has no fragment.")
    return None


def _names_host(url: bytes, host: bytes) -> bool:
    """Whether a URL with a scheme is one of HTTP for this host."""
    scheme, _, rest = url.partition(b"://")
    return scheme.lower() in {b"http", b"https"} and rest.partition(b"/")[0].lower() == host.lower()


def url_too_long() -> HTTPError:
    return refusal(414, f"The URL is longer than {MAX_URL_BYTES} bytes: send the operation by POST.")


def headers_too_long() -> HTTPError:
    return refusal(431, f"The headers are longer than {MAX_HEADERS_BYTES} bytes.")


def refusal(status: int, message: str, **headers: str) -> HTTPError:
    """An error after which the connection is closed, because the rest of the request is not read."""
    return HTTPError(status, message, connection="close", **headers)


@dataclass(frozen=True)
class RefusingApp:
    """ASGI app that answers every request with one error."""

    error: HTTPError

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await error_response(self.error, PLAIN_JSON).send(send)


@dataclass(frozen=True)
class RequestHeadMiddleware:
    """Answers the requests that the server has refused, and checks the heads of those that it has not checked."""

    app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Not a coroutine of its own, which would cost a frame for each message of a request."""
        error = None
        if scope["type"] == "http":
            state = scope.get("state", {})
            error = state.get(REFUSAL) if HEAD_IS_CHECKED in state else _check_scope(scope)
        return (RefusingApp(error) if error else self.app)(scope, receive, send)


def _check_scope(scope: Scope) -> HTTPError | None:
    url = (scope.get("raw_path") or scope["path"].encode()) + b"?" + scope["query_string"]
    headers: Headers = [*scope["headers"]]
    # uvicorn's own protocol appends the trailers of a chunked request to its headers. Nothing tells a credential that a
    # proxy has checked from one that a client has smuggled past it.
    if any(name == b"transfer-encoding" for name, _ in headers):
        return refusal(411, "Send the body with `Content-Length`; this server does not accept chunks.")
    return check_head(url, headers, scope["http_version"])

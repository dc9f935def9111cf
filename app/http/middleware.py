"""ASGI middleware: request id and security headers, and the direct path to the GraphQL endpoint."""

import re
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.http.graceful_shutdown import GracefulShutdown
from app.observability.operation_log import new_request_id
from app.observability.request_id import REQUEST_ID
from app.resilience.eager_task import become_task

X_REQUEST_ID: Final = b"x-request-id"
CONNECTION_CLOSE: Final = (b"connection", b"close")
_PLAIN_ID: Final = re.compile(rb"[\x21-\x7e]{1,100}")
_CONTENT_SECURITY_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For responses that set no policy of their own, as the web pages do."""
_SECURITY_HEADERS: Final = [
    _CONTENT_SECURITY_POLICY,
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


@dataclass(frozen=True)
class RequestIdAndSecurityHeadersMiddleware:
    """Gives each request an id, and each response the security headers. One class: a second one costs 1 µs a request.

    The id is in the scope's state (`request_id`), in the log lines of the request (REQUEST_ID) and in the response's
    `X-Request-Id`. It is the client's own `X-Request-Id` if that is at most 100 visible ASCII characters. The security
    headers keep browsers from framing, sniffing or embedding a response.

    No middleware around this one may add headers: known_heads.py takes the last one for the id.

    `shutdown`: once it has begun, responses say `Connection: close`.
    """

    app: ASGIApp
    shutdown: GracefulShutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        client_id = next((value for name, value in scope["headers"] if name == X_REQUEST_ID), b"")
        is_plain = _PLAIN_ID.fullmatch(client_id)
        request_id = state["request_id"] = client_id.decode() if is_plain else new_request_id()
        REQUEST_ID.set(request_id)
        id_header = (X_REQUEST_ID, request_id.encode())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                has_policy = _CONTENT_SECURITY_POLICY[0] in dict(message["headers"])
                headers = [*message["headers"], *(_SECURITY_HEADERS[1:] if has_policy else _SECURITY_HEADERS)]
                headers.append(id_header)
                if self.shutdown.has_begun and CONNECTION_CLOSE not in headers and self.shutdown.closes(state):
                    headers.append(CONNECTION_CLOSE)
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers)


@dataclass(frozen=True)
class PathRoute:
    """Passes requests for one path, with or without a slash after it, to `endpoint` and all others to `app`.

    A route of FastAPI costs as much CPU time as a cached response, so that `/graphql` does not use one.
    """

    app: ASGIApp
    path: str
    endpoint: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        is_path = path.removesuffix("/") == self.path
        if is_path:
            await self.endpoint(scope, receive, send)
            return
        await become_task()  # FastAPI runs on anyio
        await self.app(scope, receive, send)


@dataclass(frozen=True)
class InternalErrorLog:
    """Logs the exceptions that an app raises for a request.

    Starlette has answered with 500, and would leave the traceback to the server, without the request id.
    """

    app: ASGIApp
    log: FilteringBoundLogger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            self.log.exception("internal_error", path=scope["path"])

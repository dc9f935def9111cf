"""ASGI middleware: request id and security headers, and the direct path to the GraphQL endpoint."""

import re
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.graceful_shutdown import GracefulShutdown
from app.http.replay_cache import REPLAY_RECORDER
from app.observability.operation_log import new_request_id
from app.observability.request_id import REQUEST_ID
from app.resilience.eager_task import become_task

_REQUEST_ID: Final = b"x-request-id"
_CONNECTION_CLOSE: Final = (b"connection", b"close")
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

    This middleware must be the outermost one: it passes the final status and headers to the request's ReplayRecorder.

    `shutdown`: once it has begun, responses say `Connection: close`.
    """

    app: ASGIApp
    shutdown: GracefulShutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        client_id = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        new_id = None if _PLAIN_ID.fullmatch(client_id) else new_request_id()
        request_id = state["request_id"] = new_id or client_id.decode()
        REQUEST_ID.set(request_id)
        id_header = (_REQUEST_ID, request_id.encode())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                has_policy = _CONTENT_SECURITY_POLICY[0] in dict(message["headers"])
                headers = [*message["headers"], *(_SECURITY_HEADERS[1:] if has_policy else _SECURITY_HEADERS)]
                if recorder := state.get(REPLAY_RECORDER):
                    recorder.start_response(message["status"], headers, None if new_id else client_id)
                headers.append(id_header)
                if self.shutdown.has_begun and _CONNECTION_CLOSE not in headers and self.shutdown.closes(state):
                    headers.append(_CONNECTION_CLOSE)
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

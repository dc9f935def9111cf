"""What a request meets before FastAPI: it is given an id, and operations go straight to their endpoint.

FastAPI's own way to a route costs as much as a kept answer does, so `/graphql` does not take it.
"""

import itertools
import re
import secrets
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID: Final = b"x-request-id"
_PLAIN_ID: Final = re.compile(rb"[\x21-\x7e]{1,100}")
_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For what is no page; pages have their own."""
_SECURITY: Final = [
    _POLICY,
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_ALLOWED: Final = ["content-type", "cache-control", "if-none-match", "x-gateway-explain", "x-request-id"]
_numbers: Final = itertools.count(secrets.randbits(62))


@dataclass(frozen=True)
class PathRoute:
    """Middleware that answers one path by `endpoint` and leaves the others to `app`."""

    app: ASGIApp
    path: str
    endpoint: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_here = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == self.path
        await (self.endpoint if is_here else self.app)(scope, receive, send)


@dataclass(frozen=True)
class RequestIdMiddleware:
    """Middleware for what every answer carries: the request's id and the headers that keep browsers from misusing it.

    The id is the client's own where it sent a plain one. What the request's state holds as `answered` is told how the
    answer begins.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        given = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        own = None if _PLAIN_ID.fullmatch(given) else new_request_id()
        state["request_id"] = own or given.decode()
        line = (_REQUEST_ID, state["request_id"].encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                is_page = _POLICY[0] in dict(message["headers"])
                headers = [*message["headers"], *(_SECURITY[1:] if is_page else _SECURITY)]
                if answered := state.get("answered"):
                    answered(message["status"], headers, None if own else given)
                message["headers"] = [*headers, line]
            await send(message)

        await self.app(scope, receive, send_with_id)


def new_request_id() -> str:
    """Unique; it is no secret."""
    return f"{next(_numbers):016x}"

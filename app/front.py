"""What a request meets before any route: it is given an id, and operations go straight to their endpoint.

FastAPI's own way to a route costs as much as a kept answer does, so `/graphql` does not take it.
"""

import re
import secrets
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID: Final = b"x-request-id"
_PLAIN_ID: Final = re.compile(rb"[\x21-\x7e]{1,100}")


@dataclass(frozen=True)
class Direct:
    """Middleware that answers one path by `endpoint` and leaves the others to `app`."""

    app: ASGIApp
    path: str
    endpoint: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_here = scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == self.path
        await (self.endpoint if is_here else self.app)(scope, receive, send)


@dataclass(frozen=True)
class RequestId:
    """Middleware that gives each request an id, the client's own where it sent a plain one, and sends it back."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        request_id = given if _PLAIN_ID.fullmatch(given) else secrets.token_hex(8).encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (_REQUEST_ID, request_id)]
            await send(message)

        await self.app(scope, receive, send_with_id)

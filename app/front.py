"""What a request meets before FastAPI: it is given an id, and operations go straight to their endpoint.

FastAPI's own way to a route costs as much as a kept answer does, so `/graphql` does not take it.
"""

import itertools
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: Final = b"x-request-id"
_PLAIN_ID: Final = re.compile(rb"[\x21-\x7e]{1,100}")
_numbers: Final = itertools.count(secrets.randbits(62))


class Gateway(FastAPI):
    """FastAPI with middleware in front of the whole of it; what is put there last comes first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.front: ASGIApp = super().__call__

    def put_in_front(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:
        self.front = middleware(self.front, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)


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
    """Middleware that gives each request an id, the client's own where it sent a plain one, and sends it back.

    What the request's state holds as `answered` is told how the answer begins.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
        own = None if _PLAIN_ID.fullmatch(given) else new_request_id()
        state["request_id"] = own or given.decode()
        line = (REQUEST_ID, state["request_id"].encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                if answered := state.get("answered"):
                    answered(message["status"], message["headers"], None if own else given)
                message["headers"] = [*message["headers"], line]
            await send(message)

        await self.app(scope, receive, send_with_id)


def new_request_id() -> str:
    """Unique; it is no secret."""
    return f"{next(_numbers):016x}"

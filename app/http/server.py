"""TODO."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.credentials import FORWARDED
from app.http.middleware import _ALLOWED


class Gateway(FastAPI):
    """FastAPI with middleware in front of the whole of it; what is put there last comes first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.front: ASGIApp = super().__call__

    def put_in_front(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:
        self.front = middleware(self.front, **options)

    def allow_origins(self, origins: Sequence[str]) -> None:
        """Pages from there may ask, with the headers that the gateway knows."""
        self.put_in_front(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=[*FORWARDED, *_ALLOWED],
            expose_headers=["etag", "x-request-id", "retry-after"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.front(scope, receive, send)

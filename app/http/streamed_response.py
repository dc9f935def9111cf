"""StreamedResponse: an incremental answer whose parts are sent as they become ready."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.types import Send

from app.execution import Delivery, IncrementalResponse
from app.http.compression import PartCompressor
from app.http.incremental import MultipartWriter
from app.http.response import HTTPResponse

_READY_SECONDS: Final = 0.25
"""How long the first part waits for fragments that need no answer of LangSmith, at most."""
_HEADERS: Final = ((b"x-accel-buffering", b"no"), (b"incremental", b"?1"))
"""The first one keeps proxies from collecting parts, and the second one says that clients should not either."""


class StreamedResponse:
    """An answer in parts. It must be closed, because its fragments run from `begin` on.

    `response` is the answer as it is so far, for the operation log and for the response cache. `on_complete` is called
    with it when the last part was sent.

    Args:
        answer: The answer of the executor.
        writer: Writes its parts.
        response: The response to its initial part, without a body.
    """

    def __init__(self, answer: IncrementalResponse, writer: MultipartWriter, response: HTTPResponse) -> None:
        self._deliveries = answer.deliveries
        self._writer = writer
        self._parts: list[bytes] = []
        self._next: asyncio.Task[Delivery] | None = None
        self.is_complete = False
        self.response = response
        self.on_complete: Callable[[HTTPResponse], object] = lambda _: None

    async def begin(self, waiting: asyncio.Event) -> None:
        """Write the first part, and the fragments that are ready. If all are, the response is complete.

        `waiting`: is set when a fragment begins to wait for LangSmith.
        """
        self._parts.append(await self._writer.first())
        waits = asyncio.ensure_future(waiting.wait())
        try:
            while not self.is_complete:
                delivery = self._await_next()
                await asyncio.wait({delivery, waits}, timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not delivery.done():
                    return
                await self._write_next()
        finally:
            waits.cancel()

    def send_in(self, coding: str | None) -> None:
        """Choose the content coding in which the parts are sent."""
        self.response = msgspec.structs.replace(self.response, coding=coding)

    async def send(self, send: Send, on_first_part: Callable[[], None]) -> None:
        """Send the parts that are there, and the others as they become ready."""
        compressor = PartCompressor(self.response.coding)

        async def send_part(part: bytes) -> None:
            body = await compressor.compress(part, is_last=self.is_complete)
            await send({"type": "http.response.body", "body": body, "more_body": not self.is_complete})

        headers = [*self.response.headers_without_length(), *_HEADERS]
        await send({"type": "http.response.start", "status": self.response.status, "headers": headers})
        await send_part(b"".join(self._parts))
        on_first_part()
        while not self.is_complete:
            await send_part(await self._write_next())

    async def aclose(self) -> None:
        """Cancel the fragments that still run."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._deliveries.aclose()

    def _await_next(self) -> asyncio.Task[Delivery]:
        self._next = self._next or asyncio.create_task(self._deliver_next())
        return self._next

    async def _deliver_next(self) -> Delivery:
        return await anext(self._deliveries)

    async def _write_next(self) -> bytes:
        delivery = await self._await_next()
        self._next = None
        part = await self._writer.next(delivery)
        self._parts.append(part)
        self.is_complete = delivery.is_last
        errors = [error for each in delivery.fragments for error in each.errors]
        outcome = self.response.outcome
        if errors and outcome == "ok":
            outcome = errors[0]["extensions"]["code"]
        body = b"".join(self._parts) if self.is_complete else b""
        self.response = msgspec.structs.replace(self.response, body=body, outcome=outcome)
        return part

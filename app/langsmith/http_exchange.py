"""HttpExchange: one request and its response, between the connection that receives it and the client that reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import httpx

_SMALL_CHUNK_BYTES: Final = 1024


class HttpExchange:
    """The response while it arrives. It is the stream of the response's body too.

    read_seconds: how long each wait for more bytes may take; None for no limit.
    resume_reading: called when the reader has taken everything that was buffered.
    abort: called when the body is given up before it is complete.
    """

    def __init__(
        self, read_seconds: float | None, *, resume_reading: Callable[[], None], abort: Callable[[], None]
    ) -> None:
        self._read_seconds = read_seconds
        self._resume_reading = resume_reading
        self._abort = abort
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._error: httpx.TransportError | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.buffered_bytes = 0
        self.received_bytes = 0
        self.has_head = False
        self.is_complete = False
        self._is_late = False

    async def wait_for_head(self) -> None:
        """Wait until status and headers have arrived. Raises the httpx.TransportError that ended the connection."""
        while not (self.has_head or self._error):
            await self._wait()
        if self._error and not self.has_head:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                for chunk in self._take_buffered():
                    yield chunk
            if self._error:
                raise self._error
            if self.is_complete:
                return
            self._resume_reading()
            await self._wait()

    def close(self) -> None:
        """Close the connection, unless the response is complete: then it may be that of another request already."""
        if not self.is_complete:
            self._abort()

    # What the connection tells it.

    def receive_head(self, status: int) -> None:
        self.status = status
        self.has_head = True

    def receive_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.buffered_bytes += len(chunk)
        self.received_bytes += len(chunk)

    def complete(self) -> None:
        """The response has ended. The reader is not woken: its connection may have more to do first."""
        self.is_complete = True

    def fail(self, error: httpx.TransportError) -> None:
        """End the response with an error, unless it is complete."""
        if not self.is_complete and self._error is None:
            self._error = error
        self.wake()

    def wake(self) -> None:
        """Let the reader look at what has arrived."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _take_buffered(self) -> list[bytes]:
        """What is buffered, in one piece if its chunks are small: many tiny ones take much more memory than one."""
        chunks, size = self._chunks, self.buffered_bytes
        self._chunks, self.buffered_bytes = [], 0
        return [b"".join(chunks)] if size < len(chunks) * _SMALL_CHUNK_BYTES else chunks

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        # A timer and a future take a third of the time of asyncio.timeout, which cancels the task.
        timer = loop.call_later(self._read_seconds, self._time_out) if self._read_seconds is not None else None
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer:
                timer.cancel()
        if self._is_late:
            raise httpx.ReadTimeout("The response did not arrive in time.")

    def _time_out(self) -> None:
        self._is_late = True
        self.wake()

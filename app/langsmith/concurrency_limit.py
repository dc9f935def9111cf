"""The concurrency limit: a bounded number of requests in flight, and a short queue that no tenant fills alone.

The queue is short so that a client that cannot be served soon is told so at once instead of waiting for its deadline.
"""

import asyncio
from collections import Counter
from typing import Final

from app.errors import RateLimitedError
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport

_QUEUE_PER_PLACE: Final = 8
"""Requests that may wait for each place. The last of them takes about nine times as long as one that need not wait."""
_RETRY_AFTER_SECONDS: Final = 1.0


class ConcurrencyLimitTransport:
    """`limit`: maximum number of requests in flight. One tenant may fill half of the queue."""

    def __init__(self, next_transport: UpstreamTransport, limit: int) -> None:
        self._next = next_transport
        self._places = asyncio.Semaphore(limit)
        self._max_waiting = limit * _QUEUE_PER_PLACE
        self._waiting: Counter[str] = Counter()
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return self._waiting.total()

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request as soon as a place is free. Raises RateLimitedError at once if the queue is full."""
        if self._places.locked():
            await self._wait(request.credential.scope)
        else:
            await self._places.acquire()
        self.in_flight += 1
        try:
            return await self._next.send(request)
        finally:
            self.in_flight -= 1
            self._places.release()

    async def _wait(self, scope: str) -> None:
        if self.waiting >= self._max_waiting or self._waiting[scope] >= self._max_waiting // 2:
            raise RateLimitedError(
                "Too many requests to LangSmith are waiting already. Try again shortly.",
                retry_after=_RETRY_AFTER_SECONDS,
            )
        self._waiting[scope] += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting[scope] -= 1
            if not self._waiting[scope]:
                del self._waiting[scope]

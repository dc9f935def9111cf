"""A semaphore whose places tenants share fairly: max-min fairness, with round robin among equals.

asyncio's own semaphore serves callers in the order of their arrival, so that one tenant with many slow requests holds
all places, and everybody else waits behind its queue.
"""

import asyncio
import contextlib
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

MAX_RESERVED: Final = 4
"""Places that are kept free at most for tenants that hold none."""


class QueueFullError(Exception):
    """Too many callers wait already."""


class FairSemaphore:
    """A bounded number of places, and a bounded queue for each tenant.

    - A free place goes to the waiting tenant that holds the fewest. Of several, the one that was served longest ago
      goes first. Within one tenant, callers are served in the order of their arrival.
    - The reserved places go only to tenants that hold none, so that such a tenant need not wait until another one
      returns a place.
    - If the queue is full, the caller that came last of the tenant with the most waiting callers has to leave it.

    limit: number of places.
    reserved: places that are reserved; `MAX_RESERVED` or a quarter of `limit` by default.
    max_waiting, max_waiting_per_tenant: callers that may wait, of all tenants together and of each.
    """

    def __init__(
        self,
        limit: int,
        *,
        reserved: int | None = None,
        max_waiting: int = sys.maxsize,
        max_waiting_per_tenant: int = sys.maxsize,
    ) -> None:
        self._limit = limit
        self._reserved = min(limit // 4, MAX_RESERVED) if reserved is None else reserved
        self._max_waiting = max_waiting
        self._max_waiting_per_tenant = max_waiting_per_tenant
        # Tenants that hold places, with their number; the one that was served last is at the end.
        self._held: OrderedDict[str, int] = OrderedDict()
        self._queues: dict[str, OrderedDict[asyncio.Future[None], None]] = {}
        # The tenants among them that hold no place, in the order in which they are served.
        self._empty_handed: OrderedDict[str, None] = OrderedDict()
        self.held = 0
        self.waiting = 0

    @contextlib.asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place while the context is open. Raises QueueFullError if the caller cannot wait for one."""
        await self._acquire(tenant)
        try:
            yield
        finally:
            self._release(tenant)

    async def _acquire(self, tenant: str) -> None:
        if self._may_take(tenant):
            self._take(tenant)
            return
        waiter = self._enqueue(tenant)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
                self._release(tenant)  # the place came at the moment in which the caller was cancelled
            else:
                self._dequeue(tenant, waiter)
            raise

    def _may_take(self, tenant: str) -> bool:
        """Whether there is a place for this tenant. If so, no other caller can wait for the same place."""
        return self._limit - self.held > (self._reserved if tenant in self._held else 0)

    def _take(self, tenant: str) -> None:
        self.held += 1
        self._held[tenant] = self._held.get(tenant, 0) + 1
        self._held.move_to_end(tenant)
        self._empty_handed.pop(tenant, None)

    def _release(self, tenant: str) -> None:
        self.held -= 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
            if tenant in self._queues:
                self._empty_handed[tenant] = None
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while (tenant := self._next_tenant()) is not None:
            waiter = next(iter(self._queues[tenant]))
            self._dequeue(tenant, waiter)
            if not waiter.done():  # a caller that is cancelled stays in the queue until its task runs
                self._take(tenant)
                waiter.set_result(None)

    def _next_tenant(self) -> str | None:
        """The tenant whose caller gets a place now; None if there is no place that a waiting one may take."""
        free = self._limit - self.held
        if free and self._empty_handed:
            return next(iter(self._empty_handed))
        if free <= self._reserved:
            return None
        return min((each for each in self._held if each in self._queues), key=self._held.__getitem__, default=None)

    def _enqueue(self, tenant: str) -> "asyncio.Future[None]":
        own = len(self._queues.get(tenant, ()))
        if own >= self._max_waiting_per_tenant:
            raise QueueFullError
        if self.waiting >= self._max_waiting:
            self._make_room(own)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(tenant, OrderedDict())[waiter] = None
        self.waiting += 1
        if tenant not in self._held:
            self._empty_handed.setdefault(tenant)
        return waiter

    def _make_room(self, own: int) -> None:
        """Send the last caller of the longest queue away, unless the new caller's would be as long."""
        longest = max(self._queues, key=lambda each: len(self._queues[each]))
        if len(self._queues[longest]) <= own + 1:
            raise QueueFullError
        waiter = next(reversed(self._queues[longest]))
        self._dequeue(longest, waiter)
        if not waiter.done():
            waiter.set_exception(QueueFullError())

    def _dequeue(self, tenant: str, waiter: "asyncio.Future[None]") -> None:
        """Remove a caller from its queue, if it still waits there."""
        queue = self._queues.get(tenant, OrderedDict())
        if waiter in queue:
            del queue[waiter]
            self.waiting -= 1
            if not queue:
                del self._queues[tenant]
                self._empty_handed.pop(tenant, None)

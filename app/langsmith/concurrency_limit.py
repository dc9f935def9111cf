"""How many requests may be under way at once, and how many may wait for that, in all and of one tenant.

The queue is short, so that who cannot be served soon is told at once; and nobody fills it alone.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from app.errors import RateLimitedError

_WAITING_PER_SLOT: Final = 8
"""As many wait as are served in about eight times what one takes."""
_RETRY_AFTER: Final = 1.0


class ConcurrencyLimit:
    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._most = count * _WAITING_PER_SLOT
        self._waiting: Counter[str] = Counter()
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    @contextlib.asynccontextmanager
    async def acquire(self, scope: str) -> AsyncIterator[None]:
        """Waits for one. `scope`: whose request it is. Raises RateLimited."""
        if self._free.locked():
            await self._wait(scope)
        else:
            await self._free.acquire()
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._free.release()

    async def _wait(self, scope: str) -> None:
        if self.waiting >= self._most or self._waiting[scope] >= self._most // 2:
            raise RateLimitedError(
                "Too many requests to LangSmith are waiting already. Try again shortly.", retry_after=_RETRY_AFTER
            )
        self._waiting[scope] += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting[scope] -= 1
            if not self._waiting[scope]:
                del self._waiting[scope]

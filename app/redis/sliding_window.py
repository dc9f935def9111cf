"""The requests of the last seconds for each scope, in a moving window of the `limits` library.

Each request is remembered, so that a window of LangSmith's own holds no more of them than the rate wherever it begins;
the library's two counters would let almost twice as many through around an edge.
"""

import time
from collections import deque
from typing import Any, Final

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from app.redis.connection import KEY_PREFIX, RedisConnection
from app.resilience.lru_cache import LruDict
from app.resilience.rate import Rate

MARGIN: Final = 0.01
"""Seconds by which timers and clocks may differ."""


class SlidingWindow:
    """Counted in this process, or with a link for all."""

    def __init__(self, rate: Rate, link: RedisConnection | None = None) -> None:
        self.rate = rate
        storage = _RedisStorage(link.client) if link else _MemoryStorage()
        self._storage: MemoryStorage | RedisStorage = storage
        self._limiter = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(rate.count, rate.seconds, namespace="requests")

    async def enter(self, scope: str, ahead: int) -> float:
        """Counts a request, and returns 0; or the seconds until there is room for it after those `ahead`."""
        if ahead and (seconds := await self._seconds(scope, ahead)):
            return seconds
        if await self._limiter.hit(self._item, scope):
            return 0.0
        return await self._seconds(scope, ahead) or MARGIN

    async def left(self, scope: str) -> int:
        return (await self._limiter.get_window_stats(self._item, scope)).remaining

    async def _seconds(self, scope: str, ahead: int) -> float:
        # Room for the n-th who waits comes with the end of the n-th oldest, which is the oldest but for n - 1 others.
        windows, place = divmod(ahead, self.rate.count)
        most = self.rate.count - place
        start, count = await self._storage.get_moving_window(self._item.key_for(scope), most, self.rate.seconds)
        seconds = max(0.0, start + self.rate.seconds - time.time()) if count >= most else 0.0
        return seconds + windows * self.rate.seconds


class _MemoryStorage(MemoryStorage):
    """limits' own looks through all keys at each request, in a thread: 1.8 ms of CPU time where there are 1000."""

    def __init__(self) -> None:
        super().__init__()
        self._made: LruDict[str, deque[float]] = LruDict()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        made = self._since(now - expiry, key)
        if len(made) + amount > limit:
            return False
        made.extend([now] * amount)
        self._made[key] = made
        self._forget(now - expiry)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.time()
        made = self._since(now - expiry, key)
        count = min(len(made), limit)
        return (made[-count], count) if count else (now, 0)

    def _since(self, start: float, key: str) -> deque[float]:
        made = self._made.get(key, deque[float]())
        while made and made[0] < start:
            made.popleft()
        return made

    def _forget(self, start: float) -> None:
        """Those keys of which all is longer ago."""
        while self._made and not self._since(start, next(iter(self._made))):
            self._made.popitem(last=False)


class _RedisStorage(RedisStorage):
    """By the link's client, to whatever kind of Redis."""

    def __init__(self, client: Any) -> None:
        self._client = client
        super().__init__("redis://", implementation="redispy", key_prefix=f"{KEY_PREFIX}budget")

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.connection_getter = lambda _is_readonly: self._client

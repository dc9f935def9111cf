"""The requests of the last seconds for each scope, in a moving window of the `limits` library.

The window remembers each request, so that no window of LangSmith's own, wherever it begins, holds more requests than
the rate. A token bucket, or the library's window of two counters, lets almost twice as many through around an edge.
"""

import functools
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import ResponseError

from app.redis.connection import KEY_PREFIX, RedisConnection, is_poisoned
from app.resilience.lru_cache import BoundedDict
from app.resilience.rate import Rate

T = TypeVar("T")

TIMER_TOLERANCE_SECONDS: Final = 0.01
"""Seconds by which timers and clocks may differ."""


class SlidingWindow:
    """At most `rate.count` requests of a scope in any `rate.seconds`.

    `redis`: where all processes count together; None to count in this process only.
    """

    def __init__(self, rate: Rate, redis: RedisConnection | None = None) -> None:
        self.rate = rate
        storage = _RedisStorage(redis.client) if redis else _MemoryStorage()
        self._storage: MemoryStorage | RedisStorage = storage
        self._limiter = MovingWindowRateLimiter(storage)
        self._item = RateLimitItemPerSecond(rate.count, rate.seconds, namespace="requests")

    async def enter(self, scope: str, ahead: int) -> float:
        """Count a request and return 0.

        If the window is full, return the seconds until it has room for this request behind `ahead` waiting ones.
        """
        if ahead and (seconds := await self._seconds_until_room(scope, ahead)):
            return seconds
        if await self._limiter.hit(self._item, scope):
            return 0.0
        return await self._seconds_until_room(scope, ahead) or TIMER_TOLERANCE_SECONDS

    async def remaining(self, scope: str) -> int:
        """Number of requests that the window has room for now."""
        return (await self._limiter.get_window_stats(self._item, scope)).remaining

    async def _seconds_until_room(self, scope: str, ahead: int) -> float:
        # Entries leave the window in order, so the n-th waiting request is admitted when the n-th oldest entry expires:
        # the oldest of the newest `count - (n - 1)`. If more requests wait than the window holds, whole windows are
        # added.
        windows, place = divmod(ahead, self.rate.count)
        newest = self.rate.count - place
        start, count = await self._storage.get_moving_window(self._item.key_for(scope), newest, self.rate.seconds)
        seconds = max(0.0, start + self.rate.seconds - time.time()) if count >= newest else 0.0
        return seconds + windows * self.rate.seconds


class _MemoryStorage(MemoryStorage):
    """A storage in the memory of this process, for as many scopes as an `BoundedDict` holds.

    The library's own looks through all keys in a thread with each request: 1.8 ms of CPU time with 1000 keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: BoundedDict[str, deque[float]] = BoundedDict()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        times = self._times_since(now - expiry, key)
        if len(times) + amount > limit:
            return False
        times.extend([now] * amount)
        self._times[key] = times
        self._drop_expired_keys(now - expiry)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.time()
        times = self._times_since(now - expiry, key)
        count = min(len(times), limit)
        return (times[-count], count) if count else (now, 0)

    def _times_since(self, start: float, key: str) -> deque[float]:
        times = self._times.get(key, deque[float]())
        while times and times[0] < start:
            times.popleft()
        return times

    def _drop_expired_keys(self, start: float) -> None:
        # Keys are in the order of their last request, so the first one that is not expired ends the search.
        while self._times and not self._times_since(start, next(iter(self._times))):
            self._times.popitem(last=False)


class _RedisStorage(RedisStorage):
    """A storage over the connection's own client, because the library knows neither Sentinel over TLS nor our URLs.

    `configure_bridge` and `connection_getter` are not documented for overriding, so pyproject.toml pins the library's
    minor version. Should the library ignore them, the start fails: it would count in a Redis of its own choice.
    """

    def __init__(self, client: Any) -> None:
        self._redis = client
        super().__init__("redis://", implementation="redispy", key_prefix=f"{KEY_PREFIX}budget")
        bridge: Any = self.bridge
        if bridge.get_connection() is not client:
            raise TypeError("The limits library does not count over the client that it was given.")

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.connection_getter = lambda _is_readonly: self._redis

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return await self._repaired(key, lambda: super(_RedisStorage, self).acquire_entry(key, limit, expiry, amount))

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        window = functools.partial(super().get_moving_window, key, limit, expiry)
        start, count = await self._repaired(key, window)
        if start <= time.time() + expiry:
            return start, count
        await self._delete(key)  # it would refuse requests until that time
        return await window()

    async def _repaired(self, key: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work, for which a key is deleted first if another program wrote it."""
        try:
            return await work()
        except ResponseError as exc:
            if not is_poisoned(exc):
                raise
            await self._delete(key)
            return await work()

    async def _delete(self, key: str) -> None:
        await self._redis.delete(self.bridge.prefixed_key(key))

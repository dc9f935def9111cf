"""The requests of the last seconds for each scope, in a moving window of the `limits` library.

The window remembers each request, so that no window of LangSmith's own, wherever it begins, holds more requests than
the rate. A token bucket, or the library's window of two counters, lets almost twice as many through around an edge.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import ResponseError

from app.redis.connection import KEY_PREFIX, RedisConnection, is_poisoned
from app.resilience.clock import TIMER_TOLERANCE_SECONDS
from app.resilience.lru_cache import BoundedDict
from app.resilience.rate import Rate

T = TypeVar("T")

# The time is the Redis's own, on which all processes agree. Should it be set back, or another program have written the
# key, entries are in the future, and would refuse requests until then. The newest entry is first.
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local newest = redis.call('LINDEX', KEYS[1], 0)
if newest and not (tonumber(newest) <= now + 1) then redis.call('DEL', KEYS[1]) end
local limit, since = tonumber(ARGV[1]), now - tonumber(ARGV[2])
"""
# KEYS: window. ARGV: requests in the window, its seconds, requests to count. Answers whether they were counted.
_COUNT: Final = f"""{_NOW}
local amount = tonumber(ARGV[3])
local entry = redis.call('LINDEX', KEYS[1], limit - amount)
if entry and tonumber(entry) >= since then return 0 end
for _ = 1, amount do redis.call('LPUSH', KEYS[1], string.format('%.6f', now)) end
redis.call('LTRIM', KEYS[1], 0, limit - 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
# KEYS: window. ARGV: requests to look at, seconds of the window. Answers the age of the oldest of them in the window,
# in seconds, and their number. Entries are in the order of time, so that a binary search finds it.
_READ: Final = f"""{_NOW}
local low, high = 0, limit
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('LINDEX', KEYS[1], middle)
  if entry and tonumber(entry) >= since then low = middle + 1 else high = middle end
end
if low == 0 then return {{'0', 0}} end
return {{string.format('%.6f', now - redis.call('LINDEX', KEYS[1], low - 1)), low}}
"""


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
        seconds = max(0.0, start + self.rate.seconds - time.monotonic()) if count >= newest else 0.0
        return seconds + windows * self.rate.seconds


class _MemoryStorage(MemoryStorage):
    """A storage in the memory of this process, for as many scopes as an `BoundedDict` holds.

    The library's own looks through all keys in a thread with each request: 1.8 ms of CPU time with 1000 keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: BoundedDict[str, deque[float]] = BoundedDict()

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.monotonic()
        times = self._times_since(now - expiry, key)
        if len(times) + amount > limit:
            return False
        times.extend([now] * amount)
        self._times[key] = times
        self._drop_expired_keys(now - expiry)
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.monotonic()
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

    The library's scripts take the time of the process, whose clock may differ from others and may be set. These ask the
    Redis for it.

    `configure_bridge` and `connection_getter` are not documented for overriding, so pyproject.toml pins the library's
    minor version. Should the library ignore them, the start fails: it would count in a Redis of its own choice.
    """

    def __init__(self, client: Any) -> None:
        self._redis = client
        super().__init__("redis://", implementation="redispy", key_prefix=f"{KEY_PREFIX}budget")
        bridge: Any = self.bridge
        if bridge.get_connection() is not client:
            raise TypeError("The limits library does not count over the client that it was given.")
        self._count = client.register_script(_COUNT)
        self._read = client.register_script(_READ)

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.connection_getter = lambda _is_readonly: self._redis

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        prefixed = self.bridge.prefixed_key(key)
        return bool(await self._repaired(key, lambda: self._count(keys=[prefixed], args=[limit, expiry, amount])))

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """The start of the window on this process's monotonic clock, and the number of requests in it."""
        prefixed = self.bridge.prefixed_key(key)
        age, count = await self._repaired(key, lambda: self._read(keys=[prefixed], args=[limit, expiry]))
        if float(age) < 0:  # another program wrote entries that are not in the order of time
            await self._delete(key)
            age, count = 0.0, 0
        return time.monotonic() - float(age), count

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

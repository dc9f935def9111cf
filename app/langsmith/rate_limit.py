"""How often LangSmith is asked for one credential, counted for all processes together, and when it wants no more."""

import asyncio
import contextlib
import math
import random
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from app.errors import RateLimitedError
from app.observability.metrics import Metrics
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.redis.sliding_window import MARGIN, SlidingWindow
from app.resilience.lru_cache import LruDict
from app.resilience.rate import Rate

_JITTER: Final = 0.05
"""Seconds, at most, by which those who waited for the same moment come later."""
_LOOKS: Final = 20
"""As often in a window, and at least every second, one process looks at what all of them have left."""
_AT_ONCE: Final = 32
"""As many ask the Redis at once; the others wait their turn, which is not its fault."""

_SECONDS_STOPPED: Final = "return redis.call('pttl', KEYS[1])"
_STOP: Final = """
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then redis.call('set', KEYS[1], 1, 'PX', ARGV[1]) end
"""


class UpstreamRateLimit:
    """`rate`: None counts nothing, and only keeps to what LangSmith says. `link`: to a Redis that counts for all.

    Without its Redis, each process counts for itself until it is back.
    """

    def __init__(
        self,
        rate: Rate | None,
        link: RedisConnection | None,
        *,
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self._rate = rate
        self._metrics = metrics
        self._log = log
        self._link = link
        self._here = SlidingWindow(rate) if rate else None
        self._there = SlidingWindow(rate, link) if rate and link else None
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._stops: LruDict[str, float] = LruDict()
        self._known: LruDict[str, _RemainingQuota] = LruDict()
        self._lines: dict[str, list[object]] = {}

    async def acquire(self, scope: str, deadline: float) -> None:
        """Counts a request, as soon as there is room for it. `deadline`: of the event loop's clock.

        Raises RateLimited, and at once, where that would be later.
        """
        now = asyncio.get_running_loop().time
        ticket = object()
        is_waiting = False
        try:
            while seconds := await self._pause(scope, self._ahead(scope, ticket)):
                spare = deadline - now() - seconds
                if spare <= 0:
                    self._metrics.upstream_rate_limit.labels("refused").inc()
                    raise RateLimitedError(
                        "LangSmith's rate limit is reached. Try again later.", retry_after=round(seconds, 3)
                    )
                if not is_waiting:
                    self._lines.setdefault(scope, []).append(ticket)
                    is_waiting = True
                await asyncio.sleep(seconds + random.uniform(0, min(_JITTER, spare)))  # noqa: S311 - no secret, and a simulation seeds it
        finally:
            if is_waiting:
                self._leave(scope, ticket)
        if self._rate or is_waiting:
            self._metrics.upstream_rate_limit.labels("waited" if is_waiting else "admitted").inc()

    async def pause(self, scope: str, seconds: float) -> None:
        """Nobody asks for this credential until then. A shorter stop ends no longer one."""
        if seconds <= MARGIN:
            return
        if not self._seconds_stopped(scope):
            self._log.warning("upstream_rate_limit_paused", seconds=round(seconds, 3))
        self._note_stop(scope, seconds)
        if self._link:
            with contextlib.suppress(RedisUnavailableError):
                await self._link.script(_STOP, [_stop_key(scope)], [math.ceil(seconds * 1000)])

    def is_near_limit(self, scope: str) -> bool:
        """Whether less than a fifth is left, as far as this process knows, or nothing because LangSmith says so."""
        known = self._known.get(scope)
        is_low = False
        if known and self._rate and asyncio.get_running_loop().time() < known.at + self._rate.seconds:
            is_low = known.left * 5 < self._rate.count
        return is_low or self._seconds_stopped(scope) > 0

    async def _pause(self, scope: str, ahead: int) -> float:
        """Seconds to wait; 0 where the request may be made, and has been counted."""
        if seconds := self._seconds_stopped(scope):
            return seconds
        if self._link:
            with contextlib.suppress(RedisUnavailableError):
                async with self._at_once:
                    return await self._pause_of_all(self._link, scope, ahead)
        return await self._counted(self._here, scope, ahead) if self._here else 0.0

    async def _pause_of_all(self, link: RedisConnection, scope: str, ahead: int) -> float:
        milliseconds: int = await link.script(_SECONDS_STOPPED, [_stop_key(scope)], [])
        if milliseconds > 0:
            self._note_stop(scope, milliseconds / 1000)
        if seconds := self._seconds_stopped(scope):
            return seconds
        if self._there is None:
            return 0.0
        async with link.guard("count"):
            return await self._counted(self._there, scope, ahead)

    async def _counted(self, window: SlidingWindow, scope: str, ahead: int) -> float:
        now = asyncio.get_running_loop().time()
        seconds = await window.enter(scope, ahead)
        known = self._known.get(scope)
        if seconds:
            self._known[scope] = _RemainingQuota(0, now)
        elif known is None or now >= known.at + min(1.0, window.rate.seconds / _LOOKS):
            self._known[scope] = _RemainingQuota(await window.left(scope), now)
        else:
            self._known[scope] = _RemainingQuota(known.left - 1, known.at)
        return seconds

    def _seconds_stopped(self, scope: str) -> float:
        """Who waited for the end of a stop is not sent back because of a timer that came too early."""
        seconds = self._stops.get(scope, 0.0) - asyncio.get_running_loop().time()
        return seconds if seconds > MARGIN else 0.0

    def _note_stop(self, scope: str, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._stops[scope] = max(until, self._stops.get(scope, 0.0))

    def _ahead(self, scope: str, ticket: object) -> int:
        """How many of this process wait already, and go first."""
        line = self._lines.get(scope, [])
        return line.index(ticket) if ticket in line else len(line)

    def _leave(self, scope: str, ticket: object) -> None:
        self._lines[scope].remove(ticket)
        if not self._lines[scope]:
            del self._lines[scope]


class _RemainingQuota(NamedTuple):
    """How many requests were left, when it was looked at."""

    left: int
    at: float


def _stop_key(scope: str) -> str:
    return f"{KEY_PREFIX}{{{scope}}}:stopped"

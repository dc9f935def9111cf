"""Limits the rate of requests to LangSmith for each credential, over all processes.

It also keeps to LangSmith's own limit: a `Retry-After` pauses every request of the credential.
"""

import asyncio
import contextlib
import math
import random
from typing import TYPE_CHECKING, Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from app.errors import RateLimitedError
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.retry_after import MAX_RETRY_AFTER_SECONDS
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport
from app.observability.metrics import Metrics
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.resilience.clock import TIMER_TOLERANCE_SECONDS
from app.resilience.fair_semaphore import FairSemaphore
from app.resilience.lru_cache import BoundedDict
from app.resilience.rate import Rate
from app.resilience.round_robin import RoundRobinQueue

if TYPE_CHECKING:
    from app.redis.sliding_window import SlidingWindow

_MAX_JITTER_SECONDS: Final = 0.05
"""Jitter that spreads requests which waited for the same moment, so that they do not arrive together."""
_REFRESHES_PER_WINDOW: Final = 20
"""How often the remaining quota is read per window; it is read every second at least."""
_MAX_REDIS_CHECKS: Final = 32
"""Checks that may use the Redis at once. Further ones wait outside of its time-out, so that a burst does not
open its circuit breaker; tenants share the places."""

_MAX_PAUSE_MILLISECONDS: Final = math.ceil(MAX_RETRY_AFTER_SECONDS * 1000)
# The key's lifetime is the pause; it is 0 for a key that cannot be a pause, because another program wrote it.
_PAUSE: Final = f"""
local pause = redis.call('PTTL', KEYS[1])
if redis.pcall('GET', KEYS[1]) ~= '1' or pause < 0 or pause > {_MAX_PAUSE_MILLISECONDS} then pause = 0 end
"""
_READ_PAUSE: Final = f"{_PAUSE} return pause"
# A pause never shortens a longer one.
_SET_PAUSE: Final = f"{_PAUSE} if pause < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], 1, 'PX', ARGV[1]) end"


class RateLimitTransport:
    """The layer that counts each try, and pauses the credential for the `Retry-After` of a 429."""

    def __init__(self, next_transport: UpstreamTransport, limit: "UpstreamRateLimit") -> None:
        self._next = next_transport
        self._limit = limit

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request as soon as the limit admits it.

        Raises RateLimitedError at once if the limit will not admit the request before its deadline.
        """
        scope = request.credential.scope
        try:
            await self._limit.acquire(scope, request.deadline, tenant=request.tenant)
        except RateLimitedError:
            request.call.reason = "rate_limit"
            raise
        try:
            return await self._next.send(request)
        except FailedAttemptError as failure:
            if failure.is_rate_limit and failure.retry_after is not None:
                await self._limit.pause(scope, failure.retry_after)
            raise


class UpstreamRateLimit:
    """Counts requests by credential scope in a sliding window.

    rate: None counts nothing and only keeps to the pauses that LangSmith asks for.
    metrics: counts requests that were admitted, waited and were refused.
    log: where a pause is reported.
    redis: where all processes count together; without one, or while it is unavailable, each process counts for itself.
    """

    def __init__(
        self, rate: Rate | None, redis: RedisConnection | None, *, metrics: Metrics, log: FilteringBoundLogger
    ) -> None:
        self._rate = rate
        self._metrics = metrics
        self._log = log
        self._redis = redis
        self._local_window: SlidingWindow | None = None
        self._shared_window: SlidingWindow | None = None
        if rate:
            from app.redis import sliding_window  # noqa: PLC0415 - most gateways start without it, and so sooner

            self._local_window = sliding_window.SlidingWindow(rate)
            self._shared_window = sliding_window.SlidingWindow(rate, redis) if redis else None
        self._redis_checks = FairSemaphore(_MAX_REDIS_CHECKS)
        self._paused_until: BoundedDict[str, float] = BoundedDict()
        self._remaining: BoundedDict[str, _RemainingQuota] = BoundedDict()
        self._queues: dict[str, RoundRobinQueue[object]] = {}

    async def acquire(self, scope: str, deadline: float, *, tenant: str | None = None) -> None:
        """Count a request, waiting until the window has room for it.

        deadline: time of the event loop's clock, in seconds.
        tenant: whose request it is, if several tenants share the scope. They take turns.

        Raises RateLimitedError as soon as there will be no room before the deadline.
        """
        tenant = tenant or scope
        now = asyncio.get_running_loop().time
        ticket = object()
        is_waiting = False
        try:
            while seconds := await self._try_acquire(scope, tenant, ticket):
                spare_seconds = deadline - now() - seconds
                if spare_seconds <= 0:
                    self._metrics.upstream_rate_limit.labels("refused").inc()
                    raise RateLimitedError(
                        "LangSmith's rate limit is reached. Try again later.", retry_after=round(seconds, 3)
                    )
                if not is_waiting:
                    self._queues.setdefault(scope, RoundRobinQueue()).join(tenant, ticket)
                    is_waiting = True
                jitter = random.uniform(0, min(_MAX_JITTER_SECONDS, spare_seconds))  # noqa: S311 - no secret, and a simulation seeds it
                await asyncio.sleep(seconds + jitter)
        finally:
            if is_waiting:
                self._leave_queue(scope, tenant, ticket)
        if self._rate or is_waiting:
            self._metrics.upstream_rate_limit.labels("waited" if is_waiting else "admitted").inc()

    async def pause(self, scope: str, seconds: float) -> None:
        """Hold back every request of this scope, in all processes, for `MAX_RETRY_AFTER_SECONDS` at most.

        A pause never shortens a longer one.
        """
        seconds = min(seconds, MAX_RETRY_AFTER_SECONDS)
        if seconds <= TIMER_TOLERANCE_SECONDS:
            return
        if not self._seconds_paused(scope):
            self._log.warning("upstream_rate_limit_paused", seconds=round(seconds, 3))
        self._note_pause(scope, seconds)
        if self._redis:
            with contextlib.suppress(RedisUnavailableError):
                await self._redis.script(_SET_PAUSE, [_pause_key(scope)], [math.ceil(seconds * 1000)])

    def is_near_limit(self, scope: str) -> bool:
        """Whether the scope is paused or, as far as this process knows, has less than a fifth of its quota left.

        Without a rate, only a pause counts.
        """
        quota = self._remaining.get(scope)
        is_low = False
        if quota and self._rate and asyncio.get_running_loop().time() < quota.read_at + self._rate.seconds:
            is_low = quota.requests * 5 < self._rate.count
        return is_low or self._seconds_paused(scope) > 0

    async def _try_acquire(self, scope: str, tenant: str, ticket: object) -> float:
        """Count the request and return 0, or return the seconds until it is worth another try."""
        if seconds := self._seconds_paused(scope):
            return seconds
        if self._redis:
            with contextlib.suppress(RedisUnavailableError):
                async with self._redis_checks.place(tenant):
                    return await self._try_acquire_shared(self._redis, scope, self._count_before(scope, tenant, ticket))
        if self._local_window is None:
            return 0.0
        return await self._enter(self._local_window, scope, self._count_before(scope, tenant, ticket))

    async def _try_acquire_shared(self, redis: RedisConnection, scope: str, ahead: int) -> float:
        milliseconds: int = await redis.script(_READ_PAUSE, [_pause_key(scope)], [])
        if milliseconds > 0:
            self._note_pause(scope, milliseconds / 1000)
        if seconds := self._seconds_paused(scope):
            return seconds
        if self._shared_window is None:
            return 0.0
        async with redis.guard("count"):
            return await self._enter(self._shared_window, scope, ahead)

    async def _enter(self, window: "SlidingWindow", scope: str, ahead: int) -> float:
        now = asyncio.get_running_loop().time()
        seconds = await window.enter(scope, ahead)
        quota = self._remaining.get(scope)
        if seconds:
            self._remaining[scope] = _RemainingQuota(0, now)
        elif quota is None or now >= quota.read_at + min(1.0, window.rate.seconds / _REFRESHES_PER_WINDOW):
            self._remaining[scope] = _RemainingQuota(await window.remaining(scope), now)
        else:
            self._remaining[scope] = _RemainingQuota(quota.requests - 1, quota.read_at)
        return seconds

    def _seconds_paused(self, scope: str) -> float:
        # A timer may fire a little early. A request that waited for the end of the pause must not be sent back then.
        seconds = self._paused_until.get(scope, 0.0) - asyncio.get_running_loop().time()
        return seconds if seconds > TIMER_TOLERANCE_SECONDS else 0.0

    def _note_pause(self, scope: str, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        self._paused_until[scope] = max(until, self._paused_until.get(scope, 0.0))

    def _count_before(self, scope: str, tenant: str, ticket: object) -> int:
        """Number of requests of this process that wait already and go first."""
        queue = self._queues.get(scope)
        return queue.callers_before(tenant, ticket) if queue else 0

    def _leave_queue(self, scope: str, tenant: str, ticket: object) -> None:
        self._queues[scope].leave(tenant, ticket)
        if not self._queues[scope]:
            del self._queues[scope]


class _RemainingQuota(NamedTuple):
    """Number of requests that were left when the window was last read, less those counted since."""

    requests: int
    read_at: float


def _pause_key(scope: str) -> str:
    return f"{KEY_PREFIX}{{{scope}}}:stopped"

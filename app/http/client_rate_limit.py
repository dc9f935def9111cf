"""How often a client may ask: a token bucket of its own for each, by the `throttled` library.

The bucket is reckoned as GCRA, which is exact at any rate; the library's plain one loses parts of a token.
"""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from structlog.typing import FilteringBoundLogger
from throttled import RateLimiterType
from throttled.asyncio import MemoryStore, RateLimitResult, RedisStore, Throttled
from throttled.asyncio.store import RedisStoreBackend
from throttled.rate_limiter import per_duration

from app.errors import RateLimitedError
from app.observability.metrics import Metrics
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.resilience.rate import Rate
from app.settings import MEMORY

_CLIENTS: Final = 50_000
"""As many are remembered; of more, those that asked longest ago begin anew."""


class ClientRateLimit:
    """`rate`: None holds nobody back. `url`: where the buckets are, `memory://` or a Redis that all processes share.

    Without its Redis, each process counts for itself until it is back.
    """

    def __init__(
        self, rate: Rate | None, url: str, *, metrics: Metrics, log: FilteringBoundLogger, clock: Callable[[], float]
    ) -> None:
        self._rate = rate
        self._link: RedisConnection | None = None
        if rate:
            self._local = _throttled(rate, MemoryStore(options={"MAX_SIZE": _CLIENTS}))
            if url != MEMORY:
                self._link = RedisConnection(url, use="client_rate", metrics=metrics, log=log, clock=clock)
                self._shared = _throttled(rate, _LinkStore(self._link))

    @property
    def is_limited(self) -> bool:
        return self._rate is not None

    async def acquire(self, client: str) -> None:
        """`client`: who asks, no secret. Raises RateLimited."""
        if self._rate is None:
            return
        result = await self._counted(client)
        if result.limited:
            raise RateLimitedError(
                f"You may send {self._rate.count} requests in {self._rate.seconds} seconds. Try again later.",
                retry_after=round(result.state.retry_after, 3),
            )

    async def aclose(self) -> None:
        if self._link:
            await self._link.aclose()

    async def _counted(self, client: str) -> RateLimitResult:
        if self._link:
            with contextlib.suppress(RedisUnavailableError):
                async with self._link.guard():
                    return await self._shared.limit(client)
        return await self._local.limit(client)


class _LinkStore(RedisStore):
    """What a link leads to: the library's own way knows neither TLS nor coded passwords with Sentinel and Cluster."""

    def __init__(self, link: RedisConnection) -> None:
        super().__init__()
        self._backend = _LinkBackend(link)


class _LinkBackend(RedisStoreBackend):
    base_exceptions = ()
    """To be wrapped; the link wants to see them as they are."""

    def __init__(self, link: RedisConnection) -> None:
        super().__init__()
        self._link = link

    def get_client(self) -> Any:
        return self._link.client


def _throttled(rate: Rate, store: MemoryStore | RedisStore) -> Throttled:
    quota = per_duration(timedelta(seconds=rate.seconds), limit=rate.count)
    return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store, key_prefix=f"{KEY_PREFIX}rate")

"""How often a client may ask: a token bucket of its own for each, by the `throttled` library.

The bucket is reckoned as GCRA, which is exact at any rate; the library's plain one loses parts of a token.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from redis.exceptions import RedisError
from structlog.typing import FilteringBoundLogger
from throttled import RateLimiterType
from throttled.asyncio import MemoryStore, RateLimitResult, RedisStore, Throttled
from throttled.exceptions import StoreUnavailableError
from throttled.rate_limiter import per_duration

from app.errors import RateLimited

_RATE: Final = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,5})?(s|m|h)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
MEMORY: Final = "memory://"
_PATIENCE: Final = 0.25
"""Seconds that Redis may take."""
_PAUSE: Final = 2.0
"""Seconds until it is tried again."""
_REDIS_OPTIONS: Final = {"SOCKET_TIMEOUT": _PATIENCE, "SOCKET_CONNECT_TIMEOUT": _PATIENCE}
_CLIENTS: Final = 50_000
"""As many are remembered; of more, those that asked longest ago begin anew."""


@dataclass(frozen=True)
class Rate:
    """So many in so many seconds."""

    count: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`900/10s`, `100/m`. Raises ValueError."""
        match = _RATE.fullmatch(text)
        if match is None:
            raise ValueError("must be a number of requests and a time, such as 100/10s, 600/m or 10000/h")
        return cls(int(match[1]), int(match[2] or 1) * _SECONDS[match[3]])

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


class ClientRate:
    """`rate`: None holds nobody back. `url`: where the buckets are, `memory://` or a Redis that all processes share.

    Without its Redis, each process counts for itself until it is back.
    """

    def __init__(self, rate: Rate | None, url: str, log: FilteringBoundLogger, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._log = log
        self._clock = clock
        self._redis = RedisStore(url, options=_REDIS_OPTIONS) if rate and url != MEMORY else None
        if rate:
            self._local = _throttled(rate, MemoryStore(options={"MAX_SIZE": _CLIENTS}))
            self._shared = _throttled(rate, self._redis) if self._redis else None
        self._is_away = False
        self._next_try = 0.0

    @property
    def is_limited(self) -> bool:
        return self._rate is not None

    async def admit(self, client: str) -> None:
        """`client`: who asks, no secret. Raises RateLimited."""
        if self._rate is None:
            return
        result = await self._counted(client)
        if result.limited:
            raise RateLimited(
                f"You may send {self._rate.count} requests in {self._rate.seconds} seconds. Try again later.",
                retry_after=round(result.state.retry_after, 3),
            )

    async def aclose(self) -> None:
        if self._redis:
            client: Any = self._redis._backend.get_client()  # noqa: SLF001 - the store itself cannot be closed
            await client.aclose(close_connection_pool=True)

    async def _counted(self, client: str) -> RateLimitResult:
        if self._shared and self._clock() >= self._next_try:
            try:
                async with asyncio.timeout(_PATIENCE):
                    result = await self._shared.limit(client)
            except (StoreUnavailableError, RedisError, OSError) as exc:
                self._next_try = self._clock() + _PAUSE
                self._notice(is_away=True, reason=type(exc).__name__)
            else:
                self._notice(is_away=False)
                return result
        return await self._local.limit(client)

    def _notice(self, *, is_away: bool, **reason: str) -> None:
        """Logged where it changes."""
        if is_away != self._is_away:
            self._is_away = is_away
            if is_away:
                self._log.warning("client_rate_redis_away", **reason)
            else:
                self._log.info("client_rate_redis_back")


def _throttled(rate: Rate, store: MemoryStore | RedisStore) -> Throttled:
    quota = per_duration(timedelta(seconds=rate.seconds), limit=rate.count)
    return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store, key_prefix="sessions-gateway:rate")

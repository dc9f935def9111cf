"""The rate limit of clients: a token bucket for each client, by the `throttled` library.

A client is its credential or its token, once that is known to be real: LangSmith has answered it, or the gateway has
checked it. Until then, and without one, a client is its address. Otherwise a client could make up a new key for every
request, and so would never be limited.

The bucket is computed as GCRA, which stores one number per client and is exact at any rate; the library's plain token
bucket loses fractions of a token. The rate limit of requests to LangSmith (`app/redis/sliding_window.py`) is built on
a sliding window, because it must not exceed the rate in any window. A token bucket can: a full bucket admits a burst
and, in the same window, the tokens that refill meanwhile.
"""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.types import Scope
from structlog.typing import FilteringBoundLogger

from app.credentials import Credential
from app.errors import RateLimitedError
from app.http.client_address import Network, client_network
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection, RedisUnavailableError
from app.resilience.clock import Clock
from app.resilience.lru_cache import BoundedDict
from app.resilience.rate import Rate
from app.settings import MEMORY

if TYPE_CHECKING:
    from app.http.client_buckets import RateLimitResult


class ClientRateLimit:
    """Admits at most a rate of requests of each client.

    rate: None admits every request.
    proxies: whose `X-Forwarded-For` counts.
    url: where the buckets are, `memory://` or the URL of a Redis that all processes share. While the Redis is
        unavailable, each process counts in its own memory.
    metrics, log: where changes of the Redis's availability are reported.
    clock: monotonic seconds, for the Redis's circuit breaker.
    """

    def __init__(
        self,
        rate: Rate | None,
        url: str,
        *,
        proxies: Sequence[Network] = (),
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Clock,
    ) -> None:
        self._rate = rate
        self._proxies = proxies
        self._verified: BoundedDict[str, None] = BoundedDict()
        self._redis: RedisConnection | None = None
        if rate:
            from app.http import client_buckets  # noqa: PLC0415 - most gateways start without it, and so sooner

            self._local_buckets = client_buckets.create_local_buckets(rate)
            if url != MEMORY:
                self._redis = RedisConnection(url, use="client_rate", metrics=metrics, log=log, clock=clock)
                self._shared_buckets = client_buckets.create_shared_buckets(rate, self._redis)

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate at all."""
        return self._rate is not None

    async def acquire(self, credential: Credential | None, scope: Scope) -> None:
        """Count a request with this credential and this ASGI scope. Raises RateLimitedError."""
        if self._rate is None:
            return
        client = credential.client if credential else None
        is_real = credential and (credential.is_client_known or client in self._verified)
        result = await self._take_token(client if client and is_real else client_network(scope, self._proxies))
        if result.limited:
            raise RateLimitedError(
                f"You may send {self._rate.count} requests in {self._rate.seconds} seconds. Try again later.",
                retry_after=round(result.state.retry_after, 3),
            )

    async def verify(self, credential: Credential | None) -> None:
        """From now on, count this credential's requests for itself: LangSmith has answered it.

        The request that was answered counts too.
        """
        if self._rate and credential and credential.client and not credential.is_client_known:
            is_new = credential.client not in self._verified
            self._verified[credential.client] = None
            if is_new:
                await self._take_token(credential.client)

    async def aclose(self) -> None:
        if self._redis:
            await self._redis.aclose()

    async def _take_token(self, client: str) -> "RateLimitResult":
        if self._redis:
            with contextlib.suppress(RedisUnavailableError):
                async with self._redis.guard():
                    return await self._shared_buckets.limit(client)
        return await self._local_buckets.limit(client)

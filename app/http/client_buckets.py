"""The buckets of the clients' rate limit, in memory or in a Redis. Imported only where there is such a limit."""

import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from redis.exceptions import ResponseError
from throttled import RateLimiterType
from throttled.asyncio import MemoryStore, RateLimitResult, RedisStore, Throttled
from throttled.asyncio.store import BaseAtomicAction, RedisStoreBackend
from throttled.rate_limiter import per_duration
from throttled.types import KeyT, StoreValueT

from app.redis.connection import KEY_PREFIX, RedisConnection, is_poisoned
from app.resilience.rate import Rate

__all__ = ["RateLimitResult", "create_local_buckets", "create_shared_buckets"]

_MAX_CLIENTS: Final = 50_000
"""Buckets in memory. For more clients, the least recently used bucket is dropped; its client starts with a full one."""


def create_local_buckets(rate: Rate) -> Throttled:
    """Buckets in the memory of this process."""
    return _create_buckets(rate, MemoryStore(options={"MAX_SIZE": _MAX_CLIENTS}))


def create_shared_buckets(rate: Rate, redis: RedisConnection) -> Throttled:
    """Buckets in a Redis. Its errors are those of redis-py."""
    return _create_buckets(rate, _ConnectionStore(redis))


class _ConnectionStore(RedisStore):
    """The library's store over a RedisConnection's client.

    The library's own clients know neither TLS nor percent-encoded passwords with Sentinel and Cluster.
    """

    def __init__(self, redis: RedisConnection) -> None:
        super().__init__()
        self._redis = redis

    def make_atomic(self, action_cls: type[BaseAtomicAction]) -> BaseAtomicAction:
        backend = _ConnectionBackend(self._redis)
        return _RepairingAction(action_cls(backend), backend)


class _RepairingAction(BaseAtomicAction):
    """An action of the library. A bucket that another program wrote is deleted, so that the client starts anew.

    Without this, one bucket of another type would count as a failure of the Redis, and one with a time far in the
    future would refuse its client until then.
    """

    def __init__(self, action: BaseAtomicAction, backend: "_ConnectionBackend") -> None:
        super().__init__(backend)
        self._action = action
        self._client = backend.get_client()

    async def do(self, keys: Sequence[KeyT], args: Sequence[StoreValueT] | None) -> Any:
        emission_interval, capacity, *_ = map(float, args or ())
        with contextlib.suppress(_PoisonedBucketError):
            limited, remaining, reset_after, retry_after = await self._try(keys, args)
            # A full bucket takes `emission_interval * capacity` seconds to empty. Lua prints rounded numbers.
            if all(0 <= each <= emission_interval * capacity + 1 for each in (reset_after, retry_after)):
                return limited, remaining, reset_after, retry_after
        await self._client.delete(*keys)
        return await self._action.do(keys, args)

    async def _try(self, keys: Sequence[KeyT], args: Sequence[StoreValueT] | None) -> Any:
        try:
            return await self._action.do(keys, args)
        except ResponseError as exc:
            if is_poisoned(exc):
                raise _PoisonedBucketError from exc
            raise


class _PoisonedBucketError(Exception):
    """The bucket is not one that the library wrote."""


class _ConnectionBackend(RedisStoreBackend):
    base_exceptions = ()
    """Errors that the library wraps in its own: none, so that the connection's guard sees the original ones."""

    def __init__(self, redis: RedisConnection) -> None:
        super().__init__()
        self._redis = redis

    def get_client(self) -> Any:
        return self._redis.client


def _create_buckets(rate: Rate, store: MemoryStore | RedisStore) -> Throttled:
    quota = per_duration(timedelta(seconds=rate.seconds), limit=rate.count)
    return Throttled(using=RateLimiterType.GCRA.value, quota=quota, store=store, key_prefix=f"{KEY_PREFIX}rate")

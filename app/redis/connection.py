"""A connection to a Redis, and the rules for going on without one.

A Redis that is unreachable, frozen or failing costs each caller one short time-out; after a few of them a circuit
breaker answers at once until the next trial. A Redis that is full or cannot save still counts as available: reads are
answered, and only the writes are refused.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis import exceptions as errors
from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    RedisCluster,
    Sentinel,
    SentinelConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from structlog.typing import FilteringBoundLogger

from app.observability.metrics import Metrics
from app.redis.url import RedisUrl
from app.resilience.circuit_breaker import CircuitBreaker, Permit
from app.resilience.clock import Clock
from app.resilience.eager_task import become_task

KEY_PREFIX: Final = "sessions-gateway:"
"""Prefix of every key of the gateway."""
TIMEOUT_SECONDS: Final = 0.25
"""Time that a command may take, with the wait for a connection."""
_FAILURE_THRESHOLD: Final = 3
_FIRST_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 8.0
_MAX_CONNECTIONS: Final = 32
_WRITES_ACCEPTED_AFTER_SECONDS: Final = 60.0
"""Time without a refusal after which a Redis that refused a write counts as one that accepts writes again."""


class RedisUnavailableError(Exception):
    """The Redis did not do what was asked. The caller goes on without it."""


class RedisConnection:
    """A pool of connections to one Redis, Sentinel group or cluster.

    url: as `RedisUrl.parse` reads it; raises ValueError otherwise.
    use: purpose of the Redis, in log lines and as a label of the metrics.
    metrics, log: where changes of its availability are reported.
    clock: monotonic seconds.
    timeout_seconds: time that a command may take, with the wait for a connection.
    """

    def __init__(
        self,
        url: str,
        *,
        use: str,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Clock,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        address = RedisUrl.parse(url)
        self._cache = RedisCache(serializer=NullSerializer(encoding=None), timeout=None)
        self._cache.client = self.client = _create_client(address, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        # The pools of Sentinel and Cluster raise an error instead of waiting for a free connection.
        self._free_connections = asyncio.Semaphore(_max_connections(address))
        self._use = use
        self._log = log
        self._clock = clock
        self._is_up = metrics.redis_up.labels(use)
        self._is_up.set(1)
        self._failures = metrics.redis_failures
        self._last_failure = ""
        self._refused_operation: str | None = None
        self._refused_at = 0.0
        self._breaker = CircuitBreaker(
            clock,
            self._report,
            failure_threshold=_FAILURE_THRESHOLD,
            first_pause_seconds=_FIRST_PAUSE_SECONDS,
            max_pause_seconds=_MAX_PAUSE_SECONDS,
        )

    async def script(self, text: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        """Run a Lua script with EVAL and return its answer. Raises RedisUnavailableError.

        The text is sent each time, so no Redis, also after a failover, has to know the script beforehand.
        """
        async with self.guard(text):
            return await self._cache.raw("eval", text, len(keys), *keys, *args)

    @contextlib.asynccontextmanager
    async def guard(self, operation: str = "") -> AsyncIterator[None]:
        """Apply time-out, connection limit and circuit breaker to what the block does with `client`.

        `operation` identifies what the block does. After a refused write, only a later success of the same operation
        ends the refusal. Raises RedisUnavailableError for every failure in the block.
        """
        if (permit := self._breaker.acquire()) is None:
            raise RedisUnavailableError
        try:
            await become_task()
            async with asyncio.timeout(self._timeout_seconds), self._free_connections:
                yield
        except Exception as exc:  # redis-py raises errors of many kinds for answers that are not RESP.
            await self._record_failure(permit, exc, operation)
            raise RedisUnavailableError from exc
        except BaseException:
            # A cancelled caller says nothing about the Redis.
            self._breaker.release(permit)
            raise
        self._record_success(permit, operation)

    async def aclose(self) -> None:
        for close in _close_functions(self.client):
            with contextlib.suppress(errors.RedisError, OSError):
                await close()

    async def _record_failure(self, permit: Permit, exc: Exception, operation: str) -> None:
        kind = _failure_kind(exc)
        self._failures.labels(self._use, kind).inc()
        if kind in _REFUSED_WRITES:
            self._breaker.record_success(permit)
            if self._refused_operation is None:
                self._log.warning("redis_refuses_writes", use=self._use, reason=kind)
            self._refused_operation, self._refused_at = operation, self._clock()
            return
        self._last_failure = kind
        self._breaker.record_failure(permit)
        await drop_idle_connections(self.client)

    def _record_success(self, permit: Permit, operation: str) -> None:
        self._breaker.record_success(permit)
        # A Redis that is nearly full refuses only some writes, so one success does not end the refusal.
        if operation == self._refused_operation and self._clock() >= self._refused_at + _WRITES_ACCEPTED_AFTER_SECONDS:
            self._refused_operation = None
            self._log.info("redis_accepts_writes", use=self._use)

    def _report(self, is_open: bool) -> None:
        self._is_up.set(not is_open)
        if is_open:
            self._log.warning("redis_unavailable", use=self._use, reason=self._last_failure)
        else:
            self._log.info("redis_available", use=self._use)


_REFUSED_WRITES: Final = frozenset({"full", "misconf", "noreplicas"})
_KIND_BY_CODE: Final = {"OOM": "full", "MISCONF": "misconf", "NOREPLICAS": "noreplicas", "READONLY": "readonly"}
# Before Redis 7, the code of a command that fails within a script stands somewhere in the message.
_CODE: Final = re.compile(rf"\b({'|'.join(_KIND_BY_CODE)})\b")
_KIND_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError), "auth"),
    ((errors.BusyLoadingError,), "loading"),
    ((errors.ReadOnlyError,), "readonly"),
    ((errors.OutOfMemoryError,), "full"),
    ((errors.TimeoutError, TimeoutError), "timeout"),
    ((errors.ClusterError, errors.RedisClusterException), "cluster"),
    ((errors.ResponseError,), "refused"),
    ((errors.ConnectionError, OSError), "connection"),
)


def _failure_kind(exc: BaseException) -> str:
    """The metric's label for a failure, from a closed set. redis-py wraps errors in others that say less."""
    # redis-py's connection to a master behind Sentinels reports a demoted master as a lost connection.
    if isinstance(exc.__context__, errors.ReadOnlyError):
        return "readonly"
    if exc.__cause__ and (kind := _failure_kind(exc.__cause__)) != "protocol":
        return kind
    if isinstance(exc, errors.ResponseError) and (code := _CODE.search(str(exc))):
        return _KIND_BY_CODE[code[1]]
    return next((kind for types, kind in _KIND_BY_TYPE if isinstance(exc, types)), "protocol")


def is_poisoned(exc: errors.ResponseError) -> bool:
    """Whether a command failed because of what its key holds: another type, or a value that a script cannot use.

    Another program has then written the key. Errors that say something about the Redis have a class or code of theirs.
    """
    return type(exc) is errors.ResponseError and not _CODE.search(str(exc))


def _create_client(address: RedisUrl, timeout_seconds: float) -> Any:
    options = {
        # `guard` bounds every command. A time-out for each read would cost a task for each write.
        "socket_timeout": None,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 1),
        # With maintenance notifications, which only Redis Enterprise sends, the pool misses that a connection closed.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        **address.options,
        "max_connections": _max_connections(address),
    }
    # With several hosts, the time-out of one leaves time to ask another.
    per_host = {"socket_timeout": timeout_seconds / 3, "socket_connect_timeout": timeout_seconds / 3}
    if address.is_cluster:
        nodes = [ClusterNode(*host) for host in address.hosts]
        return RedisCluster(startup_nodes=nodes, ssl=address.is_tls, **{**options, **per_host})
    if address.service:
        to_sentinels = {**options, **per_host, "ssl": address.is_tls, "db": 0, "retry": Retry(NoBackoff(), 0)}
        create_sentinel: Any = Sentinel  # redis-py gives it no types.
        sentinel = create_sentinel(address.hosts, sentinel_kwargs=to_sentinels, ssl=address.is_tls, **options)
        return sentinel.master_for(address.service)
    connection: type[AbstractConnection] = UnixDomainSocketConnection
    if address.hosts:
        options["host"], options["port"] = address.hosts[0]
        connection = SSLConnection if address.is_tls else Connection
    return Redis.from_pool(ConnectionPool(connection, **options))


def _max_connections(address: RedisUrl) -> int:
    return int(address.options.get("max_connections", _MAX_CONNECTIONS))


async def drop_idle_connections(client: Any) -> None:
    """Drop idle connections, so that the next command reconnects (for example after a failover).

    A cluster's client does so by itself.
    """
    if isinstance(client, RedisCluster):
        return
    pool = client.connection_pool
    # Private to redis-py, whose minor version is pinned: the public `disconnect` waits until each connection has said
    # goodbye, and a frozen Redis never does. It is the fallback for a pool without this list.
    idle = getattr(pool, "_available_connections", None)
    if idle is None:
        await pool.disconnect(inuse_connections=False)
        return
    for connection in idle:
        await connection.disconnect(nowait=True)


def _close_functions(client: Any) -> list[Callable[[], Awaitable[None]]]:
    if isinstance(client, RedisCluster):
        # The cluster's client closes nothing while it is about to look up its nodes again.
        nodes = client.nodes_manager
        return [client.aclose, nodes.aclose, lambda: nodes.aclose("startup_nodes")]
    pool = client.connection_pool
    return [client.aclose, *([pool.sentinel_manager.aclose] if isinstance(pool, SentinelConnectionPool) else [])]

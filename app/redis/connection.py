"""A link to a Redis, and life without one: whoever asks over it is answered soon, or told that there is nothing there.

A Redis that is absent, frozen or failing costs a moment, and then nothing until it is tried again. One that is full is
there: what reads is answered, and what writes is told to go on without.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
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

KEY_PREFIX: Final = "sessions-gateway:"
"""What all keys of the gateway begin with."""
TIMEOUT_SECONDS: Final = 0.25
"""Seconds that a Redis may take."""
_FAILURES: Final = 3
_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 8.0
_CONNECTIONS: Final = 32
_QUIET: Final = 60.0
"""Seconds without a refusal until a Redis that refused to write counts as one that writes again."""


class RedisUnavailableError(Exception):
    """There is no Redis to ask: go on without."""


class RedisConnection:
    """`url`: as `Address` reads it. `use`: what it is for, in logs and metrics. `patience`: seconds."""

    def __init__(
        self,
        url: str,
        *,
        use: str,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Callable[[], float],
        patience: float = TIMEOUT_SECONDS,
    ) -> None:
        address = RedisUrl.parse(url)
        self._cache = RedisCache(serializer=NullSerializer(encoding=None), timeout=None)
        self._cache.client = self.client = _client(address, patience)
        self._patience = patience
        # Of redis-py's pools, a sentinel's and a cluster's let nobody wait for a connection, but refuse.
        self._turns = asyncio.Semaphore(_connections(address))
        self._use = use
        self._log = log
        self._clock = clock
        self._up = metrics.redis_up.labels(use)
        self._up.set(1)
        self._failures = metrics.redis_failures
        self._reason = ""
        self._refused: str | None = None
        self._refused_at = 0.0
        self._breaker = CircuitBreaker(
            clock, self._notice, failures=_FAILURES, pause=_PAUSE, longest_pause=_LONGEST_PAUSE
        )

    async def script(self, text: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        """What a Lua script answers, whose text goes with it: no Redis has to know it before. Raises Away."""
        async with self.guard(text):
            return await self._cache.raw("eval", text, len(keys), *keys, *args)

    @contextlib.asynccontextmanager
    async def guard(self, what: str = "") -> AsyncIterator[None]:
        """Around whatever is asked by `client`. `what`: to tell what writes from what does not. Raises Away."""
        if (admitted := self._breaker.acquire()) is None:
            raise RedisUnavailableError
        try:
            async with asyncio.timeout(self._patience), self._turns:
                yield
        except Exception as exc:  # whatever redis-py makes of an answer that is none
            await self._failed(admitted, exc, what)
            raise RedisUnavailableError from exc
        except BaseException:
            self._breaker.release(admitted)
            raise
        self._answered(admitted, what)

    async def aclose(self) -> None:
        for close in _closing(self.client):
            with contextlib.suppress(errors.RedisError, OSError):
                await close()

    async def _failed(self, admitted: Permit, exc: Exception, what: str) -> None:
        kind = _kind(exc)
        self._failures.labels(self._use, kind).inc()
        if kind in _REFUSALS:
            self._breaker.record_success(admitted)
            if self._refused is None:
                self._log.warning("redis_refuses_writes", use=self._use, reason=kind)
            self._refused, self._refused_at = what, self._clock()
            return
        self._reason = kind
        self._breaker.record_failure(admitted)
        await _drop_idle(self.client)

    def _answered(self, admitted: Permit, what: str) -> None:
        self._breaker.record_success(admitted)
        # One that is nearly full refuses now and then, and what only reads says nothing of it.
        if what == self._refused and self._clock() >= self._refused_at + _QUIET:
            self._refused = None
            self._log.info("redis_accepts_writes", use=self._use)

    def _notice(self, is_open: bool) -> None:
        self._up.set(not is_open)
        if is_open:
            self._log.warning("redis_unavailable", use=self._use, reason=self._reason)
        else:
            self._log.info("redis_available", use=self._use)


_REFUSALS: Final = frozenset({"full", "misconf", "noreplicas"})
_CODES: Final = {"OOM": "full", "MISCONF": "misconf", "NOREPLICAS": "noreplicas", "READONLY": "readonly"}
# Before Redis 7, what a command answers within a script stands somewhere in the message.
_CODE: Final = re.compile(rf"\b({'|'.join(_CODES)})\b")
_KINDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError), "auth"),
    ((errors.BusyLoadingError,), "loading"),
    ((errors.ReadOnlyError,), "readonly"),
    ((errors.OutOfMemoryError,), "full"),
    ((errors.TimeoutError, TimeoutError), "timeout"),
    ((errors.ClusterError, errors.RedisClusterException), "cluster"),
    ((errors.ResponseError,), "refused"),
    ((errors.ConnectionError, OSError), "connection"),
)


def _kind(exc: BaseException) -> str:
    """Of a closed set. redis-py wraps errors in others, which say less."""
    if exc.__cause__ and (kind := _kind(exc.__cause__)) != "protocol":
        return kind
    if isinstance(exc, errors.ResponseError) and (code := _CODE.search(str(exc))):
        return _CODES[code[1]]
    return next((kind for types, kind in _KINDS if isinstance(exc, types)), "protocol")


def _client(address: RedisUrl, patience: float) -> Any:
    options = {
        # The link's own time-out ends whatever takes too long. One for each read costs a task for each write.
        "socket_timeout": None,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 1),
        # With these, the pool does not see that a connection was closed; only Redis Enterprise sends them.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        **address.options,
        "max_connections": _connections(address),
    }
    # Where one of several does not answer, there is time left to ask another.
    short = {"socket_timeout": patience / 3, "socket_connect_timeout": patience / 3}
    if address.is_cluster:
        nodes = [ClusterNode(*host) for host in address.hosts]
        return RedisCluster(startup_nodes=nodes, ssl=address.is_tls, **{**options, **short})
    if address.service:
        own = {**options, **short, "ssl": address.is_tls, "db": 0, "retry": Retry(NoBackoff(), 0)}
        create: Any = Sentinel  # which has no types
        return create(address.hosts, sentinel_kwargs=own, ssl=address.is_tls, **options).master_for(address.service)
    connection: type[AbstractConnection] = UnixDomainSocketConnection
    if address.hosts:
        options["host"], options["port"] = address.hosts[0]
        connection = SSLConnection if address.is_tls else Connection
    return Redis.from_pool(ConnectionPool(connection, **options))


def _connections(address: RedisUrl) -> int:
    return int(address.options.get("max_connections", _CONNECTIONS))


async def _drop_idle(client: Any) -> None:
    """So that the next to ask goes to who is there by then. A cluster's client sees to it by itself."""
    if not isinstance(client, RedisCluster):
        for connection in client.connection_pool._available_connections:  # noqa: SLF001 - the pool's own disconnect() waits for each
            await connection.disconnect(nowait=True)


def _closing(client: Any) -> list[Callable[[], Any]]:
    if isinstance(client, RedisCluster):
        # It closes nothing where it is about to look for its nodes again.
        nodes = client.nodes_manager
        return [client.aclose, nodes.aclose, lambda: nodes.aclose("startup_nodes")]
    pool = client.connection_pool
    return [client.aclose, *([pool.sentinel_manager.aclose] if isinstance(pool, SentinelConnectionPool) else [])]

"""The caches that a simulation compares: those of this gateway's workers, and plain caches of whole answers."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.cache.explain import FieldTrace, Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.freshness import FreshnessPolicy
from app.cache.page_cache import PageCache
from app.cache.prefetch import selection_seconds
from app.cache.shared.redis_records import RedisRecords
from app.cache.shared.shared_cache import SharedCache
from app.cache.store import MemoryStore
from app.credentials import Credential
from app.observability.metrics import Metrics
from app.resilience.clock import Clocks
from app.sessions.page import Page
from app.sessions.query import PageQuery
from app.sessions.row import Row

from .dashboards import View
from .fake_redis import FakeRedis
from .workspaces import CAUSE, SimulatedLangSmith

TTL: Final = 15.0
_REDIS_LATENCY: Final = 0.0005
_TIMEOUT: Final = 30.0
_MAX_BYTES: Final = 268_435_456
_WALL_CLOCK_START: Final = 1.7e9

Rows = Iterable[Row | None]


@dataclass(frozen=True)
class Answer:
    """The answer to a request: how the cache found it, and its rows in parts, each with the requested statistics."""

    outcome: Outcome
    parts: Sequence[tuple[Rows, frozenset[str]]]


@dataclass(frozen=True)
class Sizes:
    """Mean bytes of a page: in the memory of a worker, and in Redis together with its sessions."""

    in_memory: float = 0.0
    in_redis: float = 0.0


class Gateways(Protocol):
    """The workers of a fleet, each with its cache."""

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer: ...
    async def aclose(self) -> None: ...
    def sizes(self) -> Sizes: ...


class GatewayCaches:
    """The gateway's own cache in each worker; several workers share a Redis.

    `stale`: seconds after the time to live in which an answer may still be served.
    """

    def __init__(self, langsmith: SimulatedLangSmith, workers: int, *, stale: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._redis = FakeRedis(self._now, latency=_REDIS_LATENCY) if workers > 1 else None
        self._stores = [MemoryStore(_MAX_BYTES, lifetime_seconds=TTL + stale, clock=self._now) for _ in range(workers)]
        self._shared: list[SharedCache] = []
        self._caches = [self._cache(langsmith, store, stale) for store in self._stores]

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer:
        cache, trace, parts = self._caches[worker], FieldTrace(), list[tuple[Rows, frozenset[str]]]()
        context = FetchContext(credential, self._now() + _TIMEOUT, trace)
        ids = view.ids
        if view.query:
            CAUSE.set((view.kind, "page"))
            page = await cache.get_page(view.query, context)
            rows = page.rows_in(view.query.window)[: view.query.limit]
            parts.append((rows, view.query.statistics))
            ids = tuple(row.id for row in rows if row) if view.window else ()
        if ids:
            CAUSE.set((view.kind, "window" if view.window else "session"))
            window = view.window_at(self._now())
            sessions = await cache.lookup(ids, context, window=window, statistics=view.statistics)
            parts.append((sessions.by_id.values(), view.statistics))
        assert trace.outcome is not None
        return Answer(trace.outcome, parts)

    async def aclose(self) -> None:
        for cache in self._caches:
            await cache.aclose()
        for shared in self._shared:
            await shared.aclose()

    def sizes(self) -> Sizes:
        cached: Iterable[Page] = (page for store in self._stores for page in store._memory._cache.values())
        # Sessions that were looked up by id are stored as pages of one row.
        weights = [page.weight_bytes for page in cached if page.limit > 1]
        redis_bytes, redis_pages = 0, 0
        for key, entry in (self._redis.entries if self._redis else {}).items():
            value = entry.value
            value_bytes = len(value) if isinstance(value, bytes) else sum(map(len, [*value, *value.values()]))
            redis_bytes += len(key) + value_bytes
            redis_pages += ":page:" in key and ":lease:" not in key and ":selected:" not in key
        return Sizes(sum(weights) / max(len(weights), 1), redis_bytes / max(redis_pages, 1))

    def _cache(self, langsmith: SimulatedLangSmith, store: MemoryStore, stale: float) -> PageCache:
        shared = None
        if self._redis:
            clocks = Clocks(self._now, lambda: self._now() + _WALL_CLOCK_START)
            forgets = store.delete_scope_before
            records = RedisRecords(
                self._redis,
                clocks,
                lifetime_seconds=TTL + stale,
                selection_seconds=selection_seconds(TTL),
                on_scope_dropped=forgets,
            )
            shared = SharedCache(self._redis, clocks, records)
            self._shared.append(shared)
        freshness = FreshnessPolicy(TTL, stale)
        upstream: Any = langsmith
        return PageCache(Fetcher(upstream, store, freshness, Metrics(), self._now, shared))


class PlainCaches:
    """Caches of whole answers by credential and query text, with a time to live: one per worker, or one for all.

    `joins`: whether a request that misses waits for an equal one in flight. Few caches of this kind do that.
    """

    def __init__(
        self, langsmith: SimulatedLangSmith, workers: int, *, shared: bool = False, joins: bool = False
    ) -> None:
        self._langsmith = langsmith
        self._now = asyncio.get_running_loop().time
        self._caches: list[dict[object, _CachedAnswer]] = [{} for _ in range(1 if shared else workers)]
        self._joins = joins
        self._in_flight: dict[object, asyncio.Task[Answer]] = {}

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer:
        number = worker % len(self._caches)
        cache, key = self._caches[number], (credential.scope, view.text)
        if (cached := cache.get(key)) and cached.expires_at > self._now():
            return Answer(Outcome.HIT, cached.answer.parts)
        if self._joins and (in_flight := self._in_flight.get((number, key))):
            return Answer(Outcome.COALESCED, (await in_flight).parts)
        task = asyncio.create_task(self._fetch(view, credential))
        self._in_flight[number, key] = task
        answer = await task
        self._in_flight.pop((number, key), None)
        cache[key] = _CachedAnswer(self._now() + TTL, answer)
        return answer

    async def aclose(self) -> None:
        """There is nothing to close."""

    def sizes(self) -> Sizes:
        return Sizes()

    async def _fetch(self, view: View, credential: Credential) -> Answer:
        parts: list[tuple[Rows, frozenset[str]]] = []
        ids = view.ids
        if view.query:
            CAUSE.set((view.kind, "page"))
            page = await self._langsmith.fetch(view.query, credential, [])
            parts.append((page.rows, view.query.statistics))
            ids = tuple(row.id for row in page.rows if row) if view.window else ()
        if ids:
            CAUSE.set((view.kind, "window" if view.window else "session"))
            query = PageQuery.for_ids(ids, window=view.window_at(self._now()), statistics=view.statistics)
            parts.append(((await self._langsmith.fetch(query, credential, [])).rows, view.statistics))
        return Answer(Outcome.MISS, parts)


@dataclass(frozen=True)
class _CachedAnswer:
    expires_at: float
    answer: Answer

"""What is compared in a simulation: workers with this gateway's cache, and with a plain cache of whole answers."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from app.cache.explain import FieldTrace, Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.freshness import Freshness
from app.cache.page_cache import PageCache
from app.cache.prefetch import lately
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
from .scripts import Scripted
from .workspaces import CAUSE, Langsmith

TTL: Final = 15.0
_LATENCY: Final = 0.0005
_PATIENCE: Final = 30.0
_MOST_BYTES: Final = 268_435_456
_WALL: Final = 1.7e9

Rows = Iterable[Row | None]


@dataclass(frozen=True)
class Answer:
    """Rows, with the statistics of them that were asked for."""

    outcome: Outcome
    parts: Sequence[tuple[Rows, frozenset[str]]]


@dataclass(frozen=True)
class Sizes:
    """Mean bytes of a page: in the memory of a worker, and in Redis with all that belongs to it."""

    in_memory: float = 0.0
    in_redis: float = 0.0


class Gateways(Protocol):
    """So many workers."""

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer: ...
    async def aclose(self) -> None: ...
    def sizes(self) -> Sizes: ...


class Ours:
    """`stale`: seconds beyond the time to live. Where there are several workers, they share a Redis."""

    def __init__(self, langsmith: Langsmith, workers: int, *, stale: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._redis = Scripted(self._now, latency=_LATENCY) if workers > 1 else None
        self._stores = [MemoryStore(_MOST_BYTES) for _ in range(workers)]
        self._shared: list[SharedCache] = []
        self._caches = [self._cache(langsmith, store, stale) for store in self._stores]

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer:
        cache, trace, parts = self._caches[worker], FieldTrace(), list[tuple[Rows, frozenset[str]]]()
        caller = FetchContext(credential, self._now() + _PATIENCE, trace)
        ids = view.ids
        if view.query:
            CAUSE.set((view.kind, "page"))
            page = await cache.get_page(view.query, caller)
            rows = page.rows_in(view.query.window)[: view.query.limit]
            parts.append((rows, view.query.statistics))
            ids = tuple(row.id for row in rows if row) if view.window else ()
        if ids:
            CAUSE.set((view.kind, "window" if view.window else "session"))
            found = await cache.lookup(ids, caller, window=view.window_at(self._now()), statistics=view.statistics)
            parts.append((found.by_id.values(), view.statistics))
        assert trace.outcome is not None
        return Answer(trace.outcome, parts)

    async def aclose(self) -> None:
        for cache in self._caches:
            await cache.aclose()
        for shared in self._shared:
            await shared.aclose()

    def sizes(self) -> Sizes:
        held: Iterable[Page] = (page for store in self._stores for page in store._memory._cache.values())
        weights = [page.weight_bytes for page in held if page.limit > 1]
        sizes, pages = 0, 0
        for key, entry in (self._redis.held if self._redis else {}).items():
            value = entry.value
            sizes += len(key) + (len(value) if isinstance(value, bytes) else sum(map(len, [*value, *value.values()])))
            pages += isinstance(value, bytes) and ":page:" in key and ":turn:" not in key
        return Sizes(sum(weights) / max(len(weights), 1), sizes / max(pages, 1))

    def _cache(self, langsmith: Langsmith, store: MemoryStore, stale: float) -> PageCache:
        shared = None
        if self._redis:
            clocks = Clocks(self._now, lambda: self._now() + _WALL)
            forgets = store.delete_scope_before
            records = RedisRecords(self._redis, clocks, lifetime=TTL + stale, remembers=lately(TTL), forgets=forgets)
            shared = SharedCache(self._redis, clocks, records)
            self._shared.append(shared)
        freshness = Freshness(TTL, stale, self._now)
        upstream: Any = langsmith
        return PageCache(Fetcher(upstream, store, freshness, Metrics(), self._now, shared))


class Plain:
    """Whole answers by credential and query text, for a time to live; each worker has its own unless they share one.

    `joins`: whether who misses waits for an answer that is under way there, which few such caches know.
    """

    def __init__(self, langsmith: Langsmith, workers: int, *, shared: bool = False, joins: bool = False) -> None:
        self._langsmith = langsmith
        self._now = asyncio.get_running_loop().time
        self._held: list[dict[object, _Kept]] = [{} for _ in range(1 if shared else workers)]
        self._joins = joins
        self._under_way: dict[object, asyncio.Task[Answer]] = {}

    async def answer(self, worker: int, view: View, credential: Credential) -> Answer:
        place = worker % len(self._held)
        held, key = self._held[place], (credential.scope, view.text)
        if (kept := held.get(key)) and kept.until > self._now():
            return Answer(Outcome.HIT, kept.answer.parts)
        if self._joins and (under_way := self._under_way.get((place, key))):
            return Answer(Outcome.COALESCED, (await under_way).parts)
        task = asyncio.create_task(self._asked(view, credential))
        self._under_way[place, key] = task
        answer = await task
        self._under_way.pop((place, key), None)
        held[key] = _Kept(self._now() + TTL, answer)
        return answer

    async def aclose(self) -> None:
        """It has nothing to end."""

    def sizes(self) -> Sizes:
        return Sizes()

    async def _asked(self, view: View, credential: Credential) -> Answer:
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
class _Kept:
    until: float
    answer: Answer

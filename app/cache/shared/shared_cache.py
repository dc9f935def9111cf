"""Second tier of the cache: reads what other processes fetched, and fetches at most once for all of them."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from app.cache.freshness import EMPTY_SECONDS
from app.cache.shared import codec
from app.cache.shared.background_writes import BackgroundWrites
from app.cache.shared.cross_process_fetch import CrossProcessFetcher, Fetch, FetchJob, FetchOutcome
from app.cache.shared.lease_values import Lease, ReleaseCall
from app.cache.shared.leases import Leases, ScriptRunner
from app.cache.shared.redis_records import (
    CLOCK_TOLERANCE_SECONDS,
    RECORDS_PREFIX,
    RedisRecords,
    SharedPage,
    SharedSessions,
)
from app.redis.connection import RedisUnavailableError
from app.resilience.clock import Clocks
from app.resilience.lru_cache import BoundedDict
from app.resilience.singleflight import SharedTask
from app.sessions.page import Page
from app.sessions.query import PageQuery, StatsWindow

T = TypeVar("T")

_NO_DEADLINE: Final = 86_400.0
"""Seconds that a read may take. The connection's own timeout ends it long before."""
_WRITE_DELAY_SECONDS: Final = 0.002
"""Seconds after which a page is written, so that no client waits for its encoding."""
_SELECTION_RESOLUTION_SECONDS: Final = 1.0
"""Seconds for which a selection that was written with a page is not written again."""
_MAX_WRITTEN_SELECTIONS: Final = 1000


class SharedCache:
    """Pages and sessions in Redis. While Redis is unavailable, nothing is found, and no error is raised."""

    def __init__(self, redis: ScriptRunner, clocks: Clocks, records: RedisRecords) -> None:
        self._clocks = clocks
        self._records = records
        self._reads: dict[Hashable, SharedTask[Any]] = {}
        self._background = BackgroundWrites()
        self._leases = Leases(redis, RECORDS_PREFIX, self._background)
        self._fetcher = CrossProcessFetcher(self._leases, clocks)
        self._written_selections: BoundedDict[tuple[str, str, StatsWindow], tuple[frozenset[str], float]] = BoundedDict(
            _MAX_WRITTEN_SELECTIONS
        )

    async def read_page(
        self, scope: str, query: PageQuery, newer_than: float, *, acquires_lease: bool = False
    ) -> SharedPage:
        """The page with the statistics of the query's window, if it was fetched after `newer_than` (monotonic).

        `acquires_lease`: if there is no such page, the lease to fetch it is acquired in the same round trip. One of the
        callers gives it to `fetch_page_once`; otherwise each calls `release_unused`.
        """
        key = ("page", scope, query.key, query.window, newer_than, acquires_lease)
        return await self._read_once(
            key,
            lambda: self._read_page(scope, query, newer_than, acquires_lease=acquires_lease),
            on_unused=lambda found: self.release_unused(found.lease) if found.lease else None,
        ) or SharedPage(None)

    def release_unused(self, lease: Lease) -> None:
        """Releases a lease in the background, unless it is used for a fetch."""
        if not lease.is_used:
            self._leases.end(lease, shares_outcome=False)

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those of the sessions that are in Redis, with their statistics over the window."""
        key = ("sessions", scope, tuple(ids), window)
        return await self._read_once(key, lambda: self._records.read_sessions(scope, ids, window)) or SharedSessions({})

    def record_page_selection(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        """Tells other processes, in the background, which statistics of a page were selected lately."""
        known, written_at = self._written_selections.get((scope, query.digest, query.window), (frozenset(), 0.0))
        is_new = self._clocks.monotonic() >= written_at + _SELECTION_RESOLUTION_SECONDS
        if is_new or not statistics <= known:
            self._background.start(self._records.record_page_selection(scope, query, statistics))

    def record_session_selections(
        self, scope: str, ids: Iterable[str], window: StatsWindow, statistics: frozenset[str]
    ) -> None:
        """Tells other processes, in the background, which statistics of some sessions were selected lately."""
        self._background.start(self._records.record_session_selections(scope, ids, window, statistics))

    async def fetch_page_once(
        self,
        scope: str,
        query: PageQuery,
        fetch: Fetch,
        *,
        newer_than: float,
        is_strict: bool,
        shares_failure: Callable[[], bool],
        selected: frozenset[str] = frozenset(),
        lease: Lease | None = None,
    ) -> FetchOutcome:
        """Fetches a page, unless another process does or just did. Raises what `fetch` or the other process raised.

        `newer_than`, `is_strict`, `shares_failure`: see `FetchJob`. `selected`: the statistics of the page that were
        selected lately, which are written with it. `lease`: see `read_page`. The outcome has one page, found or
        answered.
        """

        async def read(names: Collection[str], newer_than: float) -> dict[str, Page]:
            page = (await self.read_page(scope, query, newer_than)).page
            is_found = page and page.holds_rows(query.limit) and self._is_complete(page, query, newer_than)
            return dict.fromkeys(names, page) if page and is_found else {}

        def publish(page: Page, _: Sequence[str], token: int, release: ReleaseCall) -> Coroutine[Any, Any, bool]:
            self._written_selections[scope, query.digest, query.window] = (selected, self._clocks.monotonic())
            return self._write_page(scope, page, query, token, selected, release)

        return await self._fetcher.fetch(
            scope,
            [_page_name(query)],
            query,
            FetchJob(fetch, read, publish, newer_than, shares_failure, is_strict),
            lease,
        )

    async def fetch_sessions_once(
        self,
        scope: str,
        ids: Sequence[str],
        query: PageQuery,
        fetch: Fetch,
        *,
        newer_than: float,
        is_strict: bool,
        shares_failure: Callable[[], bool],
    ) -> FetchOutcome:
        """Fetches sessions by id. Sessions that another process fetches are awaited, and read from Redis instead.

        Otherwise like `fetch_page_once`. Found sessions are by id, each as a page of its own.
        """
        prefix = f"session:{_lease_window(query)}:"

        def ids_of(names: Iterable[str]) -> list[str]:
            return [name.removeprefix(prefix) for name in names]

        async def fetch_names(names: Sequence[str]) -> Page:
            return await fetch(ids_of(names))

        async def read(names: Collection[str], newer_than: float) -> dict[str, Page]:
            pages = (await self.read_sessions(scope, ids_of(names), query.window)).pages
            return {
                f"{prefix}{each}": page for each, page in pages.items() if self._is_complete(page, query, newer_than)
            }

        def publish(page: Page, names: Sequence[str], token: int, release: ReleaseCall) -> Coroutine[Any, Any, bool]:
            return self._records.write_sessions(scope, page, query.window, token, ids_of(names), release)

        names = [f"{prefix}{each}" for each in ids]
        job = FetchJob(fetch_names, read, publish, newer_than, shares_failure, is_strict)
        result = await self._fetcher.fetch(scope, names, replace(query, limit=1), job)
        return replace(result, found={name.removeprefix(prefix): page for name, page in result.found.items()})

    async def drop_scope(self, scope: str) -> None:
        """Invalidates all that was fetched for a credential scope, in all processes."""
        with contextlib.suppress(RedisUnavailableError):
            await self._records.drop_scope(scope)

    async def delete(self, scope: str, query: PageQuery) -> None:
        """Deletes a page, and the sessions that its query names by id, for all processes."""
        with contextlib.suppress(RedisUnavailableError):
            await self._records.delete(scope, query)

    async def aclose(self) -> None:
        """Waits until everything is written."""
        await self._background.aclose()

    async def _read_page(self, scope: str, query: PageQuery, newer_than: float, *, acquires_lease: bool) -> SharedPage:
        if not acquires_lease:
            return await self._records.read_page(scope, query, newer_than)
        call = self._leases.acquire_call(scope, _page_name(query), self._fetcher.claim(query))
        try:
            return await self._records.read_page(scope, query, newer_than, call)
        except BaseException:
            self._leases.abandon(call)
            raise

    async def _write_page(
        self,
        scope: str,
        page: Page,
        query: PageQuery,
        token: int,
        selected: frozenset[str],
        release: ReleaseCall,
    ) -> bool:
        """Writes a page after a moment, when its callers have been answered."""
        await asyncio.sleep(_WRITE_DELAY_SECONDS)
        is_written = await self._records.write_page(scope, page, query, token, selected, release)
        if selected and not is_written:
            await self._records.record_page_selection(scope, query, selected)
        return is_written

    def _is_complete(self, page: Page, query: PageQuery, newer_than: float) -> bool:
        """Whether a page, and all statistics that the query needs, were fetched after that time."""
        if not page.rows:
            return page.fetched_at > max(newer_than, self._clocks.monotonic() - EMPTY_SECONDS)
        since = newer_than + CLOCK_TOLERANCE_SECONDS
        return page.fetched_at > since and not page.missing_statistics(query.window, query.statistics, since=since)

    async def _read_once(
        self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]], on_unused: Callable[[T], None] = lambda _: None
    ) -> T | None:
        """Singleflight for reads: concurrent ones with the same key share one. None while Redis is unavailable.

        `on_unused`: see `SharedTask`.
        """
        task = self._reads.get(key)
        if task is None or not task.is_joinable:
            task = self._reads[key] = SharedTask(
                read(), on_end=lambda: self._forget_read(key, task), on_unused=on_unused
            )
        try:
            found: T = await task.join(asyncio.get_running_loop().time() + _NO_DEADLINE)
        except RedisUnavailableError:
            return None
        return found

    def _forget_read(self, key: Hashable, task: SharedTask[Any] | None) -> None:
        # A task that was cancelled may have been replaced by the next one.
        if self._reads.get(key) is task:
            del self._reads[key]


def _page_name(query: PageQuery) -> str:
    """The name of a page's lease."""
    return f"page:{query.digest}:{_lease_window(query)}"


def _lease_window(query: PageQuery) -> str:
    """The part of a lease's name that tells what is computed. Who needs columns only waits for nobody's statistics."""
    return codec.window_key(query.window) if query.computes_statistics else "columns"

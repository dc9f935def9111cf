"""Cache of pages of sessions: the entry point of this room.

A page is cached by credential scope, filter, order and offset, whatever its length and its statistics. A page that was
fetched with more statistics than a client selects is therefore a hit, and one that lacks some is refilled: the missing
statistics alone are fetched, by session id. Callers who miss the same page at the same time share one request and its
outcome. If processes share a Redis, each one looks there before it asks LangSmith.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from app.cache.decision import Hit, Miss, Need, Refill, ServeStale, decide, fetches_page, joined_cutoff, settle
from app.cache.explain import Dependency, Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.freshness import Use
from app.cache.in_flight import Caller, InFlightPage, InFlightRequests, LookupResult
from app.cache.prefetch import RecentSelections
from app.cache.session_cache import SessionCache
from app.cache.shared.lease_values import Lease
from app.cache.shared.redis_records import SharedPage
from app.cache.shared.shared_cache import SharedCache
from app.cache.store import scope_of
from app.credentials import Credential
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow


class PageCache:
    """Reads pages and sessions through the cache. With a TTL of 0 nothing is stored, but requests are still shared."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._upstream = fetcher.upstream
        self._store = fetcher.store
        self._shared = fetcher.shared
        self._policy = fetcher.policy
        self._clock = fetcher.clock
        self._in_flight: InFlightRequests[InFlightPage] = InFlightRequests()
        self._selections = RecentSelections(fetcher.policy.ttl_seconds, fetcher.clock)
        self._sessions = SessionCache(fetcher, self._selections)

    async def get_page(self, query: PageQuery, context: FetchContext) -> Page:
        """A page that covers the query; it may have more rows and statistics, and be stale. Raises a GatewayError.

        Its rows are `page.rows_in(query.window)[:query.limit]`, with None for each row that was dropped.
        """
        if page := self.get_fresh_page(query, context):
            return page
        scope = context.credential.scope
        key = f"{scope}:{query.key}"
        now = arrived_at = self._clock()
        need = Need(query.window, query.statistics, query.limit, context.max_age)
        cached = self._store.get(key)
        decision = decide(cached, need, self._policy, now)
        prefetch = self._selections.recent_statistics(key, query.window)
        would_fetch = fetches_page(decision) and not any(request.key == key for request in self._in_flight)
        lease: Lease | None = None
        reads_shared = (would_fetch or isinstance(decision, Refill)) and context.max_age != 0
        if self._shared and reads_shared:
            # A page that has the missing statistics may be no younger than this one.
            since = _newer_than(cached, query) if would_fetch else self._policy.fresh_cutoff(now, context.max_age)
            full_query = _with_prefetch(query, prefetch)
            found = await self._read_shared(self._shared, key, full_query, since, acquires_lease=would_fetch)
            cached, prefetch, lease = found.page, prefetch | found.recent_statistics, found.lease
            decision = decide(cached, need, self._policy, now := self._clock())
        try:
            match decision:
                case Hit(page, fetched_at):
                    self._record_served(Outcome.HIT, key, query, page, now - fetched_at, context)
                case ServeStale(page, fetched_at):
                    self._refresh_in_background(key, query.with_prefetch(prefetch), context.credential, lease)
                    self._record_served(Outcome.STALE, key, query, page, now - fetched_at, context)
                case Refill(cached_page, missing):
                    page = await self._refill(key, cached_page, query, missing, context) or await self._fetch_page(
                        key, query, prefetch, context, arrived_at, lease
                    )
                case Miss():
                    page = await self._fetch_page(key, query, prefetch, context, arrived_at, lease)
                case _:
                    assert_never(decision)
        finally:
            if self._shared and lease:
                self._shared.release_unused(lease)
        self._selections.record(key, query.window, query.statistics)
        # Other processes read the selections only before they fetch the page, so that hits need not publish theirs.
        if self._shared and query.statistics and (would_fetch or reads_shared or page is not cached):
            self._shared.record_page_selection(scope, query, self._selections.recent_statistics(key, query.window))
        return page

    def get_fresh_page(self, query: PageQuery, context: FetchContext) -> Page | None:
        """The page, if it is cached with all that the query needs, and fresh; otherwise None."""
        key = f"{context.credential.scope}:{query.key}"
        now = self._clock()
        need = Need(query.window, query.statistics, query.limit, context.max_age)
        decision = decide(self._store.get(key), need, self._policy, now)
        if not isinstance(decision, Hit):
            return None
        self._record_served(Outcome.HIT, key, query, decision.page, now - decision.fetched_at, context)
        self._selections.record(key, query.window, query.statistics)
        return decision.page

    async def cached_ids(self, query: PageQuery, context: FetchContext) -> list[str] | None:
        """The ids of the rows of a page that can be served from the cache, but for its statistics; otherwise None."""
        scope = context.credential.scope
        key = f"{scope}:{query.key}"
        need = Need(ALL_RUNS, frozenset(), query.limit, context.max_age)
        cached = self._store.get(key)
        decision = decide(cached, need, self._policy, self._clock())
        if self._shared and isinstance(decision, Miss) and context.max_age != 0:
            found = await self._read_shared(self._shared, key, query, _newer_than(cached, query))
            decision = decide(found.page, need, self._policy, self._clock())
        match decision:
            case Hit(page) | ServeStale(page):
                return [row.id for row in page.rows[: query.limit] if row]
            case _:
                return None

    def now(self) -> float:
        """The present time in monotonic seconds, on the clock of `Page.fetched_at`."""
        return self._clock()

    @property
    def tells_whether_rows_follow(self) -> bool:
        """Whether a page says by itself if the list goes on, so that nobody has to ask for one row more."""
        return self._upstream.tells_whether_rows_follow

    async def lookup(
        self,
        ids: Sequence[str],
        context: FetchContext,
        *,
        window: StatsWindow = ALL_RUNS,
        statistics: frozenset[str] = frozenset(),
        uses_columns: bool = True,
    ) -> LookupResult:
        """Sessions by id, in one request per 100 that are not cached. Raises a GatewayError.

        `window` counts only with `statistics`. `ids` may have duplicates. The result has an entry for every id, which
        is None for an id that LangSmith does not know. `uses_columns`: whether the answer uses more than statistics.
        """
        return await self._sessions.lookup(
            ids, context, Use(window if statistics else ALL_RUNS, statistics, uses_columns)
        )

    def expires_at(self, dependencies: Sequence[Dependency]) -> float:
        """When the first of these pages expires (monotonic seconds); 0 if a used value was replaced or evicted."""
        expiry = min((each.expires_at for each in dependencies), default=0.0)
        return expiry if all(self._store.has_versions(each.key, each.versions) for each in dependencies) else 0.0

    async def aclose(self) -> None:
        """Cancels background refreshes."""
        await self._sessions.aclose()
        await self._in_flight.aclose()

    async def _read_shared(
        self, shared: SharedCache, key: str, query: PageQuery, newer_than: float, *, acquires_lease: bool = False
    ) -> SharedPage:
        """Reads the page from Redis, and stores it in memory.

        Returns the page that memory then holds, the recent selections, and the lease if it was acquired.
        """
        found = await shared.read_page(scope_of(key), query, newer_than, acquires_lease=acquires_lease)
        if found.page and (found.page.holds_rows(query.limit) or self._store.get(key) is None):
            for page in (*found.others, found.page):
                await self._fetcher.store_page(key, page)
        return replace(found, page=self._store.get(key))

    def _record_served(
        self, outcome: Outcome, key: str, query: PageQuery, page: Page, age: float, context: FetchContext
    ) -> None:
        use = Use(query.window, query.statistics)
        dependencies = [self._policy.dependency(key, page, use.oldest_fetch(page), use)]
        self._fetcher.record_lookup(context, outcome, age=age, dependencies=dependencies)

    async def _record_use(self, key: str, page: Page, use: Use, context: FetchContext) -> None:
        """Records what an answer used of a page that came from LangSmith."""
        context.trace.dependencies += await self._fetcher.dependencies({key: page}, use.oldest_fetch(page), use)

    def _refresh_in_background(self, key: str, query: PageQuery, credential: Credential, lease: Lease | None) -> None:
        """Starts a background refresh, unless the rate limit is nearly reached: clients that wait need what is left."""
        if not self._upstream.is_near_limit(credential.scope):
            request = self._find_in_flight(key, query, Caller(self._clock())) or self._start(
                key, query, credential, None, lease
            )
            self._in_flight.run_in_background(request)

    async def _refill(
        self, key: str, cached: Page, query: PageQuery, missing: frozenset[str], context: FetchContext
    ) -> Page | None:
        """The page with the missing statistics; None if LangSmith no longer has one of its sessions."""
        page = cached.first(query.limit)
        ids = [row.id for row in page.rows if row]
        use = Use(query.window, missing, has_columns=False)
        found = await self._sessions.lookup(ids, context, use, outcome_of_fetch=Outcome.REFILL)
        rows = {session_id: row for session_id, row in found.by_id.items() if row}
        if len(rows) < len(found.by_id):
            await self._store.delete(key)
            return None
        if page is cached:  # and not a part of its rows, of which alone the statistics were fetched
            await self._fetcher.store_page(key, cached.with_statistics(query.window, missing, rows, found.fetched_at))
        await self._record_use(key, cached, Use(query.window, query.statistics - missing), context)
        return page.with_statistics(query.window, missing, rows, found.fetched_at)

    async def _fetch_page(
        self,
        key: str,
        query: PageQuery,
        prefetch: frozenset[str],
        context: FetchContext,
        arrived_at: float,
        lease: Lease | None,
    ) -> Page:
        """The page, from a request in flight if there is one, and otherwise from a request of its own."""
        full_query = _with_prefetch(query, prefetch)
        # A request that was joined may bring less than it was joined for. The second one is joined only if it cannot do
        # without the same statistics, so that many callers who were disappointed share one request.
        for is_exact in (False, True):
            caller = Caller(arrived_at, context.max_age, is_exact)
            request = self._find_in_flight(key, full_query, caller)
            if request is None:
                break
            if page := await self._join(key, request, query, context, arrived_at):
                return page
        request = self._start(key, full_query, context.credential, context.max_age, lease)
        page = await self._fetcher.join(request, Outcome.MISS, context)
        missing = page.missing_statistics(query.window, query.statistics, since=-math.inf) if page.rows else None
        if missing and (refilled := await self._refill(key, page, query, missing, context)):
            return refilled
        await self._record_use(key, page, Use(query.window, query.statistics), context)
        return page

    async def _join(
        self, key: str, request: InFlightPage, query: PageQuery, context: FetchContext, arrived_at: float
    ) -> Page | None:
        """The page that a request of another caller brings, refilled if necessary; None if it cannot be used."""
        trusts_age = context.max_age is None or request.closed_at is None
        page = await self._fetcher.join_other(request, request.query.statistics, context, query.statistics)
        cutoff = self._policy.fresh_cutoff(arrived_at, context.max_age)
        need = Need(query.window, query.statistics, query.limit, context.max_age)
        match settle(page, need, joined_cutoff(page, cutoff, trusts_age=trusts_age)):
            case Hit(found):
                await self._record_use(key, found, Use(query.window, query.statistics), context)
                return found
            case Refill(found, missing):
                return await self._refill(key, found, query, missing, context)
            case Miss():
                return None
            case other:
                assert_never(other)

    def _find_in_flight(self, key: str, query: PageQuery, caller: Caller) -> InFlightPage | None:
        return next((request for request in self._in_flight if request.try_join(key, query, caller)), None)

    def _start(
        self, key: str, query: PageQuery, credential: Credential, max_age: float | None, lease: Lease | None
    ) -> InFlightPage:
        request = InFlightPage(key=key, query=query, max_age=max_age)
        self._in_flight.start(request, self._run(request, credential, lease.take() if lease else None))
        return request

    async def _run(self, request: InFlightPage, credential: Credential, lease: Lease | None) -> Page:
        """Fetches the page that callers wait for, once for all processes. `lease`: acquired before, perhaps."""
        query = request.close(self._clock())

        async def fetch(_: Sequence[str] = ()) -> Page:
            page = await self._fetcher.fetch(query, request, credential, [request.key])
            await self._fetcher.store_page(request.key, page, replaces_longer=request.max_age is not None)
            return page

        if self._shared is None:
            return await fetch()
        cutoff = self._policy.fresh_cutoff(self._clock(), request.max_age)
        result = await self._shared.fetch_page_once(
            credential.scope,
            query,
            fetch,
            newer_than=cutoff,
            is_strict=request.max_age is not None,
            shares_failure=lambda: request.was_sent,
            selected=query.statistics | self._selections.recent_statistics(request.key, query.window),
            lease=lease,
        )
        if result.answers:
            return result.answers[0]
        request.outcome = result.outcome
        (page,) = result.found.values()
        await self._fetcher.store_page(request.key, page)
        return page


def _newer_than(cached: Page | None, query: PageQuery) -> float:
    """The time after which a page must have been fetched to be of more use than the cached one (monotonic seconds)."""
    return cached.fetched_at if cached and cached.holds_rows(query.limit) else -math.inf


def _with_prefetch(query: PageQuery, prefetch: frozenset[str]) -> PageQuery:
    """The query with these statistics prefetched. A client that selects no statistics should not wait for any."""
    return query.with_prefetch(prefetch) if query.statistics else query

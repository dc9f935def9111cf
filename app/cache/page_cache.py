"""Pages of sessions, each kept for a short while.

A page is found by who asks and which page it is, whatever its statistics and length: one that was fetched with more
than a client selects is still a hit. One that lacks statistics is refilled: just those are fetched, by id. Callers
who miss on the same page at the same time share one request, and its outcome. Sessions that are looked up by id are
kept one by one, as pages of one row; what a page knows of a session is known wherever that session is needed. Where
processes share a Redis, each looks there before it asks, and asks on behalf of all.
"""

import math
from collections.abc import Sequence

from app.cache.explain import Dependency, Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.in_flight import InFlightPage, InFlightRequests, LookupResult
from app.cache.prefetch import RecentSelections
from app.cache.session_cache import SessionCache
from app.cache.shared.shared_cache import SharedCache
from app.credentials import Credential
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow


class PageCache:
    """Where nothing is kept, callers still share requests under way."""

    def __init__(self, asking: Fetcher) -> None:
        self._asking = asking
        self._upstream = asking.upstream
        self._store = asking.store
        self._shared = asking.shared
        self._freshness = asking.freshness
        self._clock = asking.clock
        self._under_way: InFlightRequests[InFlightPage] = InFlightRequests()
        self._sessions = SessionCache(asking)
        self._demand = RecentSelections(asking.freshness.ttl, asking.clock)

    async def get_page(self, query: PageQuery, caller: FetchContext) -> Page:
        """A page that covers the query. Raises a GatewayError."""
        key = f"{caller.credential.scope}:{query.key}"
        held = await self._store.get(key)
        wanted = self._demand.recent_statistics(key, query.window)
        is_held = held and held.holds_rows(query.limit) and self._freshness.fresh_enough(held, caller.max_age)
        is_news = not is_held and not any(each.key == key for each in self._under_way)
        if self._shared and is_news and caller.max_age != 0:
            held, wanted = await self._adopted(self._shared, key, held, query, caller, wanted)
        page = await self._from(held, key, query, caller, wanted) if held and held.holds_rows(query.limit) else None
        if page is None:
            # Who waits for no statistics is not kept waiting for any.
            whole = query.with_prefetch(wanted) if query.statistics else query
            under_way, is_new = self._flight(key, whole, caller.credential, caller.max_age)
            page = await self._asking.join(under_way, Outcome.MISS if is_new else Outcome.COALESCED, caller)
            caller.trace.dependencies.append(self._freshness.dependency(key, page, page.fetched_at))
        self._demand.record(key, query.window, query.statistics)
        if self._shared and query.statistics and (is_news or page is not held):
            self._shared.record_page_selection(
                caller.credential.scope, query, self._demand.recent_statistics(key, query.window)
            )
        return page

    async def _from(
        self, held: Page, key: str, query: PageQuery, caller: FetchContext, wanted: frozenset[str]
    ) -> Page | None:
        """A page that is held, which may be stale, or lack statistics; None where it is to be asked for anew."""
        fresh = self._freshness.fresh_enough(held, caller.max_age)
        missing = held.missing_statistics(
            query.window, query.statistics, since=self._freshness.oldest_acceptable(caller.max_age)
        )
        if not missing and fresh:
            return self._served(key, held, query, Outcome.HIT, caller)
        if self._is_stale(held, query, caller.max_age):
            if not self._upstream.is_near_limit(caller.credential.scope):
                self._under_way.run_in_background(
                    self._flight(key, query.with_prefetch(wanted), caller.credential, None)[0]
                )
            return self._served(key, held, query, Outcome.STALE, caller)
        if not fresh:
            return None
        if refilled := await self._refilled(key, held, query, missing, caller):
            caller.trace.dependencies.append(self._freshness.dependency(key, held, held.fetched_at))
            return refilled
        await self._store.delete(key)
        return None

    async def lookup(
        self,
        ids: Sequence[str],
        caller: FetchContext,
        *,
        window: StatsWindow = ALL_RUNS,
        statistics: frozenset[str] = frozenset(),
    ) -> LookupResult:
        """These sessions with these statistics, in one request per 100 that are not held. Raises a GatewayError."""
        return await self._sessions.lookup(ids, caller, window, statistics)

    def expires_at(self, uses: Sequence[Dependency]) -> float:
        """When (monotonic seconds) the first of these pages is no longer fresh; 0 if one was replaced or is gone."""
        ends = min((use.expires_at for use in uses), default=0.0)
        return ends if all(self._store.version(use.key) == use.version for use in uses) else 0.0

    async def aclose(self) -> None:
        """Ends what nobody waits for."""
        await self._sessions.aclose()
        await self._under_way.aclose()

    async def _adopted(
        self,
        shared: SharedCache,
        key: str,
        held: Page | None,
        query: PageQuery,
        caller: FetchContext,
        wanted: frozenset[str],
    ) -> tuple[Page | None, frozenset[str]]:
        """The page that is held, or a younger one that another process has asked for; and what is wanted anywhere."""
        newer_than = held.fetched_at if held and held.holds_rows(query.limit) else -math.inf
        seen = await shared.read_page(caller.credential.scope, query, newer_than)
        if seen.page and (held is None or seen.page.holds_rows(query.limit)):
            await self._asking.store_page(key, seen.page)
        return await self._store.get(key), wanted | seen.recent_statistics

    def _is_stale(self, held: Page, query: PageQuery, max_age: float | None) -> bool:
        """Whether it is too old to be fresh, and may be served all the same."""
        if not self._freshness.fresh_enough(held, max_age, stale=True):
            return False
        return not held.missing_statistics(
            query.window, query.statistics, since=self._freshness.oldest_acceptable(max_age, stale=True)
        )

    def _served(self, key: str, held: Page, query: PageQuery, outcome: Outcome, caller: FetchContext) -> Page:
        asked_at = held.oldest_fetch(query.window, query.statistics)
        self._asking.record_lookup(
            caller, outcome, age=self._clock() - asked_at, uses=[self._freshness.dependency(key, held, asked_at)]
        )
        return held

    async def _refilled(
        self, key: str, held: Page, query: PageQuery, missing: frozenset[str], caller: FetchContext
    ) -> Page | None:
        """The page with the missing statistics; None if LangSmith no longer knows one of its sessions."""
        part = held.first(query.limit)
        ids = [row.id for row in part.rows if row]
        found = await self._sessions.lookup(ids, caller, query.window, missing, on_fetch=Outcome.REFILL)
        rows = {session_id: row for session_id, row in found.by_id.items() if row}
        if len(rows) < len(found.by_id):
            return None
        if part is held:
            # Another refill of the same page may have come first; both are kept.
            now = await self._store.get(key)
            base = now if now and now.rows is held.rows else held
            await self._asking.store_page(key, base.with_statistics(query.window, missing, rows, found.fetched_at))
        return part.with_statistics(query.window, missing, rows, found.fetched_at)

    def _flight(
        self, key: str, query: PageQuery, credential: Credential, max_age: float | None
    ) -> tuple[InFlightPage, bool]:
        """The request for that page, and whether it is a new one."""
        under_way = next((each for each in self._under_way if each.try_join(key, query, max_age)), None)
        if under_way:
            return under_way, False
        started = InFlightPage(key=key, query=query, max_age=max_age)
        self._under_way.start(started, self._fetch(started, credential))
        return started, True

    async def _fetch(self, under_way: InFlightPage, credential: Credential) -> Page:
        under_way.is_sent = True
        query = under_way.query

        async def ask(_: Sequence[str] = ()) -> Page:
            page = await self._asking.fetch(query, under_way, credential)
            await self._asking.store_page(under_way.key, page)
            return page

        if self._shared is None:
            return await ask()
        since = self._freshness.oldest_acceptable(under_way.max_age)
        settled = await self._shared.fetch_page_once(
            credential.scope, query, ask, since=since, shares=lambda: under_way.was_sent
        )
        if settled.answers:
            return settled.answers[0]
        under_way.outcome = settled.outcome
        (page,) = settled.found.values()
        await self._asking.store_page(under_way.key, page)
        return page

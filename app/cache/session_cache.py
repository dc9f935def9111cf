"""Sessions that are looked up by id, each kept on its own, as a page of one row.

What a page knows of a session is known wherever that session is needed, and what other processes know as well. Of the
rest, what several callers look up within a moment leaves together.
"""

import asyncio
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from app.cache.explain import Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.in_flight import BATCH_WINDOW_SECONDS, InFlightRequests, LookupBatch, LookupResult, SessionPages
from app.cache.prefetch import MAX_REMEMBERED_IDS, RecentSelections
from app.cache.store import session_key
from app.credentials import Credential
from app.resilience.singleflight import gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow
from app.sessions.row import Row, detached

Pages = dict[str, Page | None]
"""By id."""


class SessionCache:
    def __init__(self, asking: Fetcher) -> None:
        self._asking = asking
        self._store = asking.store
        self._shared = asking.shared
        self._freshness = asking.freshness
        self._clock = asking.clock
        self._under_way: InFlightRequests[LookupBatch] = InFlightRequests()
        self._demand = RecentSelections(asking.freshness.ttl, asking.clock)

    async def lookup(
        self,
        ids: Sequence[str],
        caller: FetchContext,
        window: StatsWindow,
        statistics: frozenset[str],
        *,
        on_fetch: Outcome = Outcome.MISS,
    ) -> LookupResult:
        """`on_fetch`: what it is called when LangSmith is asked. Raises a GatewayError."""
        scope = caller.credential.scope
        need = _LookupNeed(self._asking, window if statistics else ALL_RUNS, statistics, caller.max_age)
        keys = {each: session_key(scope, each) for each in dict.fromkeys(ids)}
        pages: Pages = dict(zip(keys, await self._store.get_many([*keys.values()]), strict=True))
        lacking = need.lacking(pages)
        was_lacking = bool(lacking)
        wanted = self._wanted(keys.values(), need) if lacking else frozenset[str]()
        if lacking and caller.max_age != 0:
            found, wanted = await self._found_elsewhere(lacking, pages, need, scope, wanted)
            pages |= found
            lacking = need.lacking(pages)
        dropped = 0
        if not lacking or not need.lacking(pages, stale=True):
            if lacking and not self._asking.upstream.is_near_limit(scope):
                self._refresh(lacking, need, caller.credential, wanted)
            asked_at = need.asked_at(pages)
            uses = [self._freshness.dependency(key, pages[each], asked_at) for each, key in keys.items()]
            outcome = Outcome.STALE if lacking else Outcome.HIT
            self._asking.record_lookup(caller, outcome, age=self._clock() - asked_at, uses=uses)
        else:
            dropped = await self._fetched(lacking, pages, need, caller, wanted, on_fetch)
            asked_at = need.asked_at(pages)
            kept = await self._store.get_many([*keys.values()])
            caller.trace.dependencies += map(self._freshness.dependency, keys.values(), kept, [asked_at] * len(kept))
        if len(keys) <= MAX_REMEMBERED_IDS and statistics:
            for key in keys.values():
                self._demand.record(key, need.window, statistics)
            if self._shared and was_lacking:
                lately = self._wanted(keys.values(), need)
                self._shared.record_session_selections(scope, keys, need.window, lately)
        by_id = {each: _row(page, need.window) for each, page in pages.items()}
        return LookupResult(by_id, asked_at, dropped)

    async def aclose(self) -> None:
        """Ends what nobody waits for."""
        await self._under_way.aclose()

    def _wanted(self, keys: Collection[str], need: "_LookupNeed") -> frozenset[str]:
        """What was wanted lately of sessions of which few are looked up, as by their own pages of a dashboard."""
        if len(keys) > MAX_REMEMBERED_IDS or not need.statistics:
            return frozenset()
        return frozenset[str]().union(*(self._demand.recent_statistics(key, need.window) for key in keys))

    async def _found_elsewhere(
        self, lacking: Iterable[str], pages: Pages, need: "_LookupNeed", scope: str, wanted: frozenset[str]
    ) -> tuple[Pages, frozenset[str]]:
        """What pages, and other processes, know of these sessions, together with what was known already."""
        found: Pages = {}
        for each in lacking:
            views = await self._store.row_pages(session_key(scope, each), need.is_of_use)
            found[each] = functools.reduce(_joined, views, pages[each])
        is_asked_for = any(each.scope == scope for each in self._under_way)
        if self._shared and not is_asked_for and (rest := [*need.lacking(found)]):
            seen = await self._shared.read_sessions(scope, rest, need.window)
            found |= {each: _joined(found[each], page) for each, page in seen.pages.items()}
            wanted |= seen.recent_statistics
        for each, page in found.items():
            if page and page is not pages[each]:
                await self._asking.store_page(session_key(scope, each), page)
        return found, wanted

    def _refresh(
        self, lacking: Iterable[str], need: "_LookupNeed", credential: Credential, wanted: frozenset[str]
    ) -> None:
        for flight in self._flights(lacking, need.window, need.statistics, credential, None, wanted)[0]:
            self._under_way.run_in_background(flight)

    async def _fetched(
        self,
        lacking: Mapping[str, frozenset[str]],
        pages: Pages,
        need: "_LookupNeed",
        caller: FetchContext,
        wanted: frozenset[str],
        on_fetch: Outcome,
    ) -> int:
        """Puts what is lacking into the pages; how many rows came without their id."""
        young = {each: page for each, page in pages.items() if page and need.young(page)}
        is_refill = any(page.rows for page in young.values())
        statistics = frozenset[str]().union(*lacking.values())
        wanted = need.missing(wanted, [young.get(each) for each in lacking])
        flights, is_new = self._flights(lacking, need.window, statistics, caller.credential, caller.max_age, wanted)
        outcome = (Outcome.REFILL if is_refill else on_fetch) if is_new else Outcome.COALESCED
        found = await gather_or_cancel(*(self._asking.join(each, outcome, caller) for each in flights))
        singles = {each: page for part in found for each, page in part.by_id.items()}
        for each in lacking:
            single = singles.get(each)
            pages[each] = _joined(young.get(each), single) if single else None
        return sum(part.dropped_rows for part in found)

    def _flights(
        self,
        ids: Iterable[str],
        window: StatsWindow,
        statistics: frozenset[str],
        credential: Credential,
        max_age: float | None,
        wanted: frozenset[str],
    ) -> tuple[list[LookupBatch], bool]:
        """Requests that settle these ids, 100 in each that is new, and whether one is."""
        flights: list[LookupBatch] = []
        rest = [*ids]

        def join(flight: LookupBatch) -> None:
            nonlocal rest
            if taken := flight.try_join(rest, credential.scope, window, statistics, max_age):
                flights.append(flight)
                rest = [each for each in rest if each not in taken]

        for each in self._under_way:
            join(each)
        is_new = bool(rest)
        while rest:
            started = LookupBatch(scope=credential.scope, window=window, max_age=max_age, prefetch=wanted)
            self._under_way.start(started, self._fetch(started, credential))
            join(started)
        return flights, is_new

    async def _fetch(self, under_way: LookupBatch, credential: Credential) -> SessionPages:
        await asyncio.sleep(BATCH_WINDOW_SECONDS)
        query = under_way.close()
        singles: dict[str, Page] = {}

        async def ask(ids: Sequence[str]) -> Page:
            part = replace(query, arguments=PageQuery.for_ids(tuple(ids)).arguments, limit=len(ids))
            page = await self._asking.fetch(part, under_way, credential)
            singles.update(_singles(page, ids, part.window))
            return page

        ids = sorted(under_way.ids)
        if self._shared is None:
            answers = [await ask(ids)]
        else:
            since = self._freshness.oldest_acceptable(under_way.max_age)
            settled = await self._shared.fetch_sessions_once(
                credential.scope, ids, query, ask, since=since, shares=lambda: under_way.was_sent
            )
            answers = settled.answers
            under_way.outcome = None if answers else settled.outcome
            singles |= settled.found
        for each, single in singles.items():
            key = session_key(credential.scope, each)
            before = self._freshness.fresh_enough(await self._store.get(key), None)
            await self._asking.store_page(key, _joined(before, single))
        return SessionPages(singles, sum(page.dropped_rows for page in answers))


class _LookupNeed:
    """Which statistics a caller needs, how young, and whether what is there will do."""

    def __init__(self, asking: Fetcher, window: StatsWindow, statistics: frozenset[str], max_age: float | None) -> None:
        self.window = window
        self.statistics = statistics
        self._freshness = asking.freshness
        self._clock = asking.clock
        self._max_age = max_age

    def young(self, page: Page, *, stale: bool = False) -> bool:
        return self._freshness.fresh_enough(page, self._max_age, stale=stale) is not None

    def lacking(self, pages: Mapping[str, Page | None], *, stale: bool = False) -> dict[str, frozenset[str]]:
        """Of which sessions there is not enough that is young, and what has to be had of each."""
        since = self._freshness.oldest_acceptable(self._max_age, stale=stale)
        lacking = {}
        for each, page in pages.items():
            if page is None or not self.young(page, stale=stale):
                lacking[each] = self.statistics
            elif page.rows and (missing := page.missing_statistics(self.window, self.statistics, since=since)):
                lacking[each] = missing
        return lacking

    def missing(self, statistics: frozenset[str], pages: Iterable[Page | None]) -> frozenset[str]:
        """Which of these statistics are not known of each."""
        since = self._freshness.oldest_acceptable(self._max_age)
        return frozenset[str]().union(
            *(page.missing_statistics(self.window, statistics, since=since) if page else statistics for page in pages)
        )

    def is_of_use(self, page: Page) -> bool:
        """Whether it knows any of it, be it stale."""
        since = self._freshness.oldest_acceptable(self._max_age, stale=True)
        if page.fetched_at <= since:
            return False
        return (
            not self.statistics or page.missing_statistics(self.window, self.statistics, since=since) != self.statistics
        )

    def asked_at(self, pages: Mapping[str, Page | None]) -> float:
        """When the oldest of it was asked for."""
        return min(
            (
                page.oldest_fetch(self.window, self.statistics) if page.rows else page.fetched_at
                for page in pages.values()
                if page
            ),
            default=self._clock(),
        )


def _joined(page: Page | None, other: Page) -> Page:
    return page.merged_with(other) if page else other


def _row(page: Page | None, window: StatsWindow) -> Row | None:
    return page.rows_in(window)[0] if page and page.rows else None


def _singles(page: Page, ids: Sequence[str], window: StatsWindow) -> dict[str, Page]:
    """An answer, session by session; those that are not in it do not exist."""
    rows = {row.id: detached(row) for row in page.rows_in(window) if row}
    found = {each: page.row_page(rows[each]) for each in ids if each in rows}
    # A row without its id may have been any of the others.
    return found if page.dropped_rows else {each: found.get(each) or page.first(0) for each in ids}

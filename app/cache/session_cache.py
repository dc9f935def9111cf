"""Cache of single sessions, looked up by id. Each is stored as a page of one row, or of none if it does not exist.

A session that is not cached on its own may still be known from the pages that show it, or from another process; what
is known is merged, value by value. The rest is fetched: lookups of several callers within a moment leave as one batch.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, assert_never

from app.cache.decision import (
    Decision,
    Hit,
    Miss,
    Need,
    Refill,
    Served,
    ServeStale,
    decide,
    fetches,
    heaviest,
    is_useful,
)
from app.cache.explain import Outcome
from app.cache.fetcher import FetchContext, Fetcher
from app.cache.in_flight import LookupResult
from app.cache.prefetch import MAX_REMEMBERED_IDS, RecentSelections
from app.cache.session_batches import SessionBatches, merged, remaining
from app.cache.shared.redis_records import SharedSessions
from app.cache.store import session_key
from app.resilience.singleflight import gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, StatsWindow
from app.sessions.row import Row

Pages = Mapping[str, Page | None]
"""Pages of one session each, by id; None if nothing is known of it."""


class _Lookup(NamedTuple):
    """One call of `lookup`. `keys`: the cache keys by session id."""

    keys: Mapping[str, str]
    need: Need
    context: FetchContext

    @property
    def scope(self) -> str:
        return self.context.credential.scope


class SessionCache:
    """Reads sessions through the cache. `PageCache` uses it for lookups and for refills."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._upstream = fetcher.upstream
        self._store = fetcher.store
        self._shared = fetcher.shared
        self._policy = fetcher.policy
        self._clock = fetcher.clock
        self._batches = SessionBatches(fetcher)
        self._selections = RecentSelections(fetcher.policy.ttl_seconds, fetcher.clock)

    async def lookup(
        self,
        ids: Sequence[str],
        context: FetchContext,
        window: StatsWindow,
        statistics: frozenset[str],
        *,
        outcome_of_fetch: Outcome = Outcome.MISS,
    ) -> LookupResult:
        """Sessions with statistics. `outcome_of_fetch` is recorded if LangSmith is asked. Raises a GatewayError."""
        scope = context.credential.scope
        keys = {session_id: session_key(scope, session_id) for session_id in ids}
        lookup = _Lookup(keys, Need(window if statistics else ALL_RUNS, statistics, 1, context.max_age), context)
        pages = dict(zip(keys, await self._store.get_many([*keys.values()]), strict=True))
        decisions = self._decide(pages, lookup)
        overall = heaviest(decisions.values())
        is_cached = overall is None or isinstance(overall, Hit)
        prefetch: frozenset[str] = frozenset()
        if not is_cached:
            prefetch = self._recent_statistics(lookup)
            if context.max_age != 0:
                found = await self._find_elsewhere({each: pages[each] for each in fetches(decisions)}, lookup)
                pages |= found.pages
                prefetch |= found.recent_statistics
                decisions = self._decide(pages, lookup)
                overall = heaviest(decisions.values())
        match overall:
            case None | Hit():
                result = self._serve(Outcome.HIT, decisions, lookup)
            case ServeStale():
                self._refresh_in_background([*fetches(decisions)], prefetch, lookup)
                result = self._serve(Outcome.STALE, decisions, lookup)
            case Refill() | Miss():
                result = await self._fetch_missing(decisions, prefetch, lookup, outcome_of_fetch)
            case _:
                assert_never(overall)
        self._record_selections(lookup, is_published=not is_cached)
        return result

    async def aclose(self) -> None:
        """Cancels background refreshes."""
        await self._batches.aclose()

    def _decide(self, pages: Pages, lookup: _Lookup) -> dict[str, Decision]:
        need, policy, now = lookup.need, self._policy, self._clock()
        return {session_id: decide(page, need, policy, now) for session_id, page in pages.items()}

    async def _find_elsewhere(self, pages: Pages, lookup: _Lookup) -> SharedSessions:
        """The sessions as they are known from cached pages and from other processes, merged with their own pages.

        Redis is not read while a batch of this credential is in flight, because the batch reads it.
        """
        is_useful_now = functools.partial(is_useful, need=lookup.need, policy=self._policy, now=self._clock())
        known: dict[str, Page | None] = {}
        for session_id, page in pages.items():
            row_pages = await self._store.row_pages(lookup.keys[session_id], is_useful_now)
            known[session_id] = functools.reduce(merged, row_pages, page)
        recent_statistics = frozenset[str]()
        is_in_flight = self._batches.is_in_flight(lookup.scope)
        if self._shared and not is_in_flight and (missing := fetches(self._decide(known, lookup))):
            shared = await self._shared.read_sessions(lookup.scope, [*missing], lookup.need.window)
            known |= {session_id: merged(known[session_id], page) for session_id, page in shared.pages.items()}
            recent_statistics = shared.recent_statistics
        found = {session_id: page for session_id, page in known.items() if page and page is not pages[session_id]}
        for session_id, page in found.items():
            await self._fetcher.store_page(lookup.keys[session_id], page)
        return SharedSessions(found, recent_statistics)

    def _serve(self, outcome: Outcome, decisions: Mapping[str, Decision], lookup: _Lookup) -> LookupResult:
        """Answers a lookup from the cache."""
        served = {each: made for each, made in decisions.items() if isinstance(made, Served)}
        now = self._clock()
        fetched_at = min((made.fetched_at for made in served.values()), default=now)
        dependencies = [
            self._policy.dependency(key, served[session_id].page, fetched_at) for session_id, key in lookup.keys.items()
        ]
        self._fetcher.record_lookup(lookup.context, outcome, age=now - fetched_at, dependencies=dependencies)
        return LookupResult({each: _row(made.page, lookup.need.window) for each, made in served.items()}, fetched_at)

    def _refresh_in_background(self, ids: Sequence[str], prefetch: frozenset[str], lookup: _Lookup) -> None:
        """Fetches stale sessions, unless few requests are left to this credential: those are for clients who wait."""
        if self._upstream.is_near_limit(lookup.scope):
            return
        joined = self._batches.join(ids, lookup.scope, lookup.need)
        started = self._batches.start(remaining(ids, joined), lookup.context.credential, lookup.need, prefetch)
        self._batches.run_in_background([*joined, *started])

    async def _fetch_missing(
        self, decisions: Mapping[str, Decision], prefetch: frozenset[str], lookup: _Lookup, outcome_of_fetch: Outcome
    ) -> LookupResult:
        """Fetches the sessions that are not hits, and answers the lookup with them and with the hits."""
        context, hits, missing = lookup.context, _hits(decisions), fetches(decisions)
        need = replace(lookup.need, statistics=_statistics_to_fetch(missing, lookup.need))
        prefetch = self._prefetch_to_fetch(missing, prefetch, need)
        joined = self._batches.join([*missing], lookup.scope, need)
        started = self._batches.start(remaining([*missing], joined), context.credential, need, prefetch)
        is_refill = any(isinstance(each, Refill) for each in missing.values()) or any(
            page.rows for page in hits.values()
        )
        outcome = Outcome.COALESCED if not started else Outcome.REFILL if is_refill else outcome_of_fetch
        answers = await gather_or_cancel(
            *(self._fetcher.join(batch, outcome, context) for batch in (*joined, *started))
        )
        fetched = {session_id: page for answer in answers for session_id, page in answer.by_id.items()}
        pages = {
            each: hits[each] if each in hits else _completed(missing[each], fetched.get(each)) for each in lookup.keys
        }
        fetched_at = _oldest_fetch(pages.values(), lookup.need, self._clock())
        stored = await self._store.get_many([*lookup.keys.values()])
        context.trace.dependencies += [
            self._policy.dependency(key, page, fetched_at)
            for key, page in zip(lookup.keys.values(), stored, strict=True)
        ]
        dropped_rows = sum(answer.dropped_rows for answer in answers)
        return LookupResult({each: _row(page, need.window) for each, page in pages.items()}, fetched_at, dropped_rows)

    def _prefetch_to_fetch(
        self, missing: Mapping[str, Refill | Miss], prefetch: frozenset[str], need: Need
    ) -> frozenset[str]:
        """The statistics to prefetch: those of which one of the sessions has no fresh value."""
        cutoff = self._policy.fresh_cutoff(self._clock(), need.max_age)
        return frozenset[str]().union(
            *(
                decision.page.missing_statistics(need.window, prefetch, since=cutoff)
                if isinstance(decision, Refill)
                else prefetch
                for decision in missing.values()
            )
        )

    def _recent_statistics(self, lookup: _Lookup) -> frozenset[str]:
        """The statistics that were selected lately of these sessions. They are remembered for short lookups only."""
        if len(lookup.keys) > MAX_REMEMBERED_IDS or not lookup.need.statistics:
            return frozenset()
        window = lookup.need.window
        return frozenset[str]().union(
            *(self._selections.recent_statistics(key, window) for key in lookup.keys.values())
        )

    def _record_selections(self, lookup: _Lookup, *, is_published: bool) -> None:
        need = lookup.need
        if len(lookup.keys) > MAX_REMEMBERED_IDS or not need.statistics:
            return
        for key in lookup.keys.values():
            self._selections.record(key, need.window, need.statistics)
        if self._shared and is_published:
            recent = self._recent_statistics(lookup)
            self._shared.record_session_selections(lookup.scope, lookup.keys, need.window, recent)


def _hits(decisions: Mapping[str, Decision]) -> dict[str, Page]:
    return {session_id: made.page for session_id, made in decisions.items() if isinstance(made, Hit)}


def _statistics_to_fetch(missing: Mapping[str, Refill | Miss], need: Need) -> frozenset[str]:
    return frozenset[str]().union(
        *(decision.missing if isinstance(decision, Refill) else need.statistics for decision in missing.values())
    )


def _completed(decision: Refill | Miss, fetched: Page | None) -> Page | None:
    """A fetched session, merged with the page that was to be refilled."""
    return fetched and merged(decision.page if isinstance(decision, Refill) else None, fetched)


def _oldest_fetch(pages: Iterable[Page | None], need: Need, now: float) -> float:
    """When the oldest needed value of these sessions was fetched (monotonic seconds); now if none is known."""
    known = (page for page in pages if page)
    times = (page.oldest_fetch(need.window, need.statistics) if page.rows else page.fetched_at for page in known)
    return min(times, default=now)


def _row(page: Page | None, window: StatsWindow) -> Row | None:
    return page.rows_in(window)[0] if page and page.rows else None

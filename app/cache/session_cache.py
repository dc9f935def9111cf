"""Cache of single sessions, looked up by id. Each is stored as a page of one row, or of none if it does not exist.

A session without an entry of its own may be part of a cached page, or be in Redis. All sources are merged, each value
from the newest. The rest is fetched: lookups of several callers within a moment leave as one batch.
"""

import functools
from collections.abc import Mapping, Sequence
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
    joined_cutoff,
    settle,
)
from app.cache.explain import Outcome
from app.cache.fetcher import FetchContext, Fetcher, may_depend_on_ids
from app.cache.freshness import Use
from app.cache.in_flight import Caller, LookupBatch, LookupResult, SessionPages
from app.cache.merging import merged
from app.cache.prefetch import MAX_REMEMBERED_IDS, RecentSelections
from app.cache.session_batches import SessionBatches, remaining
from app.cache.session_lookup import (
    Pages,
    SessionLookup,
    completed,
    hits,
    oldest_fetch,
    row_of,
    statistics_to_fetch,
)
from app.cache.shared.redis_records import SharedSessions
from app.cache.store import session_key
from app.errors import BadUserInputError, ForbiddenError
from app.resilience.singleflight import gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT


class _Fetched(NamedTuple):
    """What batches brought: sessions by id, what they did not bring, and the number of dropped rows.

    `is_refused`: LangSmith refused a batch, perhaps because of the sessions of other callers.
    """

    pages: Pages
    missing: Mapping[str, Refill | Miss]
    dropped_rows: int
    is_refused: bool


class SessionCache:
    """Reads sessions through the cache. `PageCache` uses it for lookups and for refills."""

    def __init__(self, fetcher: Fetcher, selections: RecentSelections) -> None:
        self._fetcher = fetcher
        self._upstream = fetcher.upstream
        self._store = fetcher.store
        self._shared = fetcher.shared
        self._policy = fetcher.policy
        self._clock = fetcher.clock
        self._batches = SessionBatches(fetcher)
        self._selections = selections

    async def lookup(
        self,
        ids: Sequence[str],
        context: FetchContext,
        use: Use,
        *,
        outcome_of_fetch: Outcome = Outcome.MISS,
    ) -> LookupResult:
        """Sessions with statistics; None for an id that LangSmith does not know. Raises a GatewayError.

        `outcome_of_fetch` is recorded if LangSmith is asked.
        """
        scope = context.credential.scope
        keys = {session_id: session_key(scope, session_id) for session_id in ids}
        need = Need(use.window, use.statistics, 1, context.max_age)
        lookup = SessionLookup(keys, need, use, context, self._clock())
        if len(keys) >= MAX_LIMIT:
            await self._fetcher.scheduler.wait_for_slot()
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
                if use.statistics:  # a client that selects none should not wait for any
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

    def _decide(self, pages: Pages, lookup: SessionLookup) -> dict[str, Decision]:
        need, policy, now = lookup.need, self._policy, self._clock()
        return {session_id: decide(page, need, policy, now) for session_id, page in pages.items()}

    async def _find_elsewhere(self, pages: Pages, lookup: SessionLookup) -> SharedSessions:
        """Looks sessions up in cached pages and in Redis, stores what is new, and returns the sessions that changed.

        Redis is not read while a batch of this credential is in flight, because the batch reads it.
        """
        is_useful_now = functools.partial(is_useful, need=lookup.need, policy=self._policy, now=self._clock())
        window = lookup.need.window if lookup.need.statistics else None
        row_pages = await self._store.row_pages(lookup.scope, [*pages], window, is_useful_now)
        known = {each: functools.reduce(merged, row_pages.get(each, ()), page) for each, page in pages.items()}
        recent_statistics = frozenset[str]()
        is_in_flight = self._batches.is_in_flight(lookup.scope)
        if self._shared and not is_in_flight and (missing := fetches(self._decide(known, lookup))):
            shared = await self._shared.read_sessions(lookup.scope, [*missing], lookup.need.window)
            known |= {session_id: merged(known[session_id], page) for session_id, page in shared.pages.items()}
            recent_statistics = shared.recent_statistics
        found = {session_id: page for session_id, page in known.items() if page and page is not pages[session_id]}
        stored = await self._fetcher.store_pages({lookup.keys[session_id]: page for session_id, page in found.items()})
        return SharedSessions({session_id: stored[lookup.keys[session_id]] for session_id in found}, recent_statistics)

    def _serve(self, outcome: Outcome, decisions: Mapping[str, Decision], lookup: SessionLookup) -> LookupResult:
        """Answers a lookup from the cache."""
        served = {each: made for each, made in decisions.items() if isinstance(made, Served)}
        now = self._clock()
        fetched_at = min((made.fetched_at for made in served.values()), default=now)
        dependencies = [
            self._policy.dependency(key, served[session_id].page, fetched_at, lookup.use)
            for session_id, key in lookup.keys.items()
        ]
        self._fetcher.record_lookup(lookup.context, outcome, age=now - fetched_at, dependencies=dependencies)
        rows = {each: row_of(made.page, lookup.need.window) for each, made in served.items()}
        return LookupResult(rows, fetched_at, statistics=lookup.need.statistics)

    def _refresh_in_background(self, ids: Sequence[str], prefetch: frozenset[str], lookup: SessionLookup) -> None:
        """Starts a background refresh, unless the rate limit is nearly reached: clients that wait need what is left."""
        if self._upstream.is_near_limit(lookup.scope):
            return
        joined = self._batches.join(ids, lookup.scope, lookup.need, Caller(lookup.arrived_at))
        started = self._batches.start(remaining(ids, joined), lookup.context.credential, lookup.need, prefetch)
        self._batches.run_in_background([*joined, *started])

    async def _fetch_missing(
        self,
        decisions: Mapping[str, Decision],
        prefetch: frozenset[str],
        lookup: SessionLookup,
        outcome_of_fetch: Outcome,
    ) -> LookupResult:
        """Fetches the sessions that are not hits, and answers the lookup with them and with the hits."""
        context = lookup.context
        missing: Mapping[str, Refill | Miss] = fetches(decisions)
        pages: dict[str, Page | None] = {**hits(decisions)}
        is_refill = any(isinstance(each, Refill) for each in missing.values()) or any(
            page.rows for page in pages.values() if page
        )
        outcome = Outcome.REFILL if is_refill else outcome_of_fetch
        dropped_rows = 0
        # As with a page, a batch may bring less than it was joined for: then one that cannot do without the same
        # statistics is joined, and then none.
        callers = [lookup.caller(), lookup.caller(is_exact=True), None]
        while missing:
            part = await self._fetch_once(missing, prefetch, lookup, callers.pop(0), outcome)
            pages |= part.pages
            dropped_rows += part.dropped_rows
            missing = part.missing
            if part.is_refused:
                callers = [None]
        pages = {each: pages[each] for each in lookup.keys}
        fetched_at = oldest_fetch(pages.values(), lookup.need, self._clock())
        by_key = dict(zip(lookup.keys.values(), pages.values(), strict=True))
        context.trace.dependencies += await self._fetcher.dependencies(by_key, fetched_at, lookup.use)
        rows = {each: row_of(page, lookup.need.window) for each, page in pages.items()}
        return LookupResult(rows, fetched_at, dropped_rows, lookup.need.statistics)

    async def _fetch_once(
        self,
        missing: Mapping[str, Refill | Miss],
        prefetch: frozenset[str],
        lookup: SessionLookup,
        caller: Caller | None,
        outcome: Outcome,
    ) -> "_Fetched":
        """Fetches sessions in batches that `caller` joins, and the others in new ones; without it, in batches that no
        sessions of others are added to.

        `outcome` is recorded for the new ones. Those of the joined ones are examined for what they should have brought.
        """
        need = replace(lookup.need, statistics=statistics_to_fetch(missing, lookup.need))
        joined = self._batches.join([*missing], lookup.scope, need, caller) if caller else []
        trusts_age = need.max_age is None or all(batch.closed_at is None for batch in joined)
        prefetch = self._prefetch_to_fetch(missing, prefetch, need)
        credential = lookup.context.credential
        started = self._batches.start(
            remaining([*missing], joined), credential, need, prefetch, is_closed=caller is None
        )
        refused: list[LookupBatch] = []

        async def answer_of(batch: LookupBatch) -> SessionPages | None:
            try:
                if batch in joined:
                    return await self._fetcher.join_other(batch, batch.statistics, lookup.context, need.statistics)
                return await self._fetcher.join(batch, outcome, lookup.context)
            except (BadUserInputError, ForbiddenError) as refusal:
                if batch.ids <= missing.keys() or not may_depend_on_ids(refusal, credential):
                    raise
                refused.append(batch)
                return None

        answers = await gather_or_cancel(*(answer_of(batch) for batch in (*joined, *started)))
        if len(missing) >= MAX_LIMIT:
            await self._fetcher.scheduler.wait_for_slot()
        fetched = {session_id: page for answer in answers if answer for session_id, page in answer.by_id.items()}
        pages = {each: completed(decision, fetched.get(each)) for each, decision in missing.items()}
        cutoff = self._policy.fresh_cutoff(lookup.arrived_at, need.max_age)
        # A session that an answer lacks may be among its dropped rows, and is not fetched again.
        settled = {
            each: settle(pages[each], lookup.need, joined_cutoff(pages[each], cutoff, trusts_age=trusts_age))
            for batch, answer in zip((*joined, *started), answers, strict=True)
            for each in batch.ids.intersection(missing)
            if answer is None or (batch in joined and each in answer.by_id)
        }
        dropped_rows = sum(answer.dropped_rows for answer in answers if answer)
        return _Fetched(pages, fetches(settled), dropped_rows, bool(refused))

    def _prefetch_to_fetch(
        self, missing: Mapping[str, Refill | Miss], prefetch: frozenset[str], need: Need
    ) -> frozenset[str]:
        """The prefetch candidates of which at least one session lacks a fresh value."""
        cutoff = self._policy.fresh_cutoff(self._clock(), need.max_age)
        return frozenset[str]().union(
            *(
                decision.page.missing_statistics(need.window, prefetch, since=cutoff)
                if isinstance(decision, Refill)
                else prefetch
                for decision in missing.values()
            )
        )

    def _recent_statistics(self, lookup: SessionLookup) -> frozenset[str]:
        """The statistics that were selected lately of these sessions. They are remembered for short lookups only."""
        if len(lookup.keys) > MAX_REMEMBERED_IDS or not lookup.need.statistics:
            return frozenset()
        window = lookup.need.window
        return frozenset[str]().union(
            *(self._selections.recent_statistics(key, window) for key in lookup.keys.values())
        )

    def _record_selections(self, lookup: SessionLookup, *, is_published: bool) -> None:
        need = lookup.need
        if len(lookup.keys) > MAX_REMEMBERED_IDS or not need.statistics:
            return
        for key in lookup.keys.values():
            self._selections.record(key, need.window, need.statistics)
        if self._shared and is_published:
            recent = self._recent_statistics(lookup)
            self._shared.record_session_selections(lookup.scope, lookup.keys, need.window, recent)

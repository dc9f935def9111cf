"""Batches of sessions that are fetched by id: up to 100 per request to LangSmith, shared by several operations."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from app.cache.decision import Need
from app.cache.fetcher import Fetcher
from app.cache.in_flight import BATCH_WINDOW_SECONDS, Caller, InFlightRequests, LookupBatch, SessionPages
from app.cache.store import session_key
from app.credentials import Credential
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery, StatsWindow
from app.sessions.row import detached


class SessionBatches:
    """Starts batches, and finds those in flight that a lookup can join."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._shared = fetcher.shared
        self._policy = fetcher.policy
        self._clock = fetcher.clock
        self._in_flight: InFlightRequests[LookupBatch] = InFlightRequests()

    def is_in_flight(self, scope: str) -> bool:
        """Whether a batch of this credential scope has not finished."""
        return any(batch.scope == scope for batch in self._in_flight)

    def join(self, ids: Sequence[str], scope: str, need: Need, caller: Caller) -> list[LookupBatch]:
        """Batches in flight that answer some of these sessions, or that some were added to."""
        joined: list[LookupBatch] = []
        rest = [*ids]
        for batch in self._in_flight:
            if batch.try_join(rest, scope, need, caller):
                joined.append(batch)
                rest = remaining(rest, [batch])
        return joined

    def start(
        self,
        ids: Sequence[str],
        credential: Credential,
        need: Need,
        prefetch: frozenset[str],
        *,
        is_closed: bool = False,
    ) -> list[LookupBatch]:
        """New batches for these sessions, which are all different, 100 in each.

        `is_closed`: no other sessions are added to them.
        """
        started: list[LookupBatch] = []
        for first in range(0, len(ids), MAX_LIMIT):
            batch = LookupBatch(
                scope=credential.scope,
                window=need.window,
                max_age=need.max_age,
                statistics=need.statistics,
                prefetch=prefetch,
                ids={*ids[first : first + MAX_LIMIT]},
            )
            if is_closed:
                batch.close(self._clock())
            self._in_flight.start(batch, self._run(batch, credential))
            started.append(batch)
        return started

    def run_in_background(self, batches: Sequence[LookupBatch]) -> None:
        """Keeps batches running even if no caller waits for them."""
        for batch in batches:
            self._in_flight.run_in_background(batch)

    async def aclose(self) -> None:
        """Cancels the batches that run in the background only."""
        await self._in_flight.aclose()

    async def _run(self, batch: LookupBatch, credential: Credential) -> SessionPages:
        """Fetches the sessions of a batch, each once for all processes, after it was open for a moment."""
        await asyncio.sleep(BATCH_WINDOW_SECONDS)
        query = batch.close(self._clock())
        by_id: dict[str, Page] = {}

        async def fetch(ids: Sequence[str]) -> Page:
            part = replace(query, arguments=PageQuery.for_ids(tuple(ids)).arguments, limit=len(ids))
            keys = [session_key(credential.scope, each) for each in ids]
            page = await self._fetcher.fetch(part, batch, credential, keys)
            by_id.update(_session_pages(page, ids, part.window))
            return page

        ids = sorted(batch.ids)
        if self._shared is None:
            answers: Sequence[Page] = [await fetch(ids)]
        else:
            cutoff = self._policy.fresh_cutoff(self._clock(), batch.max_age)
            result = await self._shared.fetch_sessions_once(
                credential.scope,
                ids,
                query,
                fetch,
                newer_than=cutoff,
                is_strict=batch.max_age is not None,
                shares_failure=lambda: batch.was_sent,
            )
            answers = result.answers
            batch.outcome = None if answers else result.outcome
            by_id |= result.found
        await self._fetcher.scheduler.wait_for_slot()
        await self._fetcher.store_pages({session_key(credential.scope, each): page for each, page in by_id.items()})
        return SessionPages(by_id, sum(page.dropped_rows for page in answers))


def remaining(ids: Sequence[str], batches: Sequence[LookupBatch]) -> list[str]:
    """The ids that are in none of the batches."""
    found = frozenset[str]().union(*(batch.ids for batch in batches))
    return [session_id for session_id in ids if session_id not in found]


def _session_pages(page: Page, ids: Sequence[str], window: StatsWindow) -> dict[str, Page]:
    """An answer, split by session. A session that is not in the answer does not exist, and has a page without a row."""
    rows = {row.id: detached(row) for row in page.rows_in(window) if row}
    found = {session_id: page.row_page(rows[session_id]) for session_id in ids if session_id in rows}
    if page.dropped_rows:
        return found  # a row without its id may be any of the other sessions
    absent = replace(page.first(0), limit=1, has_more=None)
    return {session_id: found.get(session_id, absent) for session_id in ids}

"""Pages of sessions, each kept for a short while.

A page is found by who asks and which page it is, whatever its statistics and length: one that was fetched with more
than a client selects is still a hit. One that lacks statistics is refilled: just those are fetched, by id. Callers
who miss on the same page at the same time share one request, and its outcome. Sessions that are looked up by id are
kept one by one, as pages of one row.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from app.credentials import Credential
from app.errors import Forbidden, Unauthenticated
from app.flights import together
from app.freshness import Freshness
from app.metrics import Metrics
from app.page import ALL_RUNS, Page, PageQuery, Window
from app.session import Row, detached
from app.store import Store
from app.trace import Call, Outcome, Trace, Use
from app.underway import MEETING_SECONDS, Found, LookupFlight, PageFlight, Shared, UnderWay
from app.upstream import Clock, Upstream

T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who waits for a page, and until when (of the event loop's clock). `waits` is called before it does.

    `max_age`: seconds, of one who takes nothing older, and nothing stale.
    """

    credential: Credential
    deadline: float
    trace: Trace
    max_age: float | None = None
    waits: Callable[[], None] = field(default=lambda: None)


class PageCache:
    """Where nothing is kept, callers still share requests under way."""

    def __init__(
        self, upstream: Upstream, store: Store, freshness: Freshness, *, metrics: Metrics, clock: Clock
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._freshness = freshness
        self._metrics = metrics
        self._clock = clock
        self._under_way = UnderWay(self._fetch, self._fetch_by_id)

    async def page(self, query: PageQuery, caller: Caller) -> Page:
        """A page that covers the query. Raises a GatewayError."""
        key = f"{caller.credential.scope}:{query.key}"
        held = await self._store.get(key)
        fresh = self._freshness.young(held, caller.max_age)
        if held and held.reaches(query.limit):
            missing = held.missing(query.window, query.statistics, since=self._freshness.since(caller.max_age))
            if not missing and fresh:
                return self._served(key, held, query, Outcome.HIT, caller)
            if self._is_stale(held, query, caller.max_age):
                self._under_way.keep(self._under_way.page(key, query, caller.credential)[0])
                return self._served(key, held, query, Outcome.STALE, caller)
            if fresh:
                if refilled := await self._refilled(key, held, query, missing, caller):
                    caller.trace.uses.append(self._freshness.use(key, held, held.fetched_at))
                    return refilled
                await self._store.drop(key)
        under_way, is_new = self._under_way.page(key, query, caller.credential)
        page = await self._joined(under_way, Outcome.MISS if is_new else Outcome.COALESCED, caller)
        caller.trace.uses.append(self._freshness.use(key, page, page.fetched_at))
        return page

    async def aclose(self) -> None:
        """Ends what nobody waits for."""
        await self._under_way.aclose()

    def _is_stale(self, held: Page, query: PageQuery, max_age: float | None) -> bool:
        """Whether it is too old to be fresh, and may be served all the same."""
        if not self._freshness.young(held, max_age, stale=True):
            return False
        return not held.missing(query.window, query.statistics, since=self._freshness.since(max_age, stale=True))

    def _served(self, key: str, held: Page, query: PageQuery, outcome: Outcome, caller: Caller) -> Page:
        asked_at = held.asked_at(query.window, query.statistics)
        self._note(caller, outcome, age=self._clock() - asked_at, uses=[self._freshness.use(key, held, asked_at)])
        return held

    def ends(self, uses: Sequence[Use]) -> float:
        """When (monotonic seconds) the first of these pages is no longer fresh; 0 if one was replaced or is gone."""
        ends = min((use.until for use in uses), default=0.0)
        return ends if all(self._store.version(use.key) == use.version for use in uses) else 0.0

    async def lookup(
        self, ids: Sequence[str], caller: Caller, *, window: Window = ALL_RUNS, statistics: frozenset[str] = frozenset()
    ) -> Found:
        """These sessions with these statistics, in one request per 100 that are not held. Raises a GatewayError."""
        return await self._looked_up(ids, caller, window, statistics, on_fetch=Outcome.MISS)

    async def _looked_up(
        self, ids: Sequence[str], caller: Caller, window: Window, statistics: frozenset[str], *, on_fetch: Outcome
    ) -> Found:
        scope = caller.credential.scope
        window = window if statistics else ALL_RUNS
        wanted = tuple(dict.fromkeys(ids))
        keys = {each: f"{scope}:id={each}" for each in wanted}
        pages = dict(zip(wanted, await self._store.get_many([*keys.values()]), strict=True))
        held, missing = self._young(pages, window, statistics, caller.max_age, stale=False)
        lacking = {each: missing.get(each, statistics) for each in wanted if each not in held or missing.get(each)}
        outcome = Outcome.HIT
        if lacking:
            stale, missing_then = self._young(pages, window, statistics, caller.max_age, stale=True)
            if len(stale) == len(wanted) and not any(missing_then.values()):
                held, outcome = stale, Outcome.STALE
                for flight in self._under_way.lookups(lacking, caller.credential, window, statistics)[0]:
                    self._under_way.keep(flight)
                lacking = {}
        known = {each: page for each, page in held.items() if each not in lacking}
        by_id = {each: _only_row(page, window) for each, page in known.items()}
        asked_at = min(
            (page.asked_at(window, statistics) if page.rows else page.fetched_at for page in known.values()),
            default=self._clock(),
        )
        if not lacking:
            uses = [self._freshness.use(keys[each], known[each], asked_at) for each in wanted]
            self._note(caller, outcome, age=self._clock() - asked_at, uses=uses)
            return Found(by_id, asked_at)

        lacked = frozenset[str]().union(*lacking.values())
        flights, is_new = self._under_way.lookups(lacking, caller.credential, window, lacked)
        outcome = (Outcome.REFILL if missing else on_fetch) if is_new else Outcome.COALESCED
        found = await together(*(self._joined(each, outcome, caller) for each in flights))
        for each in found:
            for session_id, row in each.by_id.items():
                if session_id in lacking:
                    before = held.get(session_id) if lacking[session_id] != statistics else None
                    by_id[session_id] = _completed(before, window, lacking[session_id], row)
        asked_at = min(asked_at, *(each.asked_at for each in found))
        kept = zip(keys.values(), await self._store.get_many([*keys.values()]), strict=True)
        caller.trace.uses += [self._freshness.use(key, page, asked_at) for key, page in kept]
        return Found(by_id, asked_at, sum(each.dropped for each in found))

    async def _refilled(
        self, key: str, held: Page, query: PageQuery, missing: frozenset[str], caller: Caller
    ) -> Page | None:
        """The page with the missing statistics; None if LangSmith no longer knows one of its sessions."""
        part = held.first(query.limit)
        ids = [row.id for row in part.rows if row]
        found = await self._looked_up(ids, caller, query.window, missing, on_fetch=Outcome.REFILL)
        rows = {session_id: row for session_id, row in found.by_id.items() if row}
        if len(rows) < len(found.by_id):
            return None
        if part is held:
            # Another refill of the same page may have come first; both are kept.
            now = await self._store.get(key)
            base = now if now and now.rows is held.rows else held
            await self._keep(key, base.with_statistics(query.window, missing, rows, found.asked_at))
        return part.with_statistics(query.window, missing, rows, found.asked_at)

    async def _fetch(self, under_way: PageFlight, credential: Credential) -> Page:
        under_way.is_sent = True
        page = await self._asked(under_way.query, under_way, credential)
        await self._keep(under_way.key, page)
        return page

    async def _asked(self, query: PageQuery, under_way: Shared[Any], credential: Credential) -> Page:
        try:
            return await self._upstream.get(query, credential, under_way.calls)
        except (Unauthenticated, Forbidden):
            # Whoever lost the right to see it is not to see it any longer.
            await self._store.forget(credential.scope)
            raise

    def _young(
        self,
        pages: Mapping[str, Page | None],
        window: Window,
        statistics: frozenset[str],
        max_age: float | None,
        *,
        stale: bool,
    ) -> tuple[dict[str, Page], dict[str, frozenset[str]]]:
        """Those that are young enough, and which of these statistics are not, for each that has a row."""
        since = self._freshness.since(max_age, stale=stale)
        young = {
            each: page for each, page in pages.items() if page and self._freshness.young(page, max_age, stale=stale)
        }
        return young, {each: page.missing(window, statistics, since=since) for each, page in young.items() if page.rows}

    async def _fetch_by_id(self, under_way: LookupFlight, credential: Credential) -> Found:
        await asyncio.sleep(MEETING_SECONDS)
        query = under_way.send()
        page = await self._asked(query, under_way, credential)
        answered = page.known[query.window].asked_at.keys() if query.statistics else frozenset[str]()
        rows = {row.id: detached(row) for row in page.seen_through(query.window) if row and row.id in under_way.ids}
        for session_id in under_way.ids:
            key = f"{credential.scope}:id={session_id}"
            if session_id in rows:
                before = self._freshness.young(await self._store.get(key), None)
                single = page.only(rows[session_id])
                if before and before.rows:
                    single = before.with_statistics(query.window, frozenset(answered), rows, page.fetched_at)
                await self._keep(key, single)
            elif not page.dropped:  # or else the row without its id may have been this one
                await self._keep(key, page.first(0))
        return Found({each: rows.get(each) for each in under_way.ids}, page.fetched_at, page.dropped)

    async def _joined(self, under_way: Shared[T], outcome: Outcome, caller: Caller) -> T:
        caller.waits()
        try:
            return await under_way.flight.join(caller.deadline)
        finally:
            self._note(caller, outcome, calls=under_way.calls)

    async def _keep(self, key: str, page: Page) -> None:
        if self._freshness.keeps:
            await self._store.put(key, page)

    def _note(
        self,
        caller: Caller,
        outcome: Outcome,
        *,
        age: float = 0.0,
        calls: Sequence[Call] = (),
        uses: Sequence[Use] = (),
    ) -> None:
        self._metrics.cache.labels(outcome.name).inc()
        caller.trace.note(outcome, age=age, calls=calls, uses=uses)


def _only_row(page: Page, window: Window) -> Row | None:
    return page.seen_through(window)[0] if page.rows else None


def _completed(before: Page | None, window: Window, statistics: frozenset[str], row: Row | None) -> Row | None:
    """The row that was held with the statistics that it lacked; the row itself where nothing was held."""
    held = _only_row(before, window) if before and row else None
    return msgspec.structs.replace(held, **{name: getattr(row, name) for name in statistics}) if held else row

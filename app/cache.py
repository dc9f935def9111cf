"""Pages of sessions, each kept for a short while.

A page is found by who asks and which page it is, whatever its statistics and length: one that was fetched with more
than a client selects is still a hit. One that lacks statistics is refilled: just those are fetched, by id. Callers
who miss on the same page at the same time share one request, and its outcome. Sessions that are looked up by id are
kept one by one, as pages of one row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import msgspec

from app.credentials import Credential
from app.flights import Flight, together
from app.metrics import Metrics
from app.page import ALL_RUNS, MAX_LIMIT, Page, PageQuery, Window
from app.session import Row, detached
from app.store import Store
from app.trace import Call, Outcome, Trace, Use
from app.upstream import Clock, Upstream

T = TypeVar("T")

EMPTY_SECONDS: Final = 2.0
"""How long at most "there is nothing" is believed: a session that was just created should show soon."""


@dataclass(frozen=True)
class Caller:
    """Who waits for a page, and until when (of the event loop's clock). `waits` is called before it does."""

    credential: Credential
    deadline: float
    trace: Trace
    waits: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Found:
    """Sessions by id; None for those that LangSmith does not know.

    `asked_at`: when the oldest of it was asked for. `dropped`: rows that LangSmith sent without their id.
    """

    by_id: Mapping[str, Row | None]
    asked_at: float
    dropped: int = 0


@dataclass(kw_only=True)
class _Shared(Generic[T]):
    """A request under way, which several callers may wait for."""

    query: PageQuery
    calls: list[Call] = field(default_factory=list)
    flight: Flight[T] = field(init=False)


@dataclass(kw_only=True)
class _PageFlight(_Shared[Page]):
    key: str
    is_sent: bool = False

    def takes(self, key: str, query: PageQuery) -> bool:
        """Whether its answer will serve that query too; until it is sent, it is widened so that it will."""
        if key != self.key or not self.flight.is_open:
            return False
        if not self.is_sent and self.query.window == query.window:
            self.query = self.query.widened(query)
        return self.query.covers(query)


@dataclass(kw_only=True)
class _LookupFlight(_Shared[Found]):
    scope: str
    ids: frozenset[str]

    def takes(self, scope: str, window: Window, statistics: frozenset[str]) -> bool:
        """Whether its answer settles those statistics for the sessions that it asks for."""
        return (
            scope == self.scope
            and self.flight.is_open
            and window == self.query.window
            and statistics <= self.query.statistics
        )


class PageCache:
    """`ttl`: seconds that a page is fresh; 0 keeps nothing, while callers still share requests under way."""

    def __init__(self, upstream: Upstream, store: Store, *, ttl: float, metrics: Metrics, clock: Clock) -> None:
        self._upstream = upstream
        self._store = store
        self._ttl = ttl
        self._metrics = metrics
        self._clock = clock
        self._pages_in_flight: list[_PageFlight] = []
        self._lookups_in_flight: list[_LookupFlight] = []

    async def page(self, query: PageQuery, caller: Caller) -> Page:
        """A page that covers the query. Raises a GatewayError."""
        key = f"{caller.credential.scope}:{query.key}"
        held = self._fresh(await self._store.get(key))
        if held and held.reaches(query.limit):
            missing = held.missing(query.window, query.statistics, since=self._oldest)
            if not missing:
                asked_at = held.asked_at(query.window, query.statistics)
                self._note(caller, Outcome.HIT, age=self._clock() - asked_at, uses=[self._use(key, held, asked_at)])
                return held
            if refilled := await self._refilled(key, held, query, missing, caller):
                caller.trace.uses.append(self._use(key, held, held.fetched_at))
                return refilled
            await self._store.drop(key)
        under_way = next((each for each in self._pages_in_flight if each.takes(key, query)), None)
        outcome = Outcome.COALESCED if under_way else Outcome.MISS
        if under_way is None:
            under_way = started = _PageFlight(key=key, query=query)
            started.flight = Flight(
                self._fetch(started, caller.credential), on_end=lambda: self._pages_in_flight.remove(started)
            )
            self._pages_in_flight.append(started)
        page = await self._joined(under_way, outcome, caller)
        caller.trace.uses.append(self._use(key, page, page.fetched_at))
        return page

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
        pages = await self._store.get_many([*keys.values()])
        held = {each: page for each, page in zip(wanted, map(self._fresh, pages), strict=True) if page}
        missing = {
            each: held[each].missing(window, statistics, since=self._oldest)
            for each in wanted
            if each in held and held[each].rows
        }
        lacking = {each: missing.get(each, statistics) for each in wanted if each not in held or missing.get(each)}
        known = {each: page for each, page in held.items() if each not in lacking}
        by_id = {each: _only_row(page, window) for each, page in known.items()}
        asked_at = min(
            (page.asked_at(window, statistics) if page.rows else page.fetched_at for page in known.values()),
            default=self._clock(),
        )
        if not lacking:
            uses = [self._use(keys[each], known[each], asked_at) for each in wanted]
            self._note(caller, Outcome.HIT, age=self._clock() - asked_at, uses=uses)
            return Found(by_id, asked_at)

        lacked = frozenset[str]().union(*lacking.values())
        joined, rest = self._under_way(scope, lacking, window, lacked)
        started = [
            self._start_lookup(rest[start : start + MAX_LIMIT], caller.credential, window, lacked)
            for start in range(0, len(rest), MAX_LIMIT)
        ]
        outcome = (Outcome.REFILL if missing else on_fetch) if started else Outcome.COALESCED
        found = await together(*(self._joined(each, outcome, caller) for each in (*joined, *started)))
        for each in found:
            for session_id, row in each.by_id.items():
                if session_id in lacking:
                    before = held.get(session_id) if lacking[session_id] != statistics else None
                    by_id[session_id] = _completed(before, window, lacking[session_id], row)
        asked_at = min(asked_at, *(each.asked_at for each in found))
        kept = zip(keys.values(), await self._store.get_many([*keys.values()]), strict=True)
        caller.trace.uses += [self._use(key, page, asked_at) for key, page in kept]
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

    async def _fetch(self, under_way: _PageFlight, credential: Credential) -> Page:
        under_way.is_sent = True
        page = await self._upstream.get(under_way.query, credential, under_way.calls)
        await self._keep(under_way.key, page)
        return page

    def _under_way(
        self, scope: str, ids: Iterable[str], window: Window, statistics: frozenset[str]
    ) -> tuple[list[_LookupFlight], list[str]]:
        """Lookups under way that settle some of the ids, and the ids that none does."""
        joined: list[_LookupFlight] = []
        rest = list(ids)
        for each in self._lookups_in_flight:
            if each.takes(scope, window, statistics) and not each.ids.isdisjoint(rest):
                joined.append(each)
                rest = [session_id for session_id in rest if session_id not in each.ids]
        return joined, rest

    def _start_lookup(
        self, ids: Sequence[str], credential: Credential, window: Window, statistics: frozenset[str]
    ) -> _LookupFlight:
        query = PageQuery.of_ids(tuple(sorted(ids)), window=window, statistics=statistics)
        under_way = _LookupFlight(scope=credential.scope, query=query, ids=frozenset(ids))
        under_way.flight = Flight(
            self._fetch_by_id(under_way, credential), on_end=lambda: self._lookups_in_flight.remove(under_way)
        )
        self._lookups_in_flight.append(under_way)
        return under_way

    async def _fetch_by_id(self, under_way: _LookupFlight, credential: Credential) -> Found:
        query = under_way.query
        page = await self._upstream.get(query, credential, under_way.calls)
        answered = page.known[query.window].asked_at.keys() if query.statistics else frozenset[str]()
        rows = {row.id: detached(row) for row in page.seen_through(query.window) if row and row.id in under_way.ids}
        for session_id in under_way.ids:
            key = f"{credential.scope}:id={session_id}"
            if session_id in rows:
                before = self._fresh(await self._store.get(key))
                single = page.only(rows[session_id])
                if before and before.rows:
                    single = before.with_statistics(query.window, frozenset(answered), rows, page.fetched_at)
                await self._keep(key, single)
            elif not page.dropped:  # or else the row without its id may have been this one
                await self._keep(key, page.first(0))
        return Found({each: rows.get(each) for each in under_way.ids}, page.fetched_at, page.dropped)

    async def _joined(self, under_way: _Shared[T], outcome: Outcome, caller: Caller) -> T:
        caller.waits()
        try:
            return await under_way.flight.join(caller.deadline)
        finally:
            self._note(caller, outcome, calls=under_way.calls)

    @property
    def _oldest(self) -> float:
        """What was asked for before this is no longer fresh."""
        return self._clock() - self._ttl

    def _fresh(self, page: Page | None) -> Page | None:
        return page if page and page.fetched_at > self._clock() - self._ttl_of(page) else None

    def _ttl_of(self, page: Page) -> float:
        return self._ttl if page.rows else min(self._ttl, EMPTY_SECONDS)

    def _use(self, key: str, page: Page | None, asked_at: float) -> Use:
        """`asked_at`: when the oldest statistic that is used was."""
        if page is None:
            return Use(key, None, 0.0)
        return Use(key, page.version, min(asked_at, page.fetched_at) + self._ttl_of(page))

    async def _keep(self, key: str, page: Page) -> None:
        if self._ttl:
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

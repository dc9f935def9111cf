"""TODO."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from graphql.pyutils import Path

from app.cache.explain import FieldTrace
from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.cache.page_cache import PageCache
from app.errors import GatewayError
from app.resilience.singleflight import SharedTask
from app.sessions.query import StatsWindow
from app.sessions.row import Row


@dataclass
class FailedLookup:
    """Why a window's statistics are missing; told at one place, not for each row."""

    error: GatewayError
    told_at: list[str | int] | None = None


class SessionLoader:
    """Sessions that one operation looks up by id, sent together: one request per window and 100 sessions.

    Statistics over another window wait until no page of the operation is under way, so that the rows of all its
    roots leave together; the answer needs all of them in any case.
    """

    def __init__(self, cache: PageCache) -> None:
        self._cache = cache
        self._open: dict[tuple[StatsWindow, bool], _Batch] = {}
        self.pending_pages = PendingPages()
        self._failures: dict[int, FailedLookup] = {}

    async def load(
        self,
        ids: Iterable[str],
        caller: FetchContext,
        *,
        window: StatsWindow,
        statistics: frozenset[str],
        after_pages: bool = False,
    ) -> LookupResult:
        """Raises a GatewayError."""
        batch = self._open.get((window, after_pages))
        if batch is None:
            batch = self._open[window, after_pages] = _Batch(caller)
            batch.flight = SharedTask(self._send(batch, window, after_pages=after_pages))
        batch.ids |= dict.fromkeys(ids)
        batch.statistics |= statistics
        try:
            return await batch.flight.join(caller.deadline)
        finally:
            if (trace := batch.caller.trace).outcome is not None:
                caller.trace.record(trace.outcome, age=trace.age, calls=trace.calls, uses=trace.dependencies)

    async def load_window(
        self, ids: Iterable[str], caller: FetchContext, *, window: StatsWindow, statistics: frozenset[str]
    ) -> "LookupResult | FailedLookup":
        """Statistics over another window than the pages'; a failure is a value, for the fields that need them."""
        try:
            return await self.load(ids, caller, window=window, statistics=statistics, after_pages=True)
        except GatewayError as exc:
            return self._failures.setdefault(id(exc), FailedLookup(exc))

    async def _send(self, batch: "_Batch", window: StatsWindow, *, after_pages: bool) -> LookupResult:
        if after_pages:
            await self.pending_pages.none.wait()
        del self._open[window, after_pages]
        return await self._cache.lookup(tuple(batch.ids), batch.caller, window=window, statistics=batch.statistics)


class PendingPages:
    """A context for each page that is under way; `none` is set while there is none."""

    def __init__(self) -> None:
        self._number = 0
        self.none = asyncio.Event()
        self.none.set()

    def __enter__(self) -> None:
        self._number += 1
        self.none.clear()

    def __exit__(self, *_: object) -> None:
        self._number -= 1
        if not self._number:
            self.none.set()


class _Batch:
    flight: SharedTask[LookupResult]

    def __init__(self, first: FetchContext) -> None:
        self.caller = replace(first, trace=FieldTrace())
        self.ids: dict[str, None] = {}
        self.statistics = frozenset[str]()


def row_of(found: LookupResult | FailedLookup, session_id: str, path: Path) -> Row | None:
    """One session's row among those found. A failure is raised at the first place that asks, and is null elsewhere."""
    if isinstance(found, LookupResult):
        return found.by_id[session_id]
    # Asked again at that place, where an operation is completed a second time, it is raised again.
    found.told_at = found.told_at or path.as_list()
    if path.as_list() == found.told_at:
        raise found.error
    return None

"""SessionLoader: batches the lookups by id of one operation."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from graphql.pyutils import Path

from app.cache.explain import FieldTrace
from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.cache.page_cache import PageCache
from app.errors import BadUserInputError, GatewayError
from app.resilience.singleflight import SharedTask, gather_or_cancel
from app.schema.first_answer import FirstAnswerGate
from app.sessions.query import IDS, MAX_LIMIT, StatsWindow
from app.sessions.row import Row, with_values_of


@dataclass
class FailedLookup:
    """The error of a failed lookup. Each root field that needs the lookup reports it once, and not for each row.

    Args:
        error: The error.
        reported_at: By response key of the root field, the path at which it reports the error.
        ids_given_as: By response key of the root field, the argument that gave the ids; None if LangSmith did.
    """

    error: GatewayError
    reported_at: dict[str | int, list[str | int]] = field(default_factory=dict)
    ids_given_as: dict[str | int, str | None] = field(default_factory=dict)

    def error_of(self, root_key: str | int) -> GatewayError:
        """The error as the root field of this response key reports it."""
        if isinstance(self.error, BadUserInputError):
            return self.error.renamed(IDS, self.ids_given_as.get(root_key))
        return self.error


@dataclass(frozen=True)
class LaterLookup:
    """Further statistics over a window of which the client has an object already, with other fields.

    Args:
        shown: The lookup that the object was made from; None if it was made from the row of the session itself.
        statistics: The further statistics.
        found: The lookup of those.
    """

    shown: LookupResult | None
    statistics: frozenset[str]
    found: LookupResult | FailedLookup

    def row_of(self, session: Row) -> Row | None:
        """The row of one session; None if the client has null. If the lookup failed, its statistics are null."""
        row = self.shown.by_id[session.id] if self.shown else session
        found = self.found.by_id[session.id] if isinstance(self.found, LookupResult) else None
        return row and with_values_of(row, found, self.statistics)


WindowLookup = LookupResult | LaterLookup | FailedLookup
"""What was loaded of a further window."""


class SessionLoader:
    """Loads the sessions that one operation looks up by id, in one batch per window.

    Lookups of statistics over further windows wait until the operation has no page in flight. This puts the rows of
    all root fields into one batch. It does not delay the answer, which needs all pages anyway.
    """

    def __init__(self, cache: PageCache, gate: FirstAnswerGate) -> None:
        self._cache = cache
        self._gate = gate
        self._open: dict[tuple[StatsWindow, bool], _Batch] = {}
        self.pending_pages = PendingPages()
        self._turn = asyncio.Lock()
        self._failures: dict[int, FailedLookup] = {}

    async def load(
        self,
        ids: Iterable[str],
        fetch_context: FetchContext,
        *,
        window: StatsWindow,
        statistics: frozenset[str],
        after_pages: bool = False,
    ) -> LookupResult:
        """Load sessions with these statistics over a window. The result can hold more than was asked for.

        `after_pages`: wait until the operation has no page in flight. Raises GatewayError.
        """
        batch = self._open.get((window, after_pages))
        if batch is None or not batch.task.is_joinable:  # its callers have left before it was sent
            batch = self._open[window, after_pages] = _Batch(fetch_context)
            batch.task = SharedTask(self._send(batch, window, after_pages=after_pages))
        batch.ids |= dict.fromkeys(ids)
        batch.statistics |= statistics
        try:
            return await batch.task.join(fetch_context.deadline)
        finally:
            if (trace := batch.fetch_context.trace).outcome is not None:
                fetch_context.trace.record(
                    trace.outcome, age=trace.age, calls=trace.calls, dependencies=trace.dependencies
                )

    async def load_window(
        self, ids: Iterable[str], fetch_context: FetchContext, *, window: StatsWindow, statistics: frozenset[str]
    ) -> LookupResult | FailedLookup:
        """Load statistics over a further window, once no page is in flight.

        A failure is returned, and raised later by the field that needs the statistics. All lookups of one failed
        batch return the same FailedLookup.
        """
        try:
            return await self.load(ids, fetch_context, window=window, statistics=statistics, after_pages=True)
        except GatewayError as exc:
            # The FailedLookup keeps the exception alive, so its id is not reused.
            return self._failures.setdefault(id(exc), FailedLookup(exc))

    async def _send(self, batch: "_Batch", window: StatsWindow, *, after_pages: bool) -> LookupResult:
        if after_pages:
            await self.pending_pages.idle.wait()
            # All windows wait for the same moment. Each takes milliseconds to prepare hundreds of lookups, so they take
            # turns, and the event loop serves other clients between two windows.
            async with self._turn:
                await asyncio.sleep(0)
        # From here on a new lookup opens a new batch.
        del self._open[window, after_pages]
        ids = tuple(batch.ids)
        uses_columns = not after_pages
        if self._gate.is_open:
            return await self._lookup(ids, batch, window, uses_columns=uses_columns)
        # Each part is one request at most. The parts beyond the first few wait for the first answer.
        parts = [ids[start : start + MAX_LIMIT] for start in range(0, len(ids), MAX_LIMIT)]
        return _joined(
            await gather_or_cancel(
                *(
                    self._gate.read(
                        self._lookup(part, batch, window, uses_columns=uses_columns), batch.fetch_context.deadline
                    )
                    for part in parts
                )
            )
        )

    async def _lookup(
        self, ids: tuple[str, ...], batch: "_Batch", window: StatsWindow, *, uses_columns: bool
    ) -> LookupResult:
        return await self._cache.lookup(
            ids, batch.fetch_context, window=window, statistics=batch.statistics, uses_columns=uses_columns
        )


class PendingPages:
    """A context manager around each page that is read. The event `idle` is set while there is no page in flight."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def __enter__(self) -> None:
        self._in_flight += 1
        self.idle.clear()

    def __exit__(self, *_: object) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self.idle.set()


class _Batch:
    """Lookups that leave together. `ids` is an ordered set; the trace is copied to each lookup's own."""

    task: SharedTask[LookupResult]

    def __init__(self, first: FetchContext) -> None:
        self.fetch_context = replace(first, trace=FieldTrace())
        self.ids: dict[str, None] = {}
        self.statistics = frozenset[str]()


def _joined(parts: Sequence[LookupResult]) -> LookupResult:
    """One result of several lookups of different sessions."""
    if len(parts) == 1:
        return parts[0]
    by_id = {session_id: row for part in parts for session_id, row in part.by_id.items()}
    fetched_at = min(part.fetched_at for part in parts)
    return LookupResult(by_id, fetched_at, sum(part.dropped_rows for part in parts), parts[0].statistics)


def row_of(result: LookupResult | FailedLookup, session_id: str, path: Path) -> Row | None:
    """The row of one session, for the field at `path`; None if LangSmith does not know the session.

    Raises the error of a failed lookup at the first field below each root field that asks. For all other fields the row
    is None.
    """
    if isinstance(result, LookupResult):
        return result.by_id[session_id]
    place = path.as_list()
    # graphql-core can complete an operation a second time; the error is then raised again at the same field.
    if place == result.reported_at.setdefault(place[0], place):
        raise result.error_of(place[0])
    return None

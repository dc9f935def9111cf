"""How sessions are read by their ids, and the statistics of sessions over further windows."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.errors import BadUserInputError
from app.resilience.singleflight import gather_or_cancel, run_beside
from app.schema.deferred_statistics import add_statistics
from app.schema.loader import FailedLookup, LaterLookup
from app.schema.pushdown import statistics_in, windows_in
from app.schema.types import Info, Session, as_session
from app.sessions.query import IDS, StatsWindow
from app.sessions.row import Row

_GIVEN_AS: Final = {"session": "session.id", "node": "node.id", "nodes": "nodes.ids"}
"""By root field, the argument that gives the ids. A lookup asks for them as a filter does, and is named by it."""


@dataclass(frozen=True)
class _Sessions:
    """What was read for a field that looks sessions up. `statistics`: those that the rows have."""

    by_id: Mapping[str, Row | None]
    statistics: frozenset[str]

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.by_id.values() if row]


async def load_sessions(info: Info, ids: Sequence[str | None], window: StatsWindow) -> list[Session | None]:
    """The sessions with these ids, in the same order; None for None and for an id that LangSmith does not know.

    `window` is that of the sessions' own statistics. The windows of their `stats` fields are loaded at the same time.
    """
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    selection = info.selection("Session")
    windows = windows_in(selection, context, info.root_key)
    statistics = statistics_in(selection)
    if context.has_window_in_rows(info.root_key, window):
        statistics |= windows.pop(window, frozenset())
    requested = [each for each in ids if each]
    if not requested:
        return [None] * len(ids)
    given_as = _GIVEN_AS.get(info.field_name)
    load = functools.partial(load_windows, windows, info=info, fetch_context=fetch_context, ids_given_as=given_as)

    async def read() -> _Sessions:
        result = await context.loader.load(requested, fetch_context, window=window, statistics=statistics)
        context.report_dropped(result.dropped_rows, info.raw)
        return _Sessions(result.by_id, statistics)

    async def read_with_statistics() -> Mapping[str, Row | None]:
        found = await context.read_together(info.root_key, read)

        def path_to(names: frozenset[str]) -> list[str | int]:
            index = next(index for index, each in enumerate(ids) if each and found.by_id.get(each))
            keys = selection.find((), names) or selection.find(("stats",), names) or []
            return [info.root_key, *([index] if info.field_name == "nodes" else []), *keys]

        later = statistics - found.statistics
        rows = await add_statistics(found.rows, later, window, info, fetch_context, path_to, ids_given_as=given_as)
        return {**found.by_id, **{row.id: row for row in rows}} if later else found.by_id

    try:
        if info.root_key in context.shown:  # sessions that LangSmith does not know are not requested again
            requested = [row.id for row in (await context.read_together(info.root_key, read)).rows]
        by_id = await run_beside(load(ids=requested), read_with_statistics())
    except BadUserInputError as exc:
        raise exc.renamed(IDS, given_as) from exc
    shown = (by_id.get(each) if each else None for each in ids)
    return [as_session(row) if row else None for row in shown]


async def load_windows(
    windows: Mapping[StatsWindow, frozenset[str]],
    ids: list[str],
    info: Info,
    fetch_context: FetchContext,
    *,
    ids_given_as: str | None = None,
) -> None:
    """Load the statistics of these sessions over further windows, and store them in the context.

    `ids_given_as`: the argument that gave the ids, for errors about them; None if LangSmith did.

    The `stats` fields of the sessions find them there. A window that fails is stored as a FailedLookup. A deferred
    fragment keeps what the client has of a window already.
    """
    context = info.context

    async def load(window: StatsWindow, statistics: frozenset[str]) -> None:
        key = (info.root_key, window)
        shown = context.shown_windows.get(key)
        if isinstance(shown, FailedLookup):  # the client has null, and the error
            context.results_by_window[key] = LookupResult(dict.fromkeys(ids), math.inf)
            return
        if isinstance(shown, LookupResult):
            statistics -= shown.statistics
            if not statistics:
                context.results_by_window[key] = shown
                return
        result = await context.loader.load_window(ids, fetch_context, window=window, statistics=statistics)
        if isinstance(result, FailedLookup):
            result.ids_given_as[info.root_key] = ids_given_as
        else:
            context.report_dropped(result.dropped_rows, info.raw)
        context.results_by_window[key] = (
            LaterLookup(shown, statistics, result) if key in context.shown_windows else result
        )

    if ids:
        await gather_or_cancel(*(load(window, statistics) for window, statistics in windows.items()))

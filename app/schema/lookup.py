"""How sessions are read by their ids, and the statistics of sessions over further windows."""

import asyncio
from collections.abc import Mapping, Sequence

from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.resilience.singleflight import gather_or_cancel
from app.schema.pushdown import statistics_in, windows_in
from app.schema.types import Info, Session, as_session
from app.sessions.query import StatsWindow


async def load_sessions(info: Info, ids: Sequence[str | None], window: StatsWindow) -> list[Session | None]:
    """The sessions with these ids, in the same order; None for None and for an id that LangSmith does not know.

    `window` is that of the sessions' own statistics. The windows of their `stats` fields are loaded at the same time.
    """
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    selection = info.selection("Session")
    windows = windows_in(selection, context)
    statistics = statistics_in(selection) | windows.pop(window, frozenset())
    requested = [each for each in ids if each]
    if not requested:
        return [None] * len(ids)
    result, _ = await asyncio.gather(
        context.loader.load(requested, fetch_context, window=window, statistics=statistics),
        load_windows(windows, requested, info, fetch_context),
    )
    context.report_dropped(result.dropped_rows, info.raw)
    rows = (result.by_id[each] if each else None for each in ids)
    return [as_session(row) if row else None for row in rows]


async def load_windows(
    windows: Mapping[StatsWindow, frozenset[str]], ids: list[str], info: Info, fetch_context: FetchContext
) -> None:
    """Load the statistics of these sessions over further windows, and store them in the context.

    The `stats` fields of the sessions find them there. A window that fails is stored as a FailedLookup.
    """
    context = info.context

    async def load(window: StatsWindow, statistics: frozenset[str]) -> None:
        result = await context.loader.load_window(ids, fetch_context, window=window, statistics=statistics)
        context.results_by_window[info.raw.path.key, window] = result
        if isinstance(result, LookupResult):
            context.report_dropped(result.dropped_rows, info.raw)

    if ids:
        await gather_or_cancel(*(load(window, statistics) for window, statistics in windows.items()))

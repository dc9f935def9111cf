"""How sessions are read by their ids, and the statistics of sessions over further windows."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from app.cache.fetcher import FetchContext
from app.errors import BadUserInputError
from app.resilience.singleflight import gather_or_cancel
from app.schema.loader import FailedLookup
from app.schema.pushdown import statistics_in, windows_in
from app.schema.types import Info, Session, as_session
from app.sessions.query import IDS, StatsWindow

_GIVEN_AS: Final = {"session": "session.id", "node": "node.id", "nodes": "nodes.ids"}
"""By root field, the argument that gives the ids. A lookup asks for them as a filter does, and is named by it."""


async def load_sessions(info: Info, ids: Sequence[str | None], window: StatsWindow) -> list[Session | None]:
    """The sessions with these ids, in the same order; None for None and for an id that LangSmith does not know.

    `window` is that of the sessions' own statistics. The windows of their `stats` fields are loaded at the same time.
    """
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    selection = info.selection("Session")
    windows = windows_in(selection, context, info.root_key)
    statistics = statistics_in(selection) | windows.pop(window, frozenset())
    requested = [each for each in ids if each]
    if not requested:
        return [None] * len(ids)
    given_as = _GIVEN_AS.get(info.field_name)
    try:
        result, _ = await asyncio.gather(
            context.loader.load(requested, fetch_context, window=window, statistics=statistics),
            load_windows(windows, requested, info, fetch_context, ids_given_as=given_as),
        )
    except BadUserInputError as exc:
        raise exc.renamed(IDS, given_as) from exc
    context.report_dropped(result.dropped_rows, info.raw)
    rows = (result.by_id[each] if each else None for each in ids)
    return [as_session(row) if row else None for row in rows]


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

    The `stats` fields of the sessions find them there. A window that fails is stored as a FailedLookup.
    """
    context = info.context

    async def load(window: StatsWindow, statistics: frozenset[str]) -> None:
        result = await context.loader.load_window(ids, fetch_context, window=window, statistics=statistics)
        context.results_by_window[info.raw.path.key, window] = result
        if isinstance(result, FailedLookup):
            result.ids_given_as[info.raw.path.key] = ids_given_as
        else:
            context.report_dropped(result.dropped_rows, info.raw)

    if ids:
        await gather_or_cancel(*(load(window, statistics) for window, statistics in windows.items()))

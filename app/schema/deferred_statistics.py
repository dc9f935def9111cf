"""Statistics of rows that were answered before: those that a deferred fragment selects."""

from collections.abc import Callable, Sequence

from app.cache.fetcher import FetchContext
from app.schema.loader import FailedLookup
from app.schema.pushdown import STATISTIC_FIELDS
from app.schema.types import Info
from app.sessions.query import StatsWindow
from app.sessions.row import Row, with_values_of, without

PathTo = Callable[[frozenset[str]], list[str | int]]
"""The path, from the root of the answer, to the first field with one of these names in the first row."""


async def add_statistics(
    rows: Sequence[Row],
    statistics: frozenset[str],
    window: StatsWindow,
    info: Info,
    fetch_context: FetchContext,
    path_to: PathTo,
    *,
    ids_given_as: str | None = None,
) -> Sequence[Row]:
    """The rows with statistics over the window of their root field, which are requested by id.

    If LangSmith fails, the rows stay, and the statistics are null. The error is reported once, at the first of them.
    They are also null in a session that is gone meanwhile.

    `ids_given_as`: the argument that gave the ids, for errors about them; None if LangSmith did.
    """
    if not (rows and statistics):
        return rows
    context = info.context
    found = await context.loader.load_window(
        [row.id for row in rows], fetch_context, window=window, statistics=statistics
    )
    if not isinstance(found, FailedLookup):
        context.report_dropped(found.dropped_rows, info.raw)
        return [with_values_of(row, found.by_id[row.id], statistics) for row in rows]
    found.ids_given_as[info.root_key] = ids_given_as
    context.report_failed(
        found, path_to(frozenset(name for name, each in STATISTIC_FIELDS.items() if each in statistics)), info.raw
    )
    return [without(row, statistics) for row in rows]

"""Statistics of rows that were answered before: those that a deferred fragment selects."""

from collections.abc import Callable, Sequence

import msgspec
from graphql import GraphQLError

from app.cache.fetcher import FetchContext
from app.errors import BadUserInputError
from app.schema.loader import FailedLookup
from app.schema.pushdown import STATISTIC_FIELDS
from app.schema.types import Info
from app.sessions.query import IDS, StatsWindow
from app.sessions.row import Row, without

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
        return [_with_statistics(row, found.by_id[row.id], statistics) for row in rows]
    path = path_to(frozenset(name for name, each in STATISTIC_FIELDS.items() if each in statistics))
    if found.reported_at.setdefault(info.root_key, path) == path:
        error = found.error.renamed(IDS, ids_given_as) if isinstance(found.error, BadUserInputError) else found.error
        context.extra_errors.append(
            GraphQLError(str(error), nodes=info.raw.field_nodes, path=path, original_error=error)
        )
    return [without(row, statistics) for row in rows]


def _with_statistics(row: Row, other: Row | None, statistics: frozenset[str]) -> Row:
    if other is None:
        return without(row, statistics)
    return msgspec.structs.replace(row, **{name: getattr(other, name) for name in statistics})

"""How a connection is read: from its arguments and selection to pages, and from pages to its rows and page info."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from app.errors import BadUserInputError
from app.schema.lookup import load_windows
from app.schema.pagination import Slice, cursor_at
from app.schema.pushdown import statistics_in, window_of, windows_in
from app.schema.row_reader import ConnectionRows, RowReader
from app.schema.types import Info, PageInfo, SessionConnection, SessionEdge, as_session
from app.sessions.arguments import StatsOptions, check_encoded_length
from app.sessions.query import IDS, PageQuery, StatsWindow


@dataclass(frozen=True)
class ConnectionPlan:
    """What has to be read for a connection.

    Args:
        slice: The rows that the client asked for.
        pages: The queries that return those rows, in order.
        probe: A query for one row without statistics. With another `offset` it tells whether a row exists there.
        windows: The statistics over further windows, which the `stats` fields of the rows select.
        began: When the client began to page, if the window depends on that.
        selected: Names of the selected fields of the connection and of its `pageInfo`.
        has_telling_pages: Whether it was made for pages that say by themselves if rows follow.
    """

    slice: Slice
    pages: Sequence[PageQuery]
    probe: PageQuery
    windows: Mapping[StatsWindow, frozenset[str]]
    selected: frozenset[str]
    has_telling_pages: bool
    began: datetime | None

    @classmethod
    def create(cls, query: PageQuery, rows: Slice, stats: StatsOptions | None, info: Info) -> Self:
        """The plan for these rows of a query. Raises BadUserInputError for invalid and too long arguments."""
        selection = info.selection("SessionConnection")
        sessions = selection.at("nodes") + selection.at("edges", "node")
        if rows.began is not None:
            info.context.continue_walk(info.root_key, rows.began)
        window = window_of(stats, info.context, info.root_key)
        check_encoded_length(query.arguments + window.arguments)
        windows = windows_in(sessions, info.context, info.root_key)
        statistics = statistics_in(sessions) | windows.pop(window, frozenset())
        page = query.with_statistics(statistics, window)
        selected = selection.names | selection.at("pageInfo").names
        tells = info.context.cache.tells_whether_rows_follow
        pages = tuple(rows.queries(page, one_more="hasNextPage" in selected and not tells))
        began = (rows.began or info.context.now) if window.is_relative else None
        probe = replace(page.with_statistics(frozenset(), window), limit=1)
        return cls(rows, pages, probe, windows, selected, tells, began)


async def resolve_connection(info: Info, plan: ConnectionPlan) -> SessionConnection:
    """Read what the plan says. Raises GatewayError if a page cannot be read; a failed window fails its fields only."""
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    reader = RowReader(context.cache, fetch_context, context.gate)
    with context.loader.pending_pages:
        try:
            found = await reader.read(plan.pages, plan.slice)
        except BadUserInputError as exc:
            # A refill looks the rows of a page up by their ids, which the client may not have given.
            raise exc if plan.probe.ids else exc.renamed(IDS, None) from exc
        has_next = "hasNextPage" in plan.selected and await _has_next(reader, plan, found)
        has_previous = "hasPreviousPage" in plan.selected and await _has_previous(reader, plan, found)
    context.report_dropped(found.dropped_rows, info.raw)
    rows = found.rows
    cursor_of = functools.partial(cursor_at, began=plan.began)
    if plan.windows:
        await load_windows(plan.windows, [row.id for _, row in rows], info, fetch_context)
    return SessionConnection(
        edges=[SessionEdge(cursor=cursor_of(position), node=as_session(row)) for position, row in rows]
        if "edges" in plan.selected
        else [],
        nodes=[as_session(row) for _, row in rows] if "nodes" in plan.selected else [],
        page_info=PageInfo(
            has_next_page=has_next,
            has_previous_page=has_previous,
            start_cursor=cursor_of(rows[0][0]) if rows and "startCursor" in plan.selected else None,
            end_cursor=cursor_of(rows[-1][0]) if rows and "endCursor" in plan.selected else None,
        ),
    )


async def _has_next(reader: RowReader, plan: ConnectionPlan, found: ConnectionRows) -> bool:
    # Full pages leave no room for the additional row that would answer the question.
    if found.has_more is not None:
        return found.has_more
    return await reader.exists(replace(plan.probe, offset=found.next_position), since=found.fetched_at)


async def _has_previous(reader: RowReader, plan: ConnectionPlan, found: ConnectionRows) -> bool:
    # A page that has rows after its start position shows that the list is longer than that position. Behind the end of
    # the list, a session at position 0 shows that there are any.
    is_later = plan.slice.start > 0
    has_rows = bool(found.rows or found.dropped_rows or found.has_more)
    return is_later and (has_rows or await reader.exists(replace(plan.probe, offset=0), since=found.fetched_at))

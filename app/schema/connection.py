"""How a connection is read: from its arguments and selection to pages, and from pages to its rows and page info."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from app.cache.fetcher import FetchContext
from app.cache.page_cache import PageCache
from app.resilience.singleflight import gather_or_cancel
from app.schema.lookup import load_windows
from app.schema.pagination import Slice, cursor_of
from app.schema.pushdown import statistics_in, window_of, windows_in
from app.schema.types import Info, PageInfo, SessionConnection, SessionEdge, as_session
from app.sessions.arguments import StatsOptions
from app.sessions.query import MAX_LIMIT, PageQuery, StatsWindow
from app.sessions.row import Row


@dataclass(frozen=True)
class ConnectionPlan:
    """What has to be read for a connection.

    Args:
        slice: The rows that the client asked for.
        pages: The queries that return those rows, in order.
        probe: A query for one row without statistics. With another `offset` it tells whether a row exists there.
        windows: The statistics over further windows, which the `stats` fields of the rows select.
        selected: Names of the selected fields of the connection and of its `pageInfo`.
    """

    slice: Slice
    pages: Sequence[PageQuery]
    probe: PageQuery
    windows: Mapping[StatsWindow, frozenset[str]]
    selected: frozenset[str]

    @classmethod
    def create(cls, query: PageQuery, rows: Slice, stats: StatsOptions | None, info: Info) -> Self:
        """The plan for these rows of a query. Raises BadUserInputError for invalid options of statistics."""
        selection = info.selection("SessionConnection")
        sessions = selection.at("nodes") + selection.at("edges", "node")
        window = window_of(stats, info.context)
        windows = windows_in(sessions, info.context)
        statistics = statistics_in(sessions) | windows.pop(window, frozenset())
        page = query.with_statistics(statistics, window)
        selected = selection.names | selection.at("pageInfo").names
        pages = tuple(rows.queries(page, one_more="hasNextPage" in selected))
        return cls(rows, pages, replace(page.with_statistics(frozenset(), window), limit=1), windows, selected)


@dataclass(frozen=True)
class ConnectionRows:
    """The rows of a connection with their positions in the whole list, and whether there are rows around them."""

    rows: list[tuple[int, Row]]
    dropped_rows: int
    has_next: bool
    has_previous: bool


async def resolve_connection(info: Info, plan: ConnectionPlan) -> SessionConnection:
    """Read what the plan says. Raises GatewayError if a page cannot be read; a failed window fails its fields only."""
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    with context.loader.pending_pages:
        found = await read_rows(plan, fetch_context, context.cache)
    context.report_dropped(found.dropped_rows, info.raw)
    rows = found.rows
    if plan.windows:
        await load_windows(plan.windows, [row.id for _, row in rows], info, fetch_context)
    return SessionConnection(
        edges=[SessionEdge(cursor=cursor_of(position), node=as_session(row)) for position, row in rows]
        if "edges" in plan.selected
        else [],
        nodes=[as_session(row) for _, row in rows] if "nodes" in plan.selected else [],
        page_info=PageInfo(
            has_next_page=found.has_next,
            has_previous_page=found.has_previous,
            start_cursor=cursor_of(rows[0][0]) if rows and "startCursor" in plan.selected else None,
            end_cursor=cursor_of(rows[-1][0]) if rows and "endCursor" in plan.selected else None,
        ),
    )


async def read_rows(plan: ConnectionPlan, fetch_context: FetchContext, cache: PageCache) -> ConnectionRows:
    """Read the pages of a plan, and probe for rows after or before them if their page info is selected."""
    pages = await gather_or_cancel(*(cache.get_page(each, fetch_context) for each in plan.pages))
    found = [
        row for page, each in zip(pages, plan.pages, strict=True) for row in page.rows_in(each.window)[: each.limit]
    ]

    async def exists(position: int) -> bool:
        return bool((await cache.get_page(replace(plan.probe, offset=position), fetch_context)).rows)

    slice_ = plan.slice
    requested = found[: slice_.count]
    # Full pages leave no room for the additional row that would answer `hasNextPage`.
    needs_probe = len(found) == slice_.count and slice_.count % MAX_LIMIT == 0
    return ConnectionRows(
        rows=[(position, row) for position, row in enumerate(requested, slice_.start) if row],
        dropped_rows=requested.count(None),
        has_next="hasNextPage" in plan.selected
        and (len(found) > slice_.count or (needs_probe and await exists(slice_.end))),
        # A page that has rows after its start position shows that the list is longer than that position. Behind the end
        # of the list, a session at position 0 shows that there are any.
        has_previous="hasPreviousPage" in plan.selected and slice_.start > 0 and (bool(found) or await exists(0)),
    )

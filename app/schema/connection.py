"""How a connection is read: from its arguments and selection to pages, and from pages to its rows and page info."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from app.errors import BadUserInputError
from app.execution.selection import Selection
from app.resilience.singleflight import run_beside
from app.schema.deferred_statistics import add_statistics
from app.schema.lookup import load_windows
from app.schema.pagination import Slice, cursor_at
from app.schema.pushdown import statistics_in, window_of, windows_in
from app.schema.row_reader import ConnectionRows, RowReader
from app.schema.types import Info, PageInfo, SessionConnection, SessionEdge, as_session
from app.sessions.arguments import StatsOptions, check_encoded_length
from app.sessions.query import IDS, PageQuery, StatsWindow
from app.sessions.row import Row


@dataclass(frozen=True)
class ConnectionPlan:
    """What has to be read for a connection.

    Args:
        slice: The rows that the client asked for.
        page: The query for the list, with the statistics of the rows themselves.
        pages: The queries that return those rows, in order.
        probe: A query for one row without statistics. With another `offset` it tells whether a row exists there.
        windows: The statistics over further windows, which the `stats` fields of the rows select.
        began: When the client began to page, if the window depends on that.
        selected: Names of the selected fields of the connection and of its `pageInfo`.
        needed: The same, with those of the fragments that are delivered later.
        has_telling_pages: Whether it was made for pages that say by themselves if rows follow.
    """

    slice: Slice
    page: PageQuery
    pages: Sequence[PageQuery]
    probe: PageQuery
    windows: Mapping[StatsWindow, frozenset[str]]
    selected: frozenset[str]
    needed: frozenset[str]
    has_telling_pages: bool
    began: datetime | None

    @classmethod
    def create(cls, query: PageQuery, rows: Slice, stats: StatsOptions | None, info: Info) -> Self:
        """The plan for these rows of a query. Raises BadUserInputError for invalid and too long arguments."""
        selection = info.selection("SessionConnection")
        deferred = info.deferred_selection("SessionConnection")
        if rows.began is not None:
            info.context.continue_walk(info.root_key, rows.began)
        window = window_of(stats, info.context, info.root_key)
        check_encoded_length(query.arguments + window.arguments)
        windows = windows_in(_sessions(selection), info.context, info.root_key)
        statistics = statistics_in(_sessions(selection))
        # The page's own window comes with the page.
        if query.sorted_by_stat or info.context.has_window_in_rows(info.root_key, window):
            statistics |= windows.pop(window, frozenset())
        needed = selection
        if deferred:
            needed = selection + deferred
            if query.sorted_by_stat:  # LangSmith computes the statistics anyway, to sort the rows by one
                later = windows_in(_sessions(deferred), info.context, info.root_key)
                statistics |= statistics_in(_sessions(deferred)) | later.get(window, frozenset())
        page = query.with_statistics(statistics, window)
        tells = info.context.cache.tells_whether_rows_follow
        needed_names = _names(needed)
        pages = tuple(rows.queries(page, one_more="hasNextPage" in needed_names and not tells))
        began = (rows.began or info.context.now) if window.is_relative else None
        probe = replace(page.with_statistics(frozenset(), window), limit=1)
        return cls(rows, page, pages, probe, windows, _names(selection), needed_names, tells, began)


@dataclass(frozen=True)
class _Connection:
    """What was read for a connection. `statistics`: those that the rows have, over the window of the root field."""

    rows: list[tuple[int, Row]]
    has_next: bool
    has_previous: bool
    statistics: frozenset[str]


async def resolve_connection(info: Info, plan: ConnectionPlan) -> SessionConnection:
    """Read what the plan says. Raises GatewayError if a page cannot be read; a failed window fails its fields only."""
    found = await _read_with_windows(plan, info)
    cursor_of = functools.partial(cursor_at, began=plan.began)
    rows = found.rows
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


async def _read_with_windows(plan: ConnectionPlan, info: Info) -> _Connection:
    """The rows with their statistics, after the statistics over further windows were loaded."""
    context = info.context
    fetch_context = context.fetch_context(info.raw)
    reader = RowReader(context.cache, fetch_context, context.gate)
    held = None
    if plan.windows and not context.is_for_fragment:
        held = await reader.cached_ids(plan.pages, plan.slice.count)
    read = context.read_together(info.root_key, functools.partial(_read, plan, info, reader))
    if held:  # only statistics can be missing, and those over all windows are requested at the same time
        found = await run_beside(load_windows(plan.windows, held, info, fetch_context), read)
    else:
        with context.loader.pending_pages:
            found = await read
    ids = [row.id for _, row in found.rows]
    later = plan.page.statistics - found.statistics
    if not later and (ids == held or not plan.windows):
        return found
    rows = await run_beside(
        load_windows(plan.windows if ids != held else {}, ids, info, fetch_context),
        add_statistics(
            [row for _, row in found.rows],
            later,
            plan.page.window,
            info,
            fetch_context,
            functools.partial(_path_to, info),
        ),
    )
    positions = (position for position, _ in found.rows)
    return replace(found, rows=[*zip(positions, rows, strict=True)])


async def _read(plan: ConnectionPlan, info: Info, reader: RowReader) -> _Connection:
    try:
        found = await reader.read(plan.pages, plan.slice)
    except BadUserInputError as exc:
        # A refill looks the rows of a page up by their ids, which the client may not have given.
        raise exc if plan.probe.ids else exc.renamed(IDS, None) from exc
    has_next = "hasNextPage" in plan.needed and await _has_next(reader, plan, found)
    has_previous = "hasPreviousPage" in plan.needed and await _has_previous(reader, plan, found)
    info.context.report_dropped(found.dropped_rows, info.raw)
    return _Connection(found.rows, has_next, has_previous, plan.page.statistics)


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


def _path_to(info: Info, names: frozenset[str]) -> list[str | int]:
    """The path to the first field with one of these names in the first row."""
    selection = info.selection("SessionConnection")
    places = (("nodes",), ("edges", "node"), ("nodes", "stats"), ("edges", "node", "stats"))
    list_key, *keys = next(filter(None, (selection.find(each, names) for each in places)), ["nodes"])
    return [info.root_key, list_key, 0, *keys]


def _sessions(connection: Selection) -> Selection:
    """What is selected of the sessions, whether as `nodes` or in `edges`."""
    return connection.at("nodes") + connection.at("edges", "node")


def _names(connection: Selection) -> frozenset[str]:
    return connection.names | connection.at("pageInfo").names

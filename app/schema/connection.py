"""TODO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar, cast

import strawberry

from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.cache.page_cache import PageCache
from app.execution.selection import Selection
from app.resilience.singleflight import gather_or_cancel
from app.schema.pagination import Slice, cursor_of
from app.schema.types import Info, PageInfo, Session, SessionConnection, SessionEdge, statistics_in, windows_in
from app.sessions.arguments import StatsOptions
from app.sessions.query import ALL_RUNS, MAX_LIMIT, PageQuery, StatsWindow
from app.sessions.row import Row

T = TypeVar("T")


@dataclass(frozen=True)
class ConnectionPlan:
    """What is read for a connection: the pages, the other windows, and what is shown of them.

    `probe`: the pages' query without an offset, to ask whether there are rows elsewhere.
    """

    slice: Slice
    pages: Sequence[PageQuery]
    probe: PageQuery
    windows: Mapping[StatsWindow, frozenset[str]]
    selection: Selection

    @classmethod
    def of(cls, query: PageQuery, rows: Slice, stats: StatsOptions | None, info: Info) -> Self:
        selection = info.selection
        nodes = selection.at("nodes") + selection.at("edges", "node")
        window = window_of(info, stats)
        windows = windows_in(nodes, info)
        statistics = statistics_in(nodes) | windows.pop(window, frozenset())
        selecting = query.with_statistics(statistics, window)
        shown = selection + selection.at("pageInfo")
        pages = tuple(rows.queries(selecting, one_more="hasNextPage" in shown))
        return cls(rows, pages, replace(selecting.with_statistics(frozenset(), window), limit=1), windows, shown)


@dataclass(frozen=True)
class ConnectionRows:
    """What was read of the pages: rows with their positions, and whether there are others around them."""

    found: list[tuple[int, Row]]
    dropped_rows: int
    has_next: bool
    has_previous: bool


async def resolve_connection(info: Info, reading: ConnectionPlan) -> SessionConnection:
    operation = info.context
    caller = operation.fetch_context(info.raw)
    with operation.lookups.pending_pages:
        rows = await read_rows(reading, caller, operation.cache)
    operation.report_dropped(rows.dropped_rows, info.raw)
    found = rows.found
    if reading.windows:
        await load_windows(reading.windows, [row.id for _, row in found], info, caller)
    return SessionConnection(
        edges=[SessionEdge(cursor=cursor_of(position), node=as_session(row)) for position, row in found]
        if "edges" in reading.selection
        else [],
        nodes=[as_session(row) for _, row in found] if "nodes" in reading.selection else [],
        page_info=PageInfo(
            has_next_page=rows.has_next,
            has_previous_page=rows.has_previous,
            start_cursor=cursor_of(found[0][0]) if found and "startCursor" in reading.selection else None,
            end_cursor=cursor_of(found[-1][0]) if found and "endCursor" in reading.selection else None,
        ),
    )


async def read_rows(reading: ConnectionPlan, caller: FetchContext, cache: PageCache) -> ConnectionRows:
    """Reads the pages that hold the rows; whether others follow, or come before, only where that is shown."""
    pages = await gather_or_cancel(*(cache.get_page(each, caller) for each in reading.pages))
    found = [
        row for page, each in zip(pages, reading.pages, strict=True) for row in page.rows_in(each.window)[: each.limit]
    ]

    async def exists(position: int) -> bool:
        return bool((await cache.get_page(replace(reading.probe, offset=position), caller)).rows)

    rows = reading.slice
    wanted = found[: rows.count]
    is_full_to_the_end = len(found) == rows.count and rows.count % MAX_LIMIT == 0
    return ConnectionRows(
        found=[(position, row) for position, row in enumerate(wanted, rows.start) if row],
        dropped_rows=wanted.count(None),
        has_next="hasNextPage" in reading.selection
        and (len(found) > rows.count or (is_full_to_the_end and await exists(rows.end))),
        has_previous="hasPreviousPage" in reading.selection and rows.start > 0 and (bool(found) or await exists(0)),
    )


async def load_windows(
    windows: Mapping[StatsWindow, frozenset[str]], ids: list[str], info: Info, caller: FetchContext
) -> None:
    """Looks up the statistics of these sessions over other windows, for their `stats` fields to find."""
    operation = info.context

    async def look(window: StatsWindow, statistics: frozenset[str]) -> None:
        found = await operation.lookups.load_window(ids, caller, window=window, statistics=statistics)
        operation.results_by_window[info.raw.path.key, window] = found
        if isinstance(found, LookupResult):
            operation.report_dropped(found.dropped_rows, info.raw)

    if ids:
        await gather_or_cancel(*(look(window, statistics) for window, statistics in windows.items()))


def window_of(info: Info, stats: StatsOptions | None) -> StatsWindow:
    return info.context.window(stats)[0] if stats else ALL_RUNS


def as_session(row: Row) -> Session:
    """A row has the attributes that a session's fields read; `Session.is_type_of` knows it for one."""
    return cast(Session, row)


def given(value: T | None) -> T | None:
    return None if value is strawberry.UNSET else value

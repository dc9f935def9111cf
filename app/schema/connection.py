"""TODO."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import strawberry

from app.cache.fetcher import Caller
from app.cache.in_flight import Found
from app.cache.page_cache import PageCache
from app.execution.selection import Selection
from app.resilience.singleflight import together
from app.schema.pagination import Slice, cursor_of
from app.schema.query import T
from app.schema.types import Info, PageInfo, Session, SessionConnection, SessionEdge, statistics_in, windows_in
from app.sessions.arguments import StatsOptions
from app.sessions.query import ALL_RUNS, MAX_LIMIT, PageQuery, Window
from app.sessions.row import Row


@dataclass(frozen=True)
class _Reading:
    """What is read for a connection: the pages, the other windows, and what is shown of them.

    `probe`: the pages' query without an offset, to ask whether there are rows elsewhere.
    """

    rows: Slice
    pages: Sequence[PageQuery]
    probe: PageQuery
    windows: Mapping[Window, frozenset[str]]
    shown: Selection

    @classmethod
    def of(cls, query: PageQuery, rows: Slice, stats: StatsOptions | None, info: Info) -> Self:
        selection = info.selection
        nodes = selection.at("nodes") + selection.at("edges", "node")
        window = _window(info, stats)
        windows = windows_in(nodes, info)
        statistics = statistics_in(nodes) | windows.pop(window, frozenset())
        selecting = query.selecting(statistics, window)
        shown = selection + selection.at("pageInfo")
        pages = tuple(rows.queries(selecting, one_more="hasNextPage" in shown))
        return cls(rows, pages, replace(selecting.selecting(frozenset(), window), limit=1), windows, shown)


@dataclass(frozen=True)
class _Rows:
    """What was read of the pages: rows with their positions, and whether there are others around them."""

    found: list[tuple[int, Row]]
    dropped: int
    has_next: bool
    has_previous: bool


async def _connection(info: Info, reading: _Reading) -> SessionConnection:
    operation = info.context
    caller = operation.caller(info.raw)
    with operation.lookups.page_under_way:
        rows = await _read(reading, caller, operation.cache)
    operation.report_dropped(rows.dropped, info.raw)
    found = rows.found
    if reading.windows:
        await _look_through(reading.windows, [row.id for _, row in found], info, caller)
    return SessionConnection(
        edges=[SessionEdge(cursor=cursor_of(position), node=_as_session(row)) for position, row in found]
        if "edges" in reading.shown
        else [],
        nodes=[_as_session(row) for _, row in found] if "nodes" in reading.shown else [],
        page_info=PageInfo(
            has_next_page=rows.has_next,
            has_previous_page=rows.has_previous,
            start_cursor=cursor_of(found[0][0]) if found and "startCursor" in reading.shown else None,
            end_cursor=cursor_of(found[-1][0]) if found and "endCursor" in reading.shown else None,
        ),
    )


async def _read(reading: _Reading, caller: Caller, cache: PageCache) -> _Rows:
    """Reads the pages that hold the rows; whether others follow, or come before, only where that is shown."""
    pages = await together(*(cache.page(each, caller) for each in reading.pages))
    found = [
        row
        for page, each in zip(pages, reading.pages, strict=True)
        for row in page.seen_through(each.window)[: each.limit]
    ]

    async def exists(position: int) -> bool:
        return bool((await cache.page(replace(reading.probe, offset=position), caller)).rows)

    rows = reading.rows
    wanted = found[: rows.count]
    is_full_to_the_end = len(found) == rows.count and rows.count % MAX_LIMIT == 0
    return _Rows(
        found=[(position, row) for position, row in enumerate(wanted, rows.start) if row],
        dropped=wanted.count(None),
        has_next="hasNextPage" in reading.shown
        and (len(found) > rows.count or (is_full_to_the_end and await exists(rows.end))),
        has_previous="hasPreviousPage" in reading.shown and rows.start > 0 and (bool(found) or await exists(0)),
    )


async def _look_through(windows: Mapping[Window, frozenset[str]], ids: list[str], info: Info, caller: Caller) -> None:
    """Looks up the statistics of these sessions over other windows, for their `stats` fields to find."""
    operation = info.context

    async def look(window: Window, statistics: frozenset[str]) -> None:
        found = await operation.lookups.load_window(ids, caller, window=window, statistics=statistics)
        operation.windows[info.raw.path.key, window] = found
        if isinstance(found, Found):
            operation.report_dropped(found.dropped, info.raw)

    if ids:
        await together(*(look(window, statistics) for window, statistics in windows.items()))


def _window(info: Info, stats: StatsOptions | None) -> Window:
    return info.context.window(stats)[0] if stats else ALL_RUNS


def _as_session(row: Row) -> Session:
    """A row has the attributes that a session's fields read; `Session.is_type_of` knows it for one."""
    return cast(Session, row)


def _given(value: T | None) -> T | None:
    return None if value is strawberry.UNSET else value

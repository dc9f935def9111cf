"""Query: from arguments and selection to pages, and from pages to objects."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Self, TypeVar, cast

import strawberry
from strawberry.schema.config import StrawberryConfig

from app.cache.fetcher import Caller
from app.cache.in_flight import Found
from app.cache.page_cache import PageCache
from app.errors import BadUserInput
from app.execution.selection import Selection
from app.resilience.singleflight import together
from app.schema.pagination import Slice, cursor_of, slice_of
from app.schema.types import Info, PageInfo, Session, SessionConnection, SessionEdge, statistics_in, windows_in
from app.sessions import decoding
from app.sessions.arguments import SessionFilter, SessionOrder, StatsOptions, filter_params, is_ranked, order_params
from app.sessions.fields import Node, Row
from app.sessions.page import ALL_RUNS, MAX_LIMIT, PageQuery, Window
from app.sessions.scalars import SCALARS, parse_uuid

T = TypeVar("T")

MAX_IDS: Final = 500


def create_schema() -> strawberry.Schema:
    config = StrawberryConfig(scalar_map=SCALARS, info_class=Info, default_resolver=decoding.read)
    return strawberry.Schema(Query, types=[Session], config=config)


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


_Stats = Annotated[
    StatsOptions | None, _argument("Over which runs the statistics are computed; all of them without it.")
]


@strawberry.type(description="What can be asked of LangSmith through this gateway.")
class Query:
    @strawberry.field(
        description="Tracing projects and experiments, newest first unless ordered otherwise. LangSmith computes only "
        "the statistics that are selected."
    )
    async def sessions(
        self,
        info: Info,
        first: Annotated[int, _argument("How many, 1 to 500. More than 100 cost one request per 100.")] = 20,
        after: Annotated[str | None, _argument("Only those after this cursor.")] = strawberry.UNSET,
        offset: Annotated[
            int | None, _argument("How many to skip, for numbered pages; in place of `after`.")
        ] = strawberry.UNSET,
        last: Annotated[
            int | None, _argument("How many, 1 to 500, going back from `before`; in place of `first`.")
        ] = strawberry.UNSET,
        before: Annotated[str | None, _argument("Only those before this cursor; goes with `last`.")] = strawberry.UNSET,
        filter: Annotated[
            SessionFilter | None, _argument("Which sessions; all of them without it.")
        ] = strawberry.UNSET,
        order_by: Annotated[
            SessionOrder | None, _argument("In which order; the newest first without it.")
        ] = strawberry.UNSET,
        stats: _Stats = strawberry.UNSET,
    ) -> SessionConnection | None:
        reading: _Reading | None = info.memo.get("reading")
        if reading is None:
            rows = slice_of(
                first=first, after=_given(after), offset=_given(offset), last=_given(last), before=_given(before)
            )
            order = order_by or None
            query = PageQuery(where=filter_params(filter or None) + order_params(order), ranked=is_ranked(order))
            reading = _Reading.of(query, rows, stats or None, info)
            if not (stats or reading.windows):  # which go with the time
                info.memo["reading"] = reading
        return await _connection(info, reading)

    @strawberry.field(description="One session; null if LangSmith does not know it.")
    async def session(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _argument("The session's UUID.")],
        stats: _Stats = strawberry.UNSET,
    ) -> Session | None:
        try:
            session_id = str(parse_uuid(id))
        except BadUserInput as exc:
            raise BadUserInput(str(exc), argument="id") from None
        found = await _sessions(info, [session_id], _window(info, stats))
        return found[0]

    @strawberry.field(description="The object of that id; null if there is none, as for an id that is no UUID.")
    async def node(self, info: Info, id: Annotated[strawberry.ID, _argument("A session's UUID.")]) -> Node | None:
        found = await _sessions(info, [_uuid(id)], ALL_RUNS)
        return found[0]

    @strawberry.field(
        description="The objects of these ids in the same order, null where there is none. All the ids of an operation "
        "go to LangSmith in one request per 100."
    )
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], _argument("Sessions' UUIDs, 500 at most.")]
    ) -> list[Node | None]:
        if len(ids) > MAX_IDS:
            raise BadUserInput(f"There may be {MAX_IDS} at most.", argument="ids")
        return [*await _sessions(info, [_uuid(each) for each in ids], ALL_RUNS)]


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


async def _sessions(info: Info, ids: Sequence[str | None], window: Window) -> list[Session | None]:
    """The sessions of these ids in their order; None where there is none."""
    operation = info.context
    caller = operation.caller(info.raw)
    selection = info.selection
    windows = windows_in(selection, info)
    statistics = statistics_in(selection) | windows.pop(window, frozenset())
    known = [each for each in ids if each]
    if not known:
        return [None] * len(ids)
    found, _ = await asyncio.gather(
        operation.lookups.load(known, caller, window=window, statistics=statistics),
        _look_through(windows, known, info, caller),
    )
    operation.report_dropped(found.dropped, info.raw)
    rows = (found.by_id[each] if each else None for each in ids)
    return [_as_session(row) if row else None for row in rows]


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


def _uuid(text: str) -> str | None:
    try:
        return str(parse_uuid(text))
    except BadUserInput:
        return None

"""Query: from arguments and selection to pages, and from pages to objects."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final

import strawberry
from strawberry.schema.config import StrawberryConfig

from app.errors import BadUserInputError
from app.schema.connection import ConnectionPlan, as_session, given, load_windows, resolve_connection, window_of
from app.schema.pagination import parse_slice
from app.schema.types import Info, Session, SessionConnection, statistics_in, windows_in
from app.sessions import decoding
from app.sessions.arguments import (
    SessionFilter,
    SessionOrder,
    StatsOptions,
    filter_arguments,
    is_sorted_by_stat,
    order_arguments,
)
from app.sessions.fields import Node
from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow
from app.sessions.scalars import SCALARS, parse_uuid

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
        reading: ConnectionPlan | None = info.field_cache.get("reading")
        if reading is None:
            rows = parse_slice(
                first=first, after=given(after), offset=given(offset), last=given(last), before=given(before)
            )
            order = order_by or None
            query = PageQuery(
                arguments=filter_arguments(filter or None) + order_arguments(order),
                sorted_by_stat=is_sorted_by_stat(order),
            )
            reading = ConnectionPlan.of(query, rows, stats or None, info)
            if not (stats or reading.windows):  # which go with the time
                info.field_cache["reading"] = reading
        return await resolve_connection(info, reading)

    @strawberry.field(description="One session; null if LangSmith does not know it.")
    async def session(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _argument("The session's UUID.")],
        stats: _Stats = strawberry.UNSET,
    ) -> Session | None:
        try:
            session_id = str(parse_uuid(id))
        except BadUserInputError as exc:
            raise BadUserInputError(str(exc), argument="id") from None
        found = await _load_sessions(info, [session_id], window_of(info, stats))
        return found[0]

    @strawberry.field(description="The object of that id; null if there is none, as for an id that is no UUID.")
    async def node(self, info: Info, id: Annotated[strawberry.ID, _argument("A session's UUID.")]) -> Node | None:
        found = await _load_sessions(info, [_uuid(id)], ALL_RUNS)
        return found[0]

    @strawberry.field(
        description="The objects of these ids in the same order, null where there is none. All the ids of an operation "
        "go to LangSmith in one request per 100."
    )
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], _argument("Sessions' UUIDs, 500 at most.")]
    ) -> list[Node | None]:
        if len(ids) > MAX_IDS:
            raise BadUserInputError(f"There may be {MAX_IDS} at most.", argument="ids")
        return [*await _load_sessions(info, [_uuid(each) for each in ids], ALL_RUNS)]


async def _load_sessions(info: Info, ids: Sequence[str | None], window: StatsWindow) -> list[Session | None]:
    """The sessions of these ids in their order; None where there is none."""
    operation = info.context
    caller = operation.fetch_context(info.raw)
    selection = info.selection
    windows = windows_in(selection, info)
    statistics = statistics_in(selection) | windows.pop(window, frozenset())
    known = [each for each in ids if each]
    if not known:
        return [None] * len(ids)
    found, _ = await asyncio.gather(
        operation.lookups.load(known, caller, window=window, statistics=statistics),
        load_windows(windows, known, info, caller),
    )
    operation.report_dropped(found.dropped_rows, info.raw)
    rows = (found.by_id[each] if each else None for each in ids)
    return [as_session(row) if row else None for row in rows]


def _uuid(text: str) -> str | None:
    try:
        return str(parse_uuid(text))
    except BadUserInputError:
        return None

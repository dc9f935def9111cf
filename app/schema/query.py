"""Query: the root fields of the schema."""

from typing import Annotated, Any, Final, TypeVar

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDefaultInput,
    GraphQLDeferDirective,
    GraphQLDirective,
    GraphQLNonNull,
    GraphQLString,
)
from strawberry.schema.config import StrawberryConfig

from app.errors import BadUserInputError
from app.execution import graphql_core_schema
from app.schema.connection import ConnectionPlan, resolve_connection
from app.schema.lookup import load_sessions
from app.schema.pagination import DEFAULT_FIRST, MAX_SESSIONS, parse_slice
from app.schema.pushdown import window_of
from app.schema.types import Info, Session, SessionConnection
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
from app.sessions.query import ALL_RUNS, PageQuery
from app.sessions.scalars import SCALARS, parse_uuid

T = TypeVar("T")


_DEFER: Final = GraphQLDirective(
    name=GraphQLDeferDirective.name,
    locations=GraphQLDeferDirective.locations,
    args={
        "if": GraphQLArgument(
            GraphQLNonNull(GraphQLBoolean),
            default=GraphQLDefaultInput(value=True),
            description="Whether the fragment is deferred, for example only while a page has no data yet.",
        ),
        "label": GraphQLArgument(
            GraphQLString,
            description="A name that is unique in the document. The parts of the answer repeat it.",
        ),
    },
    description="Delivers the statistics of a fragment later than the rest of the answer, as soon as LangSmith has "
    "computed them: `nodes { id name ... @defer { runCount } }`. The client must accept `multipart/mixed`; any other "
    "client gets the whole answer at once.",
)


def create_schema() -> strawberry.Schema:
    """The GraphQL schema of the gateway."""
    config = StrawberryConfig(scalar_map=SCALARS, info_class=Info, default_resolver=decoding.read_attribute)
    schema = strawberry.Schema(Query, types=[Session], config=config)
    # Strawberry's own flag for `@defer` would declare `@stream` as well.
    core_schema = graphql_core_schema(schema)
    core_schema.directives = (*core_schema.directives, _DEFER)
    return schema


def _argument(description: str) -> Any:
    return strawberry.argument(description=description)


_Stats = Annotated[
    StatsOptions | None,
    _argument('The runs that the statistics are computed over, such as `{last: "P7D"}`. Without it, all runs count.'),
]


@strawberry.type(
    description="Reads sessions from LangSmith with the credential of the request. A field that fails is null, and the "
    "others keep their data."
)
class Query:
    @strawberry.field(
        description="Tracing projects and experiments, the newest first unless `orderBy` says otherwise. LangSmith "
        "computes the statistics that are selected, and no others."
    )
    async def sessions(
        self,
        info: Info,
        first: Annotated[
            int | None,
            _argument(f"Number of sessions, 1 to {MAX_SESSIONS}. Costs one request to LangSmith per 100 sessions."),
        ] = DEFAULT_FIRST,
        after: Annotated[
            str | None, _argument("Start after this cursor, which is the `endCursor` of a page or that of an edge.")
        ] = strawberry.UNSET,
        offset: Annotated[
            int | None,
            _argument(
                "Number of sessions to skip, for numbered pages: 40 with `first: 20` is the third page. Excludes "
                "`after`."
            ),
        ] = strawberry.UNSET,
        last: Annotated[
            int | None,
            _argument(f"Number of sessions right before `before`, 1 to {MAX_SESSIONS}. Takes the place of `first`."),
        ] = strawberry.UNSET,
        before: Annotated[
            str | None, _argument("End before this cursor, to page backward. Requires `last`.")
        ] = strawberry.UNSET,
        filter: Annotated[
            SessionFilter | None, _argument("The sessions to list. Without it, all sessions of the workspace.")
        ] = strawberry.UNSET,
        order_by: Annotated[
            SessionOrder | None,
            _argument(
                "The order of the list. Without it, the newest sessions come first. An order by a statistic uses "
                "the window of `stats`."
            ),
        ] = strawberry.UNSET,
        stats: _Stats = strawberry.UNSET,
    ) -> SessionConnection | None:
        plan = info.field_cache.get(ConnectionPlan)
        if plan is None or plan.has_telling_pages is not info.context.cache.tells_whether_rows_follow:
            rows = parse_slice(
                first=DEFAULT_FIRST if first is None else first,
                after=_given(after),
                offset=_given(offset),
                last=_given(last),
                before=_given(before),
            )
            order = order_by or None
            query = PageQuery(
                arguments=filter_arguments(filter or None) + order_arguments(order),
                sorted_by_stat=is_sorted_by_stat(order),
            )
            plan = ConnectionPlan.create(query, rows, stats or None, info)
            # A window of `last` depends on the time, so a plan with windows is not valid for the next run.
            if not (stats or plan.windows):
                info.field_cache.set(plan)
        return await resolve_connection(info, plan)

    @strawberry.field(description="One session. Null if LangSmith knows no session with this id in the workspace.")
    async def session(
        self,
        info: Info,
        id: Annotated[strawberry.ID, _argument('UUID of the session, such as "3c90c3cc-0d44-4b50-8888-8dd25736052a".')],
        stats: _Stats = strawberry.UNSET,
    ) -> Session | None:
        try:
            session_id = str(parse_uuid(id))
        except BadUserInputError as exc:
            raise BadUserInputError(str(exc), argument="id") from None
        [found] = await load_sessions(info, [session_id], window_of(stats, info.context, info.root_key))
        return found

    @strawberry.field(
        description="The object with this id, for clients that refetch objects by a global id, such as Relay. Null if "
        "there is none, and also if the id is not a UUID."
    )
    async def node(self, info: Info, id: Annotated[strawberry.ID, _argument("UUID of a session.")]) -> Node | None:
        [found] = await load_sessions(info, [_uuid(id)], ALL_RUNS)
        return found

    @strawberry.field(
        description="The objects with these ids, in the same order. Null takes the place of an id without an object. "
        "All ids of an operation share one request to LangSmith per 100."
    )
    async def nodes(
        self, info: Info, ids: Annotated[list[strawberry.ID], _argument(f"UUIDs of sessions, {MAX_SESSIONS} at most.")]
    ) -> list[Node | None]:
        if len(ids) > MAX_SESSIONS:
            raise BadUserInputError(f"There may be {MAX_SESSIONS} at most.", argument="ids")
        return [*await load_sessions(info, [_uuid(each) for each in ids], ALL_RUNS)]


def _uuid(text: str) -> str | None:
    """The UUID in canonical form; None if the text is not a UUID."""
    try:
        return str(parse_uuid(text))
    except BadUserInputError:
        return None


def _given(value: T | None) -> T | None:
    """The value of an argument; None if the client left it out."""
    return None if value is strawberry.UNSET else value

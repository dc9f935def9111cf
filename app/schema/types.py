"""The object types: a session, its statistics over another window, and the connection that pages are read through."""

import inspect
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Final, cast

import msgspec
import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema
from strawberry.types.base import get_object_definition
from strawberry.utils.str_converters import to_camel_case

from app.execution.selection import Selection
from app.schema.context import OperationContext
from app.schema.loader import row_of
from app.sessions.arguments import StatsOptions
from app.sessions.fields import FACETS, FIELDS, STATS, Columns, Statistics
from app.sessions.query import StatsWindow
from app.sessions.row import LISTED, Row


class Info(strawberry.Info[OperationContext, None]):
    """What a resolver knows of its place in the operation."""

    @property
    def selection(self) -> Selection:
        memo = self.field_cache
        if "selection" not in memo:
            memo["selection"] = Selection.below(self.raw)
        selection: Selection = memo["selection"]
        return selection

    @property
    def field_cache(self) -> dict[str, Any]:
        """Lasts as long as the nodes and variables are the same, where the executor keeps one."""
        found: dict[str, Any] = getattr(self.raw.field_nodes, "field_cache", {})
        return found

    @property
    def raw(self) -> Any:
        """graphql-core's own, typed Any because Strawberry adds to it."""
        return self._raw_info

    @property
    def root_key(self) -> str:
        """The response key of the root field that this one is below."""
        path = self.raw.path
        while path.prev:
            path = path.prev
        return str(path.key)


@strawberry.type(description="A session's statistics over one window of its runs.")
class SessionStats(Statistics):
    id: strawberry.ID = strawberry.field(
        description="Identifies the session together with the window, for clients that keep objects by id."
    )


_STATISTICS: Final = tuple(name for name in FIELDS if name in STATS | FACETS)
_statistics_of: Final = attrgetter(*_STATISTICS)
_WindowRow: Final[Any] = msgspec.defstruct(
    "_WindowRow", [("id", str), *((name, Any) for name in _STATISTICS)], namespace={**LISTED}, gc=False
)


def _stats(root: strawberry.Parent[Any], info: Info, **options: Any) -> SessionStats | None:
    operation = info.context
    window, label = operation.window(StatsOptions(**options))
    # None were looked up where the window is the page's own, or no statistic of it is selected.
    found = operation.results_by_window.get((info.root_key, window))
    row: Any = row_of(found, root.id, info.raw.path) if found else root
    seen: SessionStats | None = row and _WindowRow(f"{root.id}:{label}", *_statistics_of(row))
    return seen


def _with_arguments_of(options: type, resolver: Callable[..., Any]) -> Callable[..., Any]:
    """The resolver with one keyword argument for each field of an input type, in place of its `**` parameter."""
    types = typing.get_type_hints(options)
    lines = get_object_definition(options, strict=True).fields
    signature = inspect.signature(resolver)
    positional = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(
            line.python_name,
            inspect.Parameter.KEYWORD_ONLY,
            default=line.default,
            annotation=Annotated[types[line.python_name], strawberry.argument(description=line.description)],
        )
        for line in lines
    ]
    derived: Any = resolver
    derived.__signature__ = signature.replace(parameters=[*positional, *keywords])
    derived.__annotations__ = {each.name: each.annotation for each in (*positional, *keywords)} | {
        "return": signature.return_annotation
    }
    return resolver


@strawberry.type(description="A tracing project, or an experiment if it has a reference dataset.")
class Session(Columns, Statistics):
    stats: SessionStats | None = strawberry.field(
        resolver=_with_arguments_of(StatsOptions, _stats),
        description="Statistics over another window of the runs, next to the session's own. Each distinct window costs "
        "one request to LangSmith for all the rows of an operation (per 100), however often it is selected.",
    )

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, Row)


@strawberry.type(description="Where a page lies among all the sessions.")
class PageInfo:
    has_next_page: bool = strawberry.field(
        description="Whether more sessions follow. Selecting it asks LangSmith for one row more, or at full pages of "
        "100 for one more row in a request of its own."
    )
    has_previous_page: bool = strawberry.field(description="Whether sessions come before.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first session; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last session; null on an empty page.")


@strawberry.type(description="A session at its place in a connection.")
class SessionEdge:
    cursor: str = strawberry.field(description="Where it stands, for `after` and `before`.")
    node: Session = strawberry.field(description="The session.")


@strawberry.type(description="A page of sessions. LangSmith knows no total, so there is none here.")
class SessionConnection:
    edges: list[SessionEdge] = strawberry.field(description="The sessions with their cursors.")
    nodes: list[Session] = strawberry.field(description="The sessions.")
    page_info: PageInfo = strawberry.field(description="Where this page lies among all the sessions.")


WANTED: Final = {to_camel_case(name): name for name in _STATISTICS}
"""From the GraphQL names of the statistics and facets to LangSmith's."""


def field_of(schema: GraphQLSchema, type_name: str, field_name: str) -> GraphQLField:
    """Of an object type of this module or of `schema`."""
    field: GraphQLField = cast(GraphQLObjectType, schema.type_map[type_name]).fields[field_name]
    return field


def statistics_in(selection: Selection) -> frozenset[str]:
    return frozenset(WANTED[name] for name in selection.names & WANTED.keys())


def windows_in(selection: Selection, info: Info) -> dict[StatsWindow, frozenset[str]]:
    """The statistics that `stats` fields select below sessions, by window. Raises BadUserInput."""
    windows: dict[StatsWindow, frozenset[str]] = {}
    for arguments, below in selection.calls("stats", field_of(info.raw.schema, "Session", "stats")):
        window, _ = info.context.window(StatsOptions(**arguments))
        if statistics := statistics_in(below):
            windows[window] = windows.get(window, frozenset()) | statistics
    return windows

"""The object types: a session, its statistics over a further window, and the connection through which lists are read.

A resolver returns LangSmith's row itself where the schema says `Session` (see `as_session`): a row has the attributes
that the fields of a session read.
"""

import inspect
import typing
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, Final, cast

import msgspec
import strawberry
from strawberry.types.base import get_object_definition

from app.execution.resolve_info import FieldCache, ResolveInfo, field_cache_of
from app.execution.selection import Selection
from app.schema.context import OperationContext
from app.schema.loader import FailedLookup, LaterLookup, row_of
from app.schema.pushdown import STATISTICS
from app.sessions.arguments import StatsOptions
from app.sessions.fields import Columns, Statistics
from app.sessions.row import LISTED, Row


class Info(strawberry.Info[OperationContext, None]):
    """Strawberry's info, with the selection below the field and a cache for what the resolver derives from it."""

    def selection(self, object_type: str) -> Selection:
        """The fields selected of the objects of this type that the field returns."""
        cache = self.field_cache
        selection = cache.get(Selection)
        if selection is None or selection.object_type.name != object_type:
            selection = cache.set(self._selection_below(object_type))
        return selection

    def _selection_below(self, object_type: str) -> Selection:
        info = self.raw
        if isinstance(info, ResolveInfo) and not info.path.prev:
            return info.roots.below_key(info.field_name, self.root_key, object_type)
        return Selection.below(info, object_type)

    def deferred_selection(self, object_type: str) -> Selection | None:
        """What the operation's deferred fragments select of these objects; None if they do not select the field.

        The field must be a root field.
        """
        nodes = self.context.deferred_fields.get(self.root_key)
        return Selection.below(self.raw, object_type, nodes=nodes) if nodes else None

    @property
    def field_cache(self) -> FieldCache:
        """The field's cache, which lasts as long as the operation stays prepared with the same variables."""
        return field_cache_of(self._raw_info)

    @property
    def raw(self) -> Any:
        """The info of the executor. It is typed Any because Strawberry's annotation lacks what it adds."""
        return self._raw_info

    @property
    def root_key(self) -> str:
        """The response key of the root field above this field."""
        path = self.raw.path
        while path.prev:
            path = path.prev
        return str(path.key)


@strawberry.type(description="The statistics of one session, computed over one window of its runs.")
class SessionStats(Statistics):
    id: strawberry.ID = strawberry.field(
        description="Identifies the session together with the window, so that clients that normalise by id keep "
        "windows apart. It is not an argument for `node`."
    )


_values_of: Final = attrgetter(*STATISTICS)
_WindowRow: Final[Any] = msgspec.defstruct(
    "_WindowRow", [("id", str), *((name, Any) for name in STATISTICS)], namespace={**LISTED}, gc=False
)


def _resolve_stats(root: strawberry.Parent[Any], info: Info, **options: Any) -> SessionStats | None:
    # There is no lookup if the window is the page's own, or if the field selects no statistic. The row of the page is
    # then sufficient.
    result, label = info.context.window_result(info.root_key, (*options.items(),))
    row: Any = root
    if isinstance(result, LaterLookup):
        row = result.row_of(root)
        if row and isinstance(result.found, FailedLookup):
            info.context.report_failed(result.found, info.raw.path.as_list(), info.raw)
    elif result:
        row = row_of(result, root.id, info.raw.path)
    stats: SessionStats | None = row and _WindowRow(f"{root.id}:{label}", *_values_of(row))
    return stats


def _with_arguments_of(options: type, resolver: Callable[..., Any]) -> Callable[..., Any]:
    """The resolver, with one keyword argument for each field of an input type in place of its `**` parameter."""
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


@strawberry.type(
    description="A tracing project, or an experiment if `referenceDatasetId` is set. Its columns cost nothing extra; "
    "its statistics are computed by LangSmith only if they are selected."
)
class Session(Columns, Statistics):
    stats: SessionStats | None = strawberry.field(
        resolver=_with_arguments_of(StatsOptions, _resolve_stats),
        description="The same statistics over a further window of the runs, such as "
        '`day: stats(last: "PT24H") { runCount }` beside the session\'s own `runCount`. Each distinct window costs one '
        "request to LangSmith per 100 sessions of the operation, however often it is selected. Null if that request "
        "fails.",
    )

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, Row)


def as_session(row: Row) -> Session:
    """The row as GraphQL's `Session`, unchanged: its attributes are those that the fields read."""
    return cast(Session, row)


@strawberry.type(description="Where a page of sessions lies in the whole list.")
class PageInfo:
    has_next_page: bool = strawberry.field(
        description="Whether more sessions follow. If it is selected, LangSmith is asked for one session more; if "
        "`first` or `last` is a multiple of 100, it can take one more request."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether there are sessions before the page. If it is selected, and the page is empty and does "
        "not start at the first session, it takes one more request."
    )
    start_cursor: str | None = strawberry.field(
        description="Cursor of the first session, for `before`. Null if the page is empty."
    )
    end_cursor: str | None = strawberry.field(
        description="Cursor of the last session, for `after`. Null if the page is empty."
    )


@strawberry.type(description="A session together with its cursor.")
class SessionEdge:
    cursor: str = strawberry.field(
        description="Opaque position of the session in the list, for `after` and `before`. It is valid for the same "
        "filter and order only."
    )
    node: Session = strawberry.field(description="The session at this position.")


@strawberry.type(description="A page of sessions. There is no total count, because LangSmith does not provide one.")
class SessionConnection:
    edges: list[SessionEdge] = strawberry.field(description="The sessions of the page, each with its cursor.")
    nodes: list[Session] = strawberry.field(description="The sessions of the page, for clients that need no cursors.")
    page_info: PageInfo = strawberry.field(
        description="Whether there are further pages, and the cursors to reach them."
    )

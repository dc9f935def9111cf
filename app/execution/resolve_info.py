"""The `info` that resolvers receive from a plan, with a cache for what they derive from their selection."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.pyutils import Path

from app.execution.selection import Selection

T = TypeVar("T")


class FieldCache:
    """Values that a field's resolver derived from its selection and arguments, one per type.

    A plan keeps one cache for each field and each set of variables. Only values that are the same in every run of
    the operation may be stored.
    """

    def __init__(self) -> None:
        self._values: dict[type, Any] = {}

    def get(self, kind: type[T]) -> T | None:
        """The value of exactly this type; None if it was not stored."""
        value: T | None = self._values.get(kind)
        return value

    def set(self, value: T) -> T:
        """Store a value under its type, in place of an earlier one. Returns the value."""
        self._values[type(value)] = value
        return value


class ResolveInfo(NamedTuple):
    """The attributes of graphql-core's `GraphQLResolveInfo` that Strawberry's resolvers read, and two of our own.

    `field_cache`: see there. `roots`: the root fields of the operation.
    """

    field_name: str
    field_nodes: list[FieldNode]
    return_type: GraphQLOutputType
    parent_type: GraphQLObjectType
    path: Path
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    root_value: Any
    operation: OperationDefinitionNode
    variable_values: Mapping[str, Any]
    context: Any
    operation_extensions: Mapping[str, Any]
    field_cache: FieldCache
    roots: Selection


def field_cache_of(info: object) -> FieldCache:
    """The cache of the field that is being resolved; an empty one if graphql-core runs the operation."""
    return info.field_cache if isinstance(info, ResolveInfo) else FieldCache()

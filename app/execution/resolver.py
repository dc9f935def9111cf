"""Calls a field's resolver as Strawberry does, with arguments that are converted once per set of variables."""

from typing import Any, Final, NamedTuple

import strawberry
from graphql import GraphQLField, GraphQLSchema
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField

DEFINITION: Final = "strawberry-definition"
"""The key in the extensions of a graphql-core field under which Strawberry stores its own field."""


def graphql_core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """The graphql-core schema that a Strawberry schema wraps."""
    return schema._schema  # noqa: SLF001 - Strawberry 0.341 has no public way to it


_PLAIN_TYPES: Final = (int, str, bool, float)
"""Types whose values Strawberry does not convert."""


class _Argument(NamedTuple):
    """An argument of a resolver: its names in GraphQL and in Python, and whether its value needs no conversion."""

    name: str
    python_name: str
    type: Any
    is_plain: bool


class Resolver:
    """The resolver of one field.

    A field with extensions, permissions or exception handlers is resolved by Strawberry's own wrapper. Any other
    resolver is called directly.
    """

    def __init__(self, schema: strawberry.Schema, field: GraphQLField) -> None:
        definition: StrawberryField = field.extensions[DEFINITION]
        self._schema = schema
        self._definition = definition
        self._strawberry_resolver: Any = field.resolve
        resolver = definition.base_resolver
        self._is_plain = bool(resolver) and not definition.extensions and not schema.exception_handlers
        self._arguments = [self._argument(each) for each in definition.arguments] if self._is_plain else []
        if resolver:
            self._takes_self = resolver.self_parameter is not None
            parents = (resolver.parent_parameter, resolver.root_parameter)
            self._parents = {each.name for each in parents if each}
            self._info = resolver.info_parameter.name if resolver.info_parameter else None

    def convert_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Turn coerced arguments into the keyword arguments of the resolver."""
        if not self._is_plain:
            return arguments
        converted: dict[str, Any] = {}
        for each in self._arguments:
            if each.name in arguments:
                value = arguments[each.name]
                converted[each.python_name] = value if each.is_plain else self._convert(value, each)
        return converted

    def _convert(self, value: Any, argument: "_Argument") -> Any:
        registry = self._schema.schema_converter.scalar_registry
        return convert_argument(value, argument.type, registry, self._schema.config, path=(argument.name,))

    def _argument(self, argument: StrawberryArgument) -> "_Argument":
        kind = argument.type
        inner = kind.of_type if type(kind) is StrawberryOptional else kind
        name = self._schema.config.name_converter.from_argument(argument)
        return _Argument(name, argument.python_name, kind, inner in _PLAIN_TYPES)

    def __call__(self, source: Any, info: Any, converted: dict[str, Any]) -> Any:
        if not self._is_plain:
            return self._strawberry_resolver(source, info, **converted)
        arguments = dict(converted)
        for name in self._parents:
            arguments[name] = source
        if self._info:
            arguments[self._info] = self._schema.config.info_class(_raw_info=info, _field=self._definition)
        resolve: Any = self._definition.base_resolver
        return resolve(source, **arguments) if self._takes_self else resolve(**arguments)

"""A field's resolver, called as Strawberry calls it; but arguments are converted once, and need not be each time."""

from typing import Any, Final

import strawberry
from graphql import GraphQLField, GraphQLSchema
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

DEFINITION: Final = "strawberry-definition"
"""Under which graphql-core's fields have Strawberry's."""


def graphql_core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """graphql-core's own."""
    return schema._schema  # noqa: SLF001 - Strawberry has no public name for it


class Resolver:
    """Strawberry's own way is taken where something hooks into the field: extensions, permissions, handlers."""

    def __init__(self, schema: strawberry.Schema, field: GraphQLField) -> None:
        definition: StrawberryField = field.extensions[DEFINITION]
        self._schema = schema
        self._definition = definition
        self._strawberrys: Any = field.resolve
        resolver = definition.base_resolver
        self._is_plain = bool(resolver) and not definition.extensions and not schema.exception_handlers
        if resolver:
            self._takes_self = resolver.self_parameter is not None
            parents = (resolver.parent_parameter, resolver.root_parameter)
            self._parents = {each.name for each in parents if each}
            self._info = resolver.info_parameter.name if resolver.info_parameter else None

    def converted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Coerced arguments as they are passed to a call."""
        if not self._is_plain:
            return arguments
        return convert_arguments(
            arguments,
            self._definition.arguments,
            scalar_registry=self._schema.schema_converter.scalar_registry,
            config=self._schema.config,
        )

    def __call__(self, source: Any, info: Any, converted: dict[str, Any]) -> Any:
        if not self._is_plain:
            return self._strawberrys(source, info, **converted)
        arguments = dict(converted)
        for name in self._parents:
            arguments[name] = source
        if self._info:
            arguments[self._info] = self._schema.config.info_class(_raw_info=info, _field=self._definition)
        resolve: Any = self._definition.base_resolver
        return resolve(source, **arguments) if self._takes_self else resolve(**arguments)

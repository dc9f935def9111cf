"""The variables of an operation, coerced as graphql-core does, but in less time for plain scalars.

A value of a built-in scalar that is of the right Python type is its own coerced value. Everything else (another type,
an input object, a list, an enum, a scalar of the schema, a default value, an error) is left to graphql-core.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLID,
    GraphQLInt,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    VariableDefinitionNode,
)
from graphql.execution.values import VariableValues

_MAX_INT: Final = 2**31
_IS_PLAIN: Final[dict[str, tuple[GraphQLScalarType, Callable[[Any], bool]]]] = {
    "Int": (GraphQLInt, lambda value: type(value) is int and -_MAX_INT <= value < _MAX_INT),
    "String": (GraphQLString, lambda value: type(value) is str),
    "Boolean": (GraphQLBoolean, lambda value: type(value) is bool),
    "ID": (GraphQLID, lambda value: type(value) is str),
}
"""By the name of a scalar: the scalar, and whether a value needs no coercion."""


class VariablePlan:
    """How the variables of one operation are coerced."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._checks = [_check_of(schema, each) for each in operation.variable_definitions or ()]

    def coerce(self, given: Mapping[str, Any]) -> VariableValues | None:
        """The coerced variables; None if graphql-core has to coerce them."""
        coerced: dict[str, Any] = {}
        for check in self._checks:
            if check is None:
                return None
            name, is_plain, is_required = check
            if name in given:
                value = given[name]
                if not (is_plain(value) or (value is None and not is_required)):
                    return None
                coerced[name] = value
            elif is_required:
                return None
        return VariableValues({}, coerced)


def _check_of(
    schema: GraphQLSchema, definition: VariableDefinitionNode
) -> tuple[str, Callable[[Any], bool], bool] | None:
    """The variable's name, whether a value is plain, and whether there must be one; None if graphql-core decides."""
    is_required = isinstance(definition.type, NonNullTypeNode)
    kind = definition.type.type if isinstance(definition.type, NonNullTypeNode) else definition.type
    if not isinstance(kind, NamedTypeNode) or kind.name.value not in _IS_PLAIN or definition.default_value:
        return None
    scalar, is_plain = _IS_PLAIN[kind.name.value]
    if schema.type_map.get(scalar.name) is not scalar:
        return None
    return definition.variable.name.value, is_plain, is_required

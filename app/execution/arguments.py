"""The arguments of one field of a document, coerced as graphql-core does, but for each document and not each request.

A literal has the same value in every run, and the value of a variable was coerced with the variables. Only a variable
inside of a literal, such as `{nameContains: $text}`, has to be coerced in each run, by graphql-core. So has every
argument that cannot be coerced, so that the error is graphql-core's own.
"""

from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    Node,
    ValueNode,
    VariableNode,
    Visitor,
    get_argument_values,
    is_non_null_type,
    is_required_argument,
    visit,
)
from graphql.execution.values import VariableValues, coerce_argument


class _FromVariable(NamedTuple):
    """An argument whose value is a whole variable. `default` has the argument's own default value, if it has one."""

    name: str
    variable: str
    default: dict[str, Any]
    is_required: bool
    is_non_null: bool


class ArgumentPlan:
    """How the arguments of one field are coerced.

    Args:
        definition: The field of the schema.
        node: The field in a valid document.
    """

    def __init__(self, definition: GraphQLField, node: FieldNode) -> None:
        self._definition = definition
        self._node = node
        self._constants: dict[str, Any] = {}
        self._from_variables: list[_FromVariable] = []
        self._is_plain = True
        given = {each.name.value: each for each in node.arguments or ()}
        for name, argument in definition.args.items():
            value = given[name].value if name in given else None
            if isinstance(value, VariableNode):
                self._from_variables.append(self._from_variable(name, argument, value))
            elif value is not None and _has_variables(value):
                self._is_plain = False
            else:
                self._add_constant(name, argument)

    def coerce(self, variables: VariableValues) -> dict[str, Any]:
        """The values by name, in a dict of their own. Raises GraphQLError for values that cannot be coerced."""
        if not self._is_plain:
            return get_argument_values(self._definition, self._node, variables)
        values = dict(self._constants)
        coerced = variables.coerced
        for name, variable, default, is_required, is_non_null in self._from_variables:
            if variable in coerced:
                value = values[name] = coerced[variable]
                is_wrong = is_non_null and value is None
            else:
                values.update(default)
                is_wrong = is_required
            if is_wrong:
                return get_argument_values(self._definition, self._node, variables)
        return values

    def _add_constant(self, name: str, argument: GraphQLArgument) -> None:
        node = next((each for each in self._node.arguments or () if each.name.value == name), None)
        try:
            coerce_argument(self._constants, self._node, name, argument, node, None, None)
        except GraphQLError:
            self._is_plain = False

    def _from_variable(self, name: str, argument: GraphQLArgument, value: VariableNode) -> _FromVariable:
        default: dict[str, Any] = {}
        is_required = is_required_argument(argument)
        if not is_required:
            coerce_argument(default, self._node, name, argument, None, None, None)
        out_name = argument.out_name or name
        return _FromVariable(out_name, value.name.value, default, is_required, is_non_null_type(argument.type))


def _has_variables(value: ValueNode) -> bool:
    class Finder(Visitor):
        found = False

        def enter_variable(self, _node: Node, *_: Any) -> None:
            self.found = True

    finder = Finder()
    visit(value, finder)
    return finder.found

"""Example values for required variables that have no value: one for each type of the schema."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from graphql import (
    DefinitionNode,
    GraphQLInputType,
    VariableNode,
    Visitor,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
    is_required_input_field,
    type_from_ast,
    visit,
)

from app.check.operations import FrontendOperation
from app.check.report import PLACEHOLDER_END, PLACEHOLDER_START, OperationVariables
from app.schema.pagination import cursor_at
from app.sessions.scalars import format_datetime

_UUID_NAMESPACE: Final = uuid.UUID(int=0)

EXAMPLES: Final[dict[str, Any]] = {
    "Int": 20,
    "BigInt": 20,
    "Float": 0.5,
    "Decimal": "0.5",
    "Boolean": True,
    "Duration": "PT24H",
    "JSON": {"key": "value"},
    # A cursor, because `after` and `before` are strings too and refuse other text.
    "String": lambda number: cursor_at(19 + 20 * number),
    "ID": lambda number: str(uuid.uuid5(_UUID_NAMESPACE, f"${number}")),
    "UUID": lambda number: str(uuid.uuid5(_UUID_NAMESPACE, f"${number}")),
    "DateTime": lambda number: format_datetime(datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=number)),
}
"""Example value by scalar type.

A function makes a different value for each number. Such values are recognised in the requests, where `<$name>` is
printed in their place; the others are printed as they are.
"""


@dataclass
class ExampleVariables:
    """Builds the variables of one operation from the given values and from examples.

    Args:
        schema: The graphql-core schema.
        operation: The operation that declares the variables.
        given: Values by variable name.
        placeholders: Filled while examples are made: by example value, the placeholder to print in its place.
    """

    schema: Any
    operation: FrontendOperation
    given: Mapping[str, Any]
    placeholders: dict[str, str] = field(default_factory=dict)

    def build(self) -> OperationVariables:
        """The variables to run the operation with: optional ones without a value are left out."""
        assumed: dict[str, Any] = {}
        left_out: list[str] = []
        skip_variables = _variables_of_skip(self.operation.definitions)
        for definition in self.operation.operation.variable_definitions or ():
            name = definition.variable.name.value
            kind = cast(GraphQLInputType | None, type_from_ast(self.schema, cast(Any, definition.type)))
            if name in self.given or definition.default_value or kind is None:
                continue
            if is_non_null_type(kind):
                # Fields that `@skip` leaves out would be missing from the requests and from the cost.
                assumed[name] = False if name in skip_variables else self._example(kind, f"${name}")
            else:
                left_out.append(name)
        return OperationVariables({**assumed, **self.given}, assumed, tuple(left_out), self.placeholders)

    def _example(self, kind: Any, path: str) -> Any:
        """Example value of a type. `path` is the variable, with the input fields to the value: `$filter.name`."""
        if is_non_null_type(kind):
            return self._example(kind.of_type, path)
        if is_list_type(kind):
            return [self._example(kind.of_type, path)]
        if is_enum_type(kind):
            return next(iter(kind.values))
        if is_input_object_type(kind):
            required = {name: each for name, each in kind.fields.items() if is_required_input_field(each)}
            return {name: self._example(each.type, f"{path}.{name}") for name, each in required.items()}
        example = EXAMPLES[kind.name]
        if not callable(example):
            return example
        text = example(len(self.placeholders))
        self.placeholders[text] = f"{PLACEHOLDER_START}{path}{PLACEHOLDER_END}"
        return text


def _variables_of_skip(definitions: Iterable[DefinitionNode]) -> set[str]:
    """Names of the variables that `@skip(if:)` takes."""

    class SkipVisitor(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.names: set[str] = set()

        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [each.value for each in node.arguments or () if node.name.value == "skip"]
            self.names.update(each.name.value for each in values if isinstance(each, VariableNode))

    visitor = SkipVisitor()
    for definition in definitions:
        visit(definition, visitor)
    return visitor.names

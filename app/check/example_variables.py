"""Values for variables that have none: as `EXAMPLES` for their types, unlike each other where they can be."""

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
from app.check.report import CLOSE, OPEN, Variables
from app.schema.pagination import cursor_of
from app.sessions.scalars import as_text

MADE_UP: Final = uuid.UUID(int=0)


@dataclass
class ExampleVariables:
    """Makes up values for variables that have none: as `EXAMPLES` for their types, unlike each other where they can be.

    A string is a cursor too, for `after` and `before`, as long as nobody looks.
    """

    schema: Any
    sent: FrontendOperation
    given: Mapping[str, Any]
    stands: dict[str, str] = field(default_factory=dict)

    def variables(self) -> Variables:
        assumed: dict[str, Any] = {}
        left_out: list[str] = []
        only_skip = _only_skip(self.sent.definitions)
        for each in self.sent.operation.variable_definitions or ():
            name = each.variable.name.value
            kind = cast(GraphQLInputType | None, type_from_ast(self.schema, cast(Any, each.type)))
            if name in self.given or each.default_value or kind is None:
                continue
            if not is_non_null_type(kind):
                left_out.append(name)
            else:
                assumed[name] = False if name in only_skip else self._example(kind, f"${name}")
        return Variables({**assumed, **self.given}, assumed, tuple(left_out), self.stands)

    def _example(self, kind: Any, path: str) -> Any:
        if is_non_null_type(kind):
            return self._example(kind.of_type, path)
        if is_list_type(kind):
            return [self._example(kind.of_type, path)]
        if is_enum_type(kind):
            return next(iter(kind.values))
        if is_input_object_type(kind):
            needed = {name: each for name, each in kind.fields.items() if is_required_input_field(each)}
            return {name: self._example(each.type, f"{path}.{name}") for name, each in needed.items()}
        example = EXAMPLES[kind.name]
        if not callable(example):
            return example
        text = example(len(self.stands))
        self.stands[text] = f"{OPEN}{path}{CLOSE}"
        return text


EXAMPLES: Final[dict[str, Any]] = {
    "Int": 20,
    "BigInt": 20,
    "Float": 0.5,
    "Decimal": "0.5",
    "Boolean": True,
    "Duration": "PT24H",
    "JSON": {"key": "value"},
    "String": lambda number: cursor_of(19 + 20 * number),
    "ID": lambda number: str(uuid.uuid5(MADE_UP, f"${number}")),
    "UUID": lambda number: str(uuid.uuid5(MADE_UP, f"${number}")),
    "DateTime": lambda number: as_text(datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=number)),
}
"""What is assumed of a variable by its type: of its functions something else for each, which is shown as `<$name>`."""


def _only_skip(definitions: Iterable[DefinitionNode]) -> set[str]:
    """Variables of `@skip`: true, they would hide what there is to see."""

    class Skips(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.found: set[str] = set()

        def enter_directive(self, node: Any, *_: Any) -> None:
            values = [each.value for each in node.arguments or () if node.name.value == "skip"]
            self.found.update(each.name.value for each in values if isinstance(each, VariableNode))

    skips = Skips()
    for each in definitions:
        visit(each, skips)
    return skips.found

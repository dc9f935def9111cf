"""Limits on the size, depth and cost of one operation, checked before it runs.

The checks take time linear in the size of the document, because each fragment is visited once, however often it is
spread. Introspection has no limit of depth here: tools need it, and graphql-core's validation limits it. How often an
operation may introspect is limited, because it costs milliseconds that no cost in units shows.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    ListValueNode,
    OperationDefinitionNode,
    SelectionNode,
    Visitor,
    visit,
)

from app.errors import OperationTooExpensiveError

_SCHEMA, _TYPE = "__schema", "__type"
_DEFER: Final = GraphQLDeferDirective.name
_ADVICE: Final = "Split it, or ask for less."


MAX_CHARACTERS: Final = 65_536
"""Characters in a document. Whitespace, comments and long strings take time to parse but count as few tokens."""
MAX_FIELDS: Final = 2000
"""Fields that an operation selects. The fields of a fragment count each time that it is spread."""
MAX_ROOT_FIELDS: Final = 20
"""Root fields of an operation, counted in the same way."""
MAX_FRAGMENTS: Final = 100
"""Fragment definitions in a document."""
MAX_SCHEMA_FIELDS: Final = 1
"""`__schema` fields in an operation, counted as its fields are."""
MAX_TYPE_FIELDS: Final = 5
"""`__type` fields in an operation, counted in the same way."""
MAX_INTROSPECTION_ALIASES: Final = 3
"""Aliases of fields with a selection inside introspection: each shows a part of the schema once more."""
MAX_DIRECTIVES: Final = 100
"""Directives in an operation, counted as its fields are."""
MAX_DEFERRED: Final = 20
"""Fragments with `@defer` in an operation, counted in the same way. Each is an operation of its own."""
MAX_REPEATS: Final = 100
"""Fields in a document that share one response key. Validation compares each pair of them."""
MAX_LIST: Final = 1000
"""Values in one list of a document or of its variables."""
MAX_VARIABLES_BYTES: Final = 128 * 1024
"""Size of the variables as JSON."""
MAX_VARIABLES_DEPTH: Final = 100
"""Nesting of the variables."""


@dataclass(frozen=True)
class OperationLimits:
    """The limits that are settings. The constants of this module are further limits, far above ordinary operations.

    Every check raises OperationTooExpensiveError.

    Args:
        tokens: Lexical tokens in a document.
        depth: Nesting of fields.
        aliases: Aliases in an operation.
        cost: Units, as the executor's cost function computes them.
    """

    tokens: int
    depth: int
    aliases: int
    cost: int

    def check_length(self, document: str) -> None:
        """Check the text of a document, before it is parsed."""
        _refuse_beyond(MAX_CHARACTERS, len(document), "is {} characters long")

    def tokens_error(self) -> OperationTooExpensiveError:
        """The error of a document that has too many tokens. The parser stops at the first one beyond the limit."""
        message = f"This document has more than {self.tokens} tokens, which is the limit. {_ADVICE}"
        return OperationTooExpensiveError(message, limit=self.tokens, value=self.tokens + 1)

    def check_shape(self, document: DocumentNode) -> None:
        """Check a parsed document, before it is validated."""
        shapes = _Shapes(document)
        _refuse_beyond(MAX_FRAGMENTS, shapes.fragments, "has {} fragments")
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                shape = shapes.of_operation(definition)
                _refuse_beyond(self.depth, shape.depth, "is {} fields deep")
                _refuse_beyond(self.aliases, shape.aliases, "has {} aliases")
                _refuse_beyond(MAX_ROOT_FIELDS, shape.roots, "has {} root fields")
                _refuse_beyond(MAX_SCHEMA_FIELDS, shape.schema_fields, "has {} __schema fields")
                _refuse_beyond(MAX_TYPE_FIELDS, shape.type_fields, "has {} __type fields")
                _refuse_beyond(MAX_INTROSPECTION_ALIASES, shape.introspection_aliases, "has {} introspection aliases")
                _refuse_beyond(MAX_FIELDS, shape.fields, "selects {} fields")
                _refuse_beyond(MAX_DIRECTIVES, shape.directives, "has {} directives")
                _refuse_beyond(MAX_DEFERRED, shape.deferred, "defers {} fragments")
        counter = _DocumentCounter()
        visit(document, counter)
        _refuse_beyond(MAX_LIST, counter.longest_list, "has a list of {} values")
        _refuse_beyond(MAX_REPEATS, max(counter.response_keys.values(), default=0), "repeats a field {} times")

    def check_variables(self, variables: Mapping[str, Any], size: int) -> None:
        """Check variables, whose size as JSON is `size` bytes."""
        _refuse_beyond(MAX_VARIABLES_BYTES, size, "has variables of {} bytes")
        if variables:
            depth, longest = _depth_and_longest(variables)
            _refuse_beyond(MAX_VARIABLES_DEPTH, depth, "has variables that are nested {} deep")
            _refuse_beyond(MAX_LIST, longest, "has a list of {} values")

    def check_cost(self, cost: int) -> None:
        """Check the cost of an operation, as the executor's cost function computes it."""
        _refuse_beyond(self.cost, cost, "costs {} units")


def _refuse_beyond(limit: int, value: int, what: str) -> None:
    if value > limit:
        raise OperationTooExpensiveError(
            f"This operation {what.format(value)}, and {limit} are allowed. {_ADVICE}", limit=limit, value=value
        )


class _DocumentCounter(Visitor):
    """Counts what a document contains as it is written, whichever fragments are spread."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_list = 0
        self.response_keys: Counter[str] = Counter()

    def enter_list_value(self, node: ListValueNode, *_: Any) -> None:
        self.longest_list = max(self.longest_list, len(node.values))

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.response_keys[(node.alias or node.name).value] += 1


def _depth_and_longest(value: object) -> tuple[int, int]:
    """How deep a JSON value is nested, and the length of its longest list. Works level by level, without recursion."""
    depth = longest = 0
    level = [value]
    while level:
        longest = max(longest, *(len(each) for each in level if isinstance(each, list)), 0)
        level = [each for outer in level for each in _children(outer)]
        depth += bool(level)
    return depth, longest


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


@dataclass(frozen=True)
class _Shape:
    """The size of a selection. Fragments that spread fragments can make the numbers astronomical."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    roots: int = 0
    """Fields at the top level of the selection."""
    selecting_aliases: int = 0
    """Aliases of fields that have a selection of their own."""
    introspection_aliases: int = 0
    """Those of them that are inside introspection."""
    deferred: int = 0
    schema_fields: int = 0
    type_fields: int = 0


class _Shapes:
    """Computes shapes. A fragment counts each time that it is spread, but its shape is computed once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments: Mapping[str, FragmentDefinitionNode] = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._by_fragment: dict[str, _Shape] = {}

    @property
    def fragments(self) -> int:
        return len(self._fragments)

    def of_operation(self, operation: OperationDefinitionNode) -> _Shape:
        shape = self._of_selections(operation.selection_set.selections)
        on_variables = sum(len(each.directives or ()) for each in operation.variable_definitions or ())
        return replace(shape, directives=shape.directives + len(operation.directives or ()) + on_variables)

    def _of_selections(self, selections: Iterable[SelectionNode]) -> _Shape:
        shapes = [self._of_selection(each) for each in selections]
        return _Shape(
            depth=max((each.depth for each in shapes), default=0),
            aliases=sum(each.aliases for each in shapes),
            fields=sum(each.fields for each in shapes),
            directives=sum(each.directives for each in shapes),
            roots=sum(each.roots for each in shapes),
            selecting_aliases=sum(each.selecting_aliases for each in shapes),
            deferred=sum(each.deferred for each in shapes),
            introspection_aliases=sum(each.introspection_aliases for each in shapes),
            schema_fields=sum(each.schema_fields for each in shapes),
            type_fields=sum(each.type_fields for each in shapes),
        )

    def _of_selection(self, node: SelectionNode) -> _Shape:
        directives = len(node.directives or ())
        if isinstance(node, FieldNode):
            below = self._of_selections(node.selection_set.selections) if node.selection_set else _Shape()
            name = node.name.value
            introspects = name in (_SCHEMA, _TYPE)
            return replace(
                below,
                depth=0 if introspects else 1 + below.depth,
                aliases=below.aliases + (1 if node.alias else 0),
                fields=below.fields + 1,
                directives=below.directives + directives,
                roots=1,
                selecting_aliases=below.selecting_aliases + (1 if node.alias and node.selection_set else 0),
                introspection_aliases=below.selecting_aliases if introspects else below.introspection_aliases,
                schema_fields=below.schema_fields + (name == _SCHEMA),
                type_fields=below.type_fields + (name == _TYPE),
            )
        if isinstance(node, FragmentSpreadNode):
            shape = self._of_fragment(node.name.value)
        else:
            inline: Any = node
            shape = self._of_selections(inline.selection_set.selections)
        deferred = sum(each.name.value == _DEFER for each in node.directives or ())
        return replace(shape, directives=shape.directives + directives, deferred=shape.deferred + deferred)

    def _of_fragment(self, name: str) -> _Shape:
        if name not in self._by_fragment:
            self._by_fragment[name] = _Shape()  # a cycle counts as empty here, and validation refuses it afterwards
            if name in self._fragments:
                self._by_fragment[name] = self._of_selections(self._fragments[name].selection_set.selections)
        return self._by_fragment[name]

"""What one operation may cost, decided before it runs and in time linear in its document.

Each fragment is looked at once, however often it is spread. Introspection may be of any depth:
validation limits its own, and tools need it. *Cost* is upstream work: 1 for each request to LangSmith, and 1 for each
statistic in it.
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
    ListValueNode,
    OperationDefinitionNode,
    SelectionNode,
    Visitor,
    visit,
)

from app.errors import OperationTooExpensiveError

_INTROSPECTION: Final = {"__schema", "__type"}


MAX_CHARACTERS: Final = 65_536
"""Of a document; spaces, comments and strings are no more than a token each, or none, and take time all the same."""
MAX_FIELDS: Final = 2000
"""Fields that an operation selects, those of fragments counted wherever they are spread."""
MAX_ROOT_FIELDS: Final = 20
MAX_FRAGMENTS: Final = 100
MAX_DIRECTIVES: Final = 100
MAX_REPEATS: Final = 100
"""Fields of one name in the document; validation compares each with each."""
MAX_LIST: Final = 1000
"""Values in one list."""
MAX_VARIABLES_BYTES: Final = 128 * 1024
MAX_VARIABLES_DEPTH: Final = 100


@dataclass(frozen=True)
class OperationLimits:
    """Those that are settings; the others are constants of this module, which no honest operation comes near."""

    tokens: int
    depth: int
    aliases: int
    cost: int

    def check_length(self, document: str) -> None:
        """Raises OperationTooExpensive."""
        _refuse_beyond(MAX_CHARACTERS, len(document), "is {} characters long")

    def check_shape(self, document: DocumentNode) -> None:
        """Raises OperationTooExpensive."""
        shapes = _Shapes(document)
        _refuse_beyond(MAX_FRAGMENTS, shapes.fragments, "has {} fragments")
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                shape = shapes.of_operation(definition)
                _refuse_beyond(self.depth, shape.depth, "is {} fields deep")
                _refuse_beyond(self.aliases, shape.aliases, "has {} aliases")
                _refuse_beyond(MAX_ROOT_FIELDS, shape.roots, "has {} root fields")
                _refuse_beyond(MAX_FIELDS, shape.fields, "selects {} fields")
                _refuse_beyond(MAX_DIRECTIVES, shape.directives, "has {} directives")
        parts = _Parts()
        visit(document, parts)
        _refuse_beyond(MAX_LIST, parts.longest_list, "has a list of {} values")
        _refuse_beyond(MAX_REPEATS, max(parts.names.values(), default=0), "repeats a field {} times")

    def check_variables(self, variables: Mapping[str, Any], size: int) -> None:
        """`size`: bytes of them as JSON. Raises OperationTooExpensive."""
        _refuse_beyond(MAX_VARIABLES_BYTES, size, "has variables of {} bytes")
        if variables:
            depth, longest = _depth_and_longest(variables)
            _refuse_beyond(MAX_VARIABLES_DEPTH, depth, "has variables that are nested {} deep")
            _refuse_beyond(MAX_LIST, longest, "has a list of {} values")

    def check_cost(self, cost: int) -> None:
        """Raises OperationTooExpensive."""
        _refuse_beyond(self.cost, cost, "costs {} units of upstream work")


def _refuse_beyond(limit: int, value: int, what: str) -> None:
    if value > limit:
        raise OperationTooExpensiveError(
            f"This operation {what.format(value)}, and {limit} are allowed. Split it, or ask for less.",
            limit=limit,
            value=value,
        )


class _Parts(Visitor):
    """What is counted as it stands in the text. `names`: under which fields answer."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_list = 0
        self.names: Counter[str] = Counter()

    def enter_list_value(self, node: ListValueNode, *_: Any) -> None:
        self.longest_list = max(self.longest_list, len(node.values))

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.names[(node.alias or node.name).value] += 1


def _depth_and_longest(value: object) -> tuple[int, int]:
    """How deep a JSON value is nested, without nesting calls as deep, and the length of its longest list."""
    depth = longest = 0
    level = [value]
    while level:
        longest = max(longest, *(len(each) for each in level if isinstance(each, list)), 0)
        level = [each for outer in level for each in _inside(outer)]
        depth += bool(level)
    return depth, longest


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


@dataclass(frozen=True)
class _Shape:
    """Numbers may be astronomical where fragments spread fragments; they are only added up."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    roots: int = 0
    """Fields at the top of it."""


class _Shapes:
    """What selections come to, fragments counted in wherever they are spread but looked at once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments: Mapping[str, FragmentDefinitionNode] = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._known: dict[str, _Shape] = {}

    @property
    def fragments(self) -> int:
        return len(self._fragments)

    def of_operation(self, operation: OperationDefinitionNode) -> _Shape:
        shape = self._of(operation.selection_set.selections)
        on_variables = sum(len(each.directives or ()) for each in operation.variable_definitions or ())
        return replace(shape, directives=shape.directives + len(operation.directives or ()) + on_variables)

    def _of(self, selections: Iterable[SelectionNode]) -> _Shape:
        shapes = [self._of_one(each) for each in selections]
        return _Shape(
            depth=max((each.depth for each in shapes), default=0),
            aliases=sum(each.aliases for each in shapes),
            fields=sum(each.fields for each in shapes),
            directives=sum(each.directives for each in shapes),
            roots=sum(each.roots for each in shapes),
        )

    def _of_one(self, node: SelectionNode) -> _Shape:
        directives = len(node.directives or ())
        if isinstance(node, FieldNode):
            below = self._of(node.selection_set.selections) if node.selection_set else _Shape()
            return _Shape(
                depth=0 if node.name.value in _INTROSPECTION else 1 + below.depth,
                aliases=below.aliases + (1 if node.alias else 0),
                fields=below.fields + 1,
                directives=below.directives + directives,
                roots=1,
            )
        if isinstance(node, FragmentSpreadNode):
            spread = self._of_fragment(node.name.value)
        else:
            inline: Any = node
            spread = self._of(inline.selection_set.selections)
        return replace(spread, directives=spread.directives + directives)

    def _of_fragment(self, name: str) -> _Shape:
        if name not in self._known:
            self._known[name] = _Shape()  # a cycle adds nothing; validation refuses it afterwards
            if name in self._fragments:
                self._known[name] = self._of(self._fragments[name].selection_set.selections)
        return self._known[name]

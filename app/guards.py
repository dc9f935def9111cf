"""What one operation may cost, decided before it runs and in time linear in its document.

Depth and aliases are counted over the document with each fragment looked at once. Introspection may be of any depth:
validation limits its own, and tools need it. *Cost* is upstream work: 1 for each request to LangSmith, and 1 for each
statistic in it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionNode,
)

from app.errors import OperationTooExpensive

_INTROSPECTION: Final = {"__schema", "__type"}


@dataclass(frozen=True)
class Limits:
    tokens: int
    depth: int
    aliases: int
    cost: int

    def check_shape(self, document: DocumentNode) -> None:
        """Raises OperationTooExpensive."""
        shapes = _Shapes(document)
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                shape = shapes.of(definition.selection_set.selections)
                _refuse_beyond(self.depth, shape.depth, "is {} fields deep")
                _refuse_beyond(self.aliases, shape.aliases, "has {} aliases")

    def check_cost(self, cost: int) -> None:
        """Raises OperationTooExpensive."""
        _refuse_beyond(self.cost, cost, "costs {} units of upstream work")


def _refuse_beyond(limit: int, value: int, what: str) -> None:
    if value > limit:
        raise OperationTooExpensive(
            f"This operation {what.format(value)}, and {limit} are allowed. Split it, or ask for less.",
            limit=limit,
            value=value,
        )


@dataclass(frozen=True)
class _Shape:
    depth: int = 0
    aliases: int = 0


class _Shapes:
    """Depth and aliases of selections, fragments counted in wherever they are spread but looked at once."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments: Mapping[str, FragmentDefinitionNode] = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._known: dict[str, _Shape] = {}

    def of(self, selections: Iterable[SelectionNode]) -> _Shape:
        depth = aliases = 0
        for each in selections:
            if isinstance(each, FieldNode):
                below = self.of(each.selection_set.selections) if each.selection_set else _Shape()
                deep = 0 if each.name.value in _INTROSPECTION else 1 + below.depth
                shape = _Shape(deep, below.aliases + (1 if each.alias else 0))
            elif isinstance(each, FragmentSpreadNode):
                shape = self._of_fragment(each.name.value)
            else:
                shape = self.of(each.selection_set.selections)  # type: ignore[attr-defined]  # an inline fragment
            depth = max(depth, shape.depth)
            aliases += shape.aliases
        return _Shape(depth, aliases)

    def _of_fragment(self, name: str) -> _Shape:
        if name not in self._known:
            self._known[name] = _Shape()  # a cycle adds nothing; validation refuses it afterwards
            if name in self._fragments:
                self._known[name] = self.of(self._fragments[name].selection_set.selections)
        return self._known[name]

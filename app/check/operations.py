"""Operations as a frontend sends them: each with the fragments that it needs, wherever they are written."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from graphql import (
    DefinitionNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    Visitor,
    get_location,
    visit,
)

from app.check.report import Place

_LINE_END: Final = re.compile(r"\r\n|[\n\r]")


@dataclass(frozen=True)
class FrontendOperation:
    """What a frontend sends for an operation: it, and the fragments that it needs, as they are written."""

    operation: OperationDefinitionNode
    definitions: tuple[DefinitionNode, ...]

    @classmethod
    def of(
        cls, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> "FrontendOperation":
        return cls(operation, (operation, *needed_by(operation, fragments)))

    @property
    def name(self) -> str | None:
        return self.operation.name.value if self.operation.name else None

    @cached_property
    def text(self) -> str:
        return "\n".join(map(text_of, self.definitions))

    def place(self, line: int, column: int) -> Place:
        """Where that is which is there in the text."""
        for each in self.definitions:
            start, lines = place_of(each), len(_LINE_END.split(text_of(each)))
            if line <= lines:
                shift = start.column - 1 if line == 1 else 0
                return Place(start.file, start.line + line - 1, column + shift)
            line -= lines
        raise AssertionError("the text has fewer lines")


def needed_by(
    definition: OperationDefinitionNode | FragmentDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterable[FragmentDefinitionNode]:
    """The fragments that it spreads, and those spread in them."""
    needed: dict[str, FragmentDefinitionNode] = {}
    to_see: list[OperationDefinitionNode | FragmentDefinitionNode] = [definition]

    class Spreads(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
            name = node.name.value
            if name in fragments and name not in needed:
                needed[name] = fragments[name]
                to_see.append(fragments[name])

    while to_see:
        visit(to_see.pop(), Spreads())
    return needed.values()


def text_of(node: Any) -> str:
    return str(node.loc.source.body[node.loc.start : node.loc.end])


def place_of(node: Any) -> Place:
    at = get_location(node.loc.source, node.loc.start)
    return Place(node.loc.source.name, at.line, at.column)

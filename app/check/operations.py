"""Operations as a frontend sends them: each with the fragments that it uses, from whichever file they are in."""

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

from app.check.report import Location

_LINE_END: Final = re.compile(r"\r\n|[\n\r]")


@dataclass(frozen=True)
class FrontendOperation:
    """An operation, and the definitions that a frontend sends with it: the operation first, then its fragments."""

    operation: OperationDefinitionNode
    definitions: tuple[DefinitionNode, ...]

    @classmethod
    def of(
        cls, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> "FrontendOperation":
        """The operation with the fragments that it uses, directly or through other fragments."""
        return cls(operation, (operation, *required_fragments(operation, fragments)))

    @property
    def name(self) -> str | None:
        return self.operation.name.value if self.operation.name else None

    @cached_property
    def text(self) -> str:
        """The document to send: the definitions as they are written in their files."""
        return "\n".join(map(_source_text, self.definitions))

    def locate(self, line: int, column: int) -> Location:
        """Location in the source files of a line and column of `text`, both counted from 1."""
        for definition in self.definitions:
            start, lines = location_of(definition), len(_LINE_END.split(_source_text(definition)))
            if line <= lines:
                # Only the first line of a definition may begin in the middle of a line of its file.
                shift = start.column - 1 if line == 1 else 0
                return Location(start.file, start.line + line - 1, column + shift)
            line -= lines
        raise AssertionError("the text has fewer lines")


def required_fragments(
    definition: OperationDefinitionNode | FragmentDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterable[FragmentDefinitionNode]:
    """The fragments that a definition spreads, and those spread in them, each once. Unknown names are left out."""
    required: dict[str, FragmentDefinitionNode] = {}
    to_visit: list[OperationDefinitionNode | FragmentDefinitionNode] = [definition]

    class SpreadVisitor(Visitor):
        def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
            name = node.name.value
            if name in fragments and name not in required:
                required[name] = fragments[name]
                to_visit.append(fragments[name])

    while to_visit:
        visit(to_visit.pop(), SpreadVisitor())
    return required.values()


def location_of(node: Any) -> Location:
    """Where an AST node begins."""
    at = get_location(node.loc.source, node.loc.start)
    return Location(node.loc.source.name, at.line, at.column)


def _source_text(node: Any) -> str:
    return str(node.loc.source.body[node.loc.start : node.loc.end])

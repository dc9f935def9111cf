"""Which fields an operation really selects below one of its fields.

Aliases, fragments and `@skip`/`@include` with their variables are followed as execution will follow them. Every
interface of the schema has one implementation, so a fragment's type condition always holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    SelectionNode,
    get_argument_values,
    get_directive_values,
)
from graphql.execution.values import VariableValues


class Selection:
    def __init__(
        self,
        nodes: Iterable[FieldNode | OperationDefinitionNode],
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> None:
        self._fragments = fragments
        self._variables = variables
        self._by_name: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for node in nodes:
            if node.selection_set:
                for each in self._fields(node.selection_set.selections, visited):
                    self._by_name.setdefault(each.name.value, []).append(each)

    @classmethod
    def below(cls, info: Any) -> "Selection":
        """Below the field that is being resolved; `info` is Strawberry's, whose variables are a plain dict."""
        return cls(info.field_nodes, info.fragments, VariableValues({}, info.variable_values))

    @classmethod
    def of_operation(
        cls,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> "Selection":
        """Its root fields."""
        return cls((operation,), fragments, variables)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def names(self) -> frozenset[str]:
        """GraphQL names, whatever their aliases."""
        return frozenset(self._by_name)

    def at(self, *path: str) -> "Selection":
        """What is selected below the fields of that path."""
        selection = self
        for name in path:
            selection = selection._inside(selection._by_name.get(name, ()))
        return selection

    def __add__(self, other: "Selection") -> "Selection":
        both = self._inside(())
        for part in (self, other):
            for name, nodes in part._by_name.items():
                both._by_name.setdefault(name, []).extend(nodes)
        return both

    def calls(self, name: str, field: GraphQLField) -> Iterator[tuple[dict[str, Any], "Selection"]]:
        """Each call of a field: its coerced arguments, and what is selected below it.

        Raises GraphQLError for arguments that cannot be coerced.
        """
        for node in self._by_name.get(name, ()):
            yield get_argument_values(field, node, self._variables), self._inside((node,))

    def _inside(self, nodes: Iterable[FieldNode]) -> "Selection":
        return Selection(nodes, self._fragments, self._variables)

    def _fields(self, nodes: Iterable[SelectionNode], visited: set[str]) -> Iterator[FieldNode]:
        for node in nodes:
            if not self._included(node):
                continue
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, FragmentSpreadNode):
                if node.name.value not in visited:
                    visited.add(node.name.value)
                    yield from self._fields(self._fragments[node.name.value].selection_set.selections, visited)
            else:
                inline: Any = node
                yield from self._fields(inline.selection_set.selections, visited)

    def _included(self, node: SelectionNode) -> bool:
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and (include is None or include["if"])

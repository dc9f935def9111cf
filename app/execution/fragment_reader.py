"""Reads selections with their fragments, each fragment once: a document can spread them exponentially often."""

from collections.abc import Mapping
from typing import Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    get_directive_values,
)
from graphql.execution.values import VariableValues

KeyTree = dict[str, "KeyTree"]
"""The response keys of a selection, each with those below it."""
DEFER: Final = GraphQLDeferDirective.name


class FragmentReader:
    """Reads the selections of one operation. It reads each fragment once, however often it is spread."""

    def __init__(self, definitions: Mapping[str, FragmentDefinitionNode], variables: VariableValues) -> None:
        self._definitions = definitions
        self._variables = variables
        self._defers: dict[int, bool] = {}  # by the identity of a node, which lives as long as the document
        self._keys: dict[str, KeyTree] = {}

    def defers(self, node: SelectionNode | FragmentDefinitionNode) -> bool:
        """Whether there is a `@defer` at a node of the document or below it, at any depth."""
        if id(node) not in self._defers:
            self._defers[id(node)] = self._finds_defer(node)
        return self._defers[id(node)]

    def keys(self, selection: SelectionSetNode) -> KeyTree:
        """The response keys of a selection."""
        tree: KeyTree = {}
        for node in selection.selections:
            if not self.is_included(node):
                continue
            if isinstance(node, FieldNode):
                below = tree.setdefault(response_key(node), {})
                if node.selection_set:
                    merge_keys(below, self.keys(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                merge_keys(tree, self._keys_of_fragment(node.name.value))
            elif isinstance(node, InlineFragmentNode):
                merge_keys(tree, self.keys(node.selection_set))
        return tree

    def fields(self, selection: SelectionSetNode) -> list[FieldNode]:
        """The fields of a selection, those of its fragments included."""
        found: list[FieldNode] = []
        spread: set[str] = set()
        waiting = [*reversed(selection.selections)]
        while waiting:
            node = waiting.pop()
            if not self.is_included(node):
                continue
            if isinstance(node, FieldNode):
                found.append(node)
            elif isinstance(node, InlineFragmentNode):
                waiting += reversed(node.selection_set.selections)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                spread.add(node.name.value)
                waiting += reversed(self._definitions[node.name.value].selection_set.selections)
        return found

    def is_included(self, node: SelectionNode) -> bool:
        """Whether `@skip` and `@include` leave the node in. Raises GraphQLError."""
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and (include is None or bool(include["if"]))

    def _finds_defer(self, node: SelectionNode | FragmentDefinitionNode) -> bool:
        if any(each.name.value == DEFER for each in node.directives or ()):
            return True
        if isinstance(node, FragmentSpreadNode):
            return self.defers(self._definitions[node.name.value])
        below: SelectionSetNode | None = getattr(node, "selection_set", None)
        return below is not None and any(self.defers(each) for each in below.selections)

    def _keys_of_fragment(self, name: str) -> KeyTree:
        if name not in self._keys:
            self._keys[name] = self.keys(self._definitions[name].selection_set)
        return self._keys[name]


def merge_keys(tree: KeyTree, other: KeyTree) -> None:
    """Add the keys of another tree to a tree."""
    for key, below in other.items():
        merge_keys(tree.setdefault(key, {}), below)


def response_key(node: FieldNode) -> str:
    """The key of a field in the answer."""
    return (node.alias or node.name).value

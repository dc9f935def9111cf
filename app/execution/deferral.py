"""`@defer`: an operation is split into what is answered at once, and one operation for each deferred fragment.

The operation of a fragment has the fields that lead to the fragment's place, and the fragment. Spreads are replaced by
their fragments, and `@skip` and `@include` are applied, so that the parts have neither. Each part is then compiled and
run like any other operation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from graphql import (
    REMOVE,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Visitor,
    get_directive_values,
    visit,
)
from graphql.execution.values import VariableValues

N = TypeVar("N", bound=Node)

KeyTree = dict[str, "KeyTree"]
"""The response keys of a selection, each with those below it."""
_DEFER: Final = GraphQLDeferDirective.name


@dataclass(frozen=True, eq=False)
class DeferredFragment:
    """A fragment that is delivered later.

    Args:
        label: The label that the client gave it.
        path: The response keys from the root to its place. A list has no key: the fragment is in each of its items.
        parent: The position of the deferred fragment that it is inside of, which is delivered before it; or None.
        operation: The operation that resolves it: the fields of the path, and in the last one the fragment's fields.
        keys: The response keys of the fragment's fields.
    """

    label: str | None
    path: tuple[str, ...]
    parent: int | None
    operation: OperationDefinitionNode = field(repr=False)
    keys: KeyTree = field(repr=False)


@dataclass(frozen=True)
class SplitOperation:
    """An operation without its deferred fragments, and those fragments, each after its parent.

    `keys`: the response keys of `initial`.
    """

    initial: OperationDefinitionNode
    fragments: Sequence[DeferredFragment]
    keys: KeyTree

    def fields_by_root_key(self) -> dict[str, list[FieldNode]]:
        """The root fields of the fragments' operations, by response key."""
        found: dict[str, list[FieldNode]] = {}
        for fragment in self.fragments:
            for each in _fields(fragment.operation.selection_set):
                found.setdefault(_response_key(each), []).append(each)
        return found


def split_operation(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
) -> SplitOperation:
    """Split a valid operation at its active `@defer`s. Raises GraphQLError for arguments that cannot be coerced."""
    splitter = _Splitter(operation, fragments, variables)
    selection = splitter.rest(operation.selection_set, (), None)
    found = [each for each in splitter.fragments if each]
    return SplitOperation(replace(operation, selection_set=selection), found, key_tree(selection))


def without_defer(document: N) -> N:
    """The document without any `@defer`."""

    class Remover(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
            return REMOVE if node.name.value == _DEFER else None

    removed: N = visit(document, Remover())
    return removed


def key_tree(selection: SelectionSetNode) -> KeyTree:
    """The response keys of a selection without spreads."""
    tree: KeyTree = {}
    for each in _fields(selection):
        below = tree.setdefault(_response_key(each), {})
        if each.selection_set:
            merge_keys(below, key_tree(each.selection_set))
    return tree


def merge_keys(tree: KeyTree, other: KeyTree) -> None:
    """Add the keys of another tree to a tree."""
    for key, below in other.items():
        merge_keys(tree.setdefault(key, {}), below)


class _Splitter:
    """Collects the deferred fragments of one operation in `fragments`, each after its parent."""

    def __init__(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> None:
        self._operation = operation
        self._definitions = fragments
        self._variables = variables
        self.fragments: list[DeferredFragment | None] = []  # None for one that is being collected

    def rest(self, selection: SelectionSetNode, around: tuple[Any, ...], parent: int | None) -> SelectionSetNode:
        """A selection without the fragments that are deferred in it, which are collected.

        `around`: the fields and inline fragments from the root to the selection. `parent`: the deferred fragment that
        the selection belongs to.
        """
        kept: list[SelectionNode] = []
        for node in selection.selections:
            if not self._is_included(node):
                continue
            inlined = self._inline(node)
            arguments = self._active_defer(node)
            if arguments is not None:
                self._collect(inlined, around, parent, arguments.get("label"))
            elif inlined.selection_set:
                below = self.rest(inlined.selection_set, (*around, inlined), parent)
                kept.append(replace(inlined, selection_set=below))
            else:
                kept.append(inlined)
        return _selection(kept)

    def _collect(
        self, node: InlineFragmentNode, around: tuple[Any, ...], parent: int | None, label: str | None
    ) -> None:
        position = len(self.fragments)
        self.fragments.append(None)
        below = self.rest(node.selection_set, (*around, node), position)
        self.fragments[position] = DeferredFragment(
            label=label,
            path=tuple(_response_key(each) for each in around if isinstance(each, FieldNode)),
            parent=parent,
            operation=self._lead_to(around, replace(node, selection_set=below)),
            keys=key_tree(below),
        )

    def _lead_to(self, around: tuple[Any, ...], node: SelectionNode) -> OperationDefinitionNode:
        """The operation whose only selection is the node, inside of the nodes around it."""
        selection = _selection([node])
        for each in reversed(around):
            selection = _selection([replace(each, selection_set=selection)])
        return replace(self._operation, selection_set=selection)

    def _inline(self, node: SelectionNode) -> Any:
        """The node without directives; a spread becomes an inline fragment."""
        if isinstance(node, FragmentSpreadNode):
            fragment = self._definitions[node.name.value]
            return InlineFragmentNode(
                loc=node.loc, type_condition=fragment.type_condition, selection_set=fragment.selection_set
            )
        return replace(node, directives=())

    def _is_included(self, node: SelectionNode) -> bool:
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return not (skip and skip["if"]) and (include is None or bool(include["if"]))

    def _active_defer(self, node: SelectionNode) -> dict[str, Any] | None:
        """The arguments of the node's `@defer`; None without one, and if its `if` is false."""
        if isinstance(node, FieldNode) or not node.directives:
            return None
        arguments = get_directive_values(GraphQLDeferDirective, node, self._variables)
        return arguments if arguments and arguments["if"] else None


def _selection(nodes: Sequence[SelectionNode]) -> SelectionSetNode:
    return SelectionSetNode(selections=tuple(nodes))


def _fields(selection: SelectionSetNode) -> Iterator[FieldNode]:
    """The fields of a selection without spreads, those of its inline fragments included."""
    for node in selection.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set)


def _response_key(node: FieldNode) -> str:
    return (node.alias or node.name).value

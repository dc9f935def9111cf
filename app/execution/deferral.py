"""`@defer`: an operation is split into what is answered at once, and one operation for each deferred fragment.

The operation of a fragment has the fields that lead to the fragment's place, and the fragment. A spread is replaced by
its fragment if there is a `@defer` in it, and `@skip` and `@include` are applied on the way to each `@defer`. Other
spreads stay, because a document can spread fragments exponentially often. Each part is then compiled and run like any
other operation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from graphql import (
    REMOVE,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDeferDirective,
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

from app.execution.fragment_reader import DEFER, FragmentReader, KeyTree, response_key

N = TypeVar("N", bound=Node)


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

    Args:
        initial: The operation without them.
        fragments: The deferred fragments.
        keys: The response keys of `initial`.
        definitions: The fragments that the operations spread, by name.
        fields: The root fields of the deferred fragments' operations, by response key.
    """

    initial: OperationDefinitionNode
    fragments: Sequence[DeferredFragment]
    keys: KeyTree
    definitions: dict[str, FragmentDefinitionNode]
    fields: dict[str, list[FieldNode]]


def split_operation(
    operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
) -> SplitOperation:
    """Split a valid operation at its active `@defer`s. Raises GraphQLError for arguments that cannot be coerced."""
    splitter = _Splitter(operation, fragments, variables)
    selection = splitter.rest(operation.selection_set, (), None)
    found = [each for each in splitter.fragments if each]
    fields: dict[str, list[FieldNode]] = {}
    for fragment in found:
        for each in splitter.reader.fields(fragment.operation.selection_set):
            fields.setdefault(response_key(each), []).append(each)
    return SplitOperation(
        replace(operation, selection_set=selection),
        found,
        splitter.reader.keys(selection),
        {name: each for name, each in fragments.items() if not splitter.reader.defers(each)},
        fields,
    )


def without_defer(document: N) -> N:
    """The document without any `@defer`."""

    class Remover(Visitor):
        def enter_directive(self, node: DirectiveNode, *_: Any) -> Any:
            return REMOVE if node.name.value == DEFER else None

    removed: N = visit(document, Remover())
    return removed


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
        self.reader = FragmentReader(fragments, variables)
        self.fragments: list[DeferredFragment | None] = []  # None for one that is being collected

    def rest(self, selection: SelectionSetNode, around: tuple[Any, ...], parent: int | None) -> SelectionSetNode:
        """A selection without the fragments that are deferred in it, which are collected.

        `around`: the fields and inline fragments from the root to the selection. `parent`: the deferred fragment that
        the selection belongs to.
        """
        kept: list[SelectionNode] = []
        for node in selection.selections:
            if not self.reader.is_included(node):
                continue
            arguments = self._active_defer(node)
            if arguments is not None:
                self._collect(self._inline(node), around, parent, arguments.get("label"))
            elif self.reader.defers(node):
                inlined = self._inline(node)
                below = self.rest(inlined.selection_set, (*around, inlined), parent)
                kept.append(replace(inlined, selection_set=below))
            else:
                kept.append(replace(node, directives=()))
        return _selection(kept)

    def _collect(
        self, node: InlineFragmentNode, around: tuple[Any, ...], parent: int | None, label: str | None
    ) -> None:
        position = len(self.fragments)
        self.fragments.append(None)
        below = self.rest(node.selection_set, (*around, node), position)
        self.fragments[position] = DeferredFragment(
            label=label,
            path=tuple(response_key(each) for each in around if isinstance(each, FieldNode)),
            parent=parent,
            operation=self._lead_to(around, replace(node, selection_set=below)),
            keys=self.reader.keys(below),
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

    def _active_defer(self, node: SelectionNode) -> dict[str, Any] | None:
        """The arguments of the node's `@defer`; None without one, and if its `if` is false."""
        if isinstance(node, FieldNode) or not node.directives:
            return None
        arguments = get_directive_values(GraphQLDeferDirective, node, self._variables)
        return arguments if arguments and arguments["if"] else None


def _selection(nodes: Sequence[SelectionNode]) -> SelectionSetNode:
    return SelectionSetNode(selections=tuple(nodes))

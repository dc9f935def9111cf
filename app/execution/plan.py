"""An operation compiled: its root fields are resolved by the resolvers that Strawberry defines, then projected.

A plan fits one document, operation and set of values for the variables of `@skip` and `@include`. What depends on the
other variables, coerced values, arguments and cost, is worked out once for each set of values and kept for a while.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, NamedTuple

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_argument_values,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from app.execution.projection import Call, Encoding, NotCompilableError, Projector, Selected
from app.execution.resolver import Resolver, graphql_core_schema


class FieldNodes(list[FieldNode]):
    """The nodes of a field of a plan, the same object for as long as the variables are; `memo` is for its resolver."""

    def __init__(self, nodes: list[FieldNode]) -> None:
        super().__init__(nodes)
        self.field_cache: dict[str, Any] = {}


@dataclass(frozen=True)
class Values:
    """What follows from the variables: their coerced values, the operation's cost, and each field's arguments."""

    coerced: VariableValues
    cost: int
    arguments: dict[int, tuple[FieldNodes, dict[str, Any]]] = field(default_factory=dict)


class ResolveInfo(NamedTuple):
    """What Strawberry's resolvers read of graphql-core's."""

    field_name: str
    field_nodes: FieldNodes
    return_type: GraphQLOutputType
    parent_type: GraphQLObjectType
    path: Path
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    root_value: Any
    operation: OperationDefinitionNode
    variable_values: Mapping[str, Any]
    context: Any
    operation_extensions: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of a plan, for the resolvers below its root."""

    values: Values
    context: Any


class Plan:
    """Raises Unplannable where graphql-core has to run the operation."""

    def __init__(
        self,
        schema: strawberry.Schema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        how: Encoding,
    ) -> None:
        core = graphql_core_schema(schema)
        if operation.operation is not OperationType.QUERY or core.query_type is None:
            raise NotCompilableError("not a query")
        self._schema = schema
        self._core = core
        self._operation = operation
        self._fragments = fragments
        projector = Projector(core, operation, fragments, variables, how, call_of=self._call_of)
        self._roots, self._project = projector.roots(core.query_type)
        self._resolvers = [Resolver(schema, root.field) for root in self._roots]
        self._paths = [Path(None, root.key, root.parent.name) for root in self._roots]

    async def resolve(self, run: Run) -> dict[str, Any]:
        """The values of the root fields by response key; an exception stands for one that failed."""
        if len(self._roots) == 1:
            outcomes = [await self._outcome(0, run)]
        else:
            outcomes = await asyncio.gather(*(self._outcome(number, run) for number in range(len(self._roots))))
        return {root.key: outcome for root, outcome in zip(self._roots, outcomes, strict=True)}

    def project(self, values: dict[str, Any], run: Run) -> Any:
        """Structs that encode as the response's data. Raises whatever keeps that from being so."""
        return self._project([*values.values()], run, self._paths)

    async def _outcome(self, number: int, run: Run) -> Any:
        try:
            value = self._called(self._roots[number], self._resolvers[number], None, run, self._paths[number])
            return await value if isawaitable(value) else value
        except Exception as exc:  # noqa: BLE001 - a resolver's, of any kind: graphql-core reports it at its field
            return exc

    def _call_of(self, selected: Selected) -> Call:
        resolver = Resolver(self._schema, selected.field)

        def call(source: Any, run: Run, path: Path) -> Any:
            value = self._called(selected, resolver, source, run, path)
            if isawaitable(value):
                _dispose(value)
                raise NotCompilableError("asynchronous field")
            return value

        return call

    def _called(self, selected: Selected, resolver: Resolver, source: Any, run: Run, path: Path) -> Any:
        nodes, arguments = self._arguments(selected, resolver, run.values)
        kind = selected.field
        info = ResolveInfo(
            nodes[0].name.value,
            nodes,
            kind.type,
            selected.parent,
            path,
            self._core,
            self._fragments,
            None,
            self._operation,
            run.values.coerced.coerced,
            run.context,
            {},
        )
        return resolver(source, info, arguments)

    def _arguments(self, selected: Selected, resolver: Resolver, values: Values) -> tuple[FieldNodes, dict[str, Any]]:
        found = values.arguments.get(id(selected))
        if found is None:
            nodes = FieldNodes([each.node for each in selected.details])
            coerced = get_argument_values(selected.field, nodes[0], values.coerced)
            found = values.arguments[id(selected)] = (nodes, resolver.converted(coerced))
        return found


def _dispose(awaitable: Awaitable[Any]) -> None:
    if asyncio.iscoroutine(awaitable):
        awaitable.close()

"""A compiled operation: the resolvers of its root fields are called, and a generated function projects their values.

A plan fits one document, one operation and one set of values for the variables of `@skip` and `@include`. Whatever
depends on the other variables (coerced values, arguments, cost) is computed once per set of values, in `Values`.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable, isgenerator
from typing import Any, NamedTuple

import strawberry
from graphql import FieldNode, FragmentDefinitionNode, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from app.execution.answer_size import AnswerSize
from app.execution.arguments import ArgumentPlan
from app.execution.projection import Encoding, NotCompilableError, Projector, ResolveField, SelectedField
from app.execution.resolve_info import FieldCache, ResolveInfo
from app.execution.resolver import Resolver, graphql_core_schema
from app.execution.selection import Selection
from app.resilience.cooperative_scheduler import CooperativeScheduler


class FieldValues(NamedTuple):
    """Per field and set of variables: its AST nodes, the keyword arguments of its resolver, and its cache."""

    nodes: list[FieldNode]
    arguments: dict[str, Any]
    cache: FieldCache


@dataclass(frozen=True)
class Values:
    """What the variables determine for an operation.

    `roots` are the root fields. `fields` is filled while the operation runs for the first time. Its keys are the ids
    of the plan's `SelectedField`s, which live as long as the plan.
    """

    coerced: VariableValues
    roots: Selection
    cost: int
    fields: dict[int, FieldValues] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of a plan, as the resolvers below its root fields need it. `size` counts what the answer has."""

    values: Values
    context: Any
    size: AnswerSize = field(default_factory=AnswerSize)


class Plan:
    """A compiled operation. It never changes, so it may be kept and run any number of times.

    Args:
        schema: The schema.
        operation: The operation, which must be valid.
        fragments: The fragments of its document, by name.
        variables: The coerced variables. The plan depends on those of `@skip` and `@include` only.
        encoding: Which values of the schema encode as they are.

    Raises NotCompilableError if graphql-core has to run the operation.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        encoding: Encoding,
    ) -> None:
        core_schema = graphql_core_schema(schema)
        if operation.operation is not OperationType.QUERY or core_schema.query_type is None:
            raise NotCompilableError("not a query")
        self._schema = schema
        self._core_schema = core_schema
        self._operation = operation
        self._fragments = fragments
        projector = Projector(
            core_schema, operation, fragments, variables, encoding, create_call=self._create_field_call
        )
        self._roots, self._project = projector.roots(core_schema.query_type)
        self._resolvers = [Resolver(schema, root.definition) for root in self._roots]
        self._paths = [Path(None, root.key, root.parent.name) for root in self._roots]
        self._arguments: dict[int, ArgumentPlan] = {}

    async def resolve(self, run: Run) -> dict[str, Any]:
        """The values of the root fields by response key; an exception takes the place of a value that failed."""
        if len(self._roots) == 1:
            outcomes = [await self._resolve_root(0, run)]
        else:
            outcomes = await asyncio.gather(*(self._resolve_root(number, run) for number in range(len(self._roots))))
        return {root.key: outcome for root, outcome in zip(self._roots, outcomes, strict=True)}

    async def project(self, values: dict[str, Any], run: Run, scheduler: CooperativeScheduler) -> Any:
        """Structs that encode as the response's data. Long lists of fields with resolvers are projected in slots.

        Raises ResultTooLargeError; and NotCompilableError, or whatever a resolver or scalar raises, if graphql-core has
        to complete the values.
        """
        projected = self._project([*values.values()], run, self._paths)
        if not isgenerator(projected):
            return projected
        while True:
            await scheduler.wait_for_slot()
            try:
                next(projected)
            except StopIteration as end:
                return end.value

    async def _resolve_root(self, number: int, run: Run) -> Any:
        try:
            value = self._call(self._roots[number], self._resolvers[number], None, run, self._paths[number])
            return await value if isawaitable(value) else value
        except Exception as exc:  # noqa: BLE001 - a resolver may raise anything; graphql-core reports it at its field
            return exc

    def _create_field_call(self, selected: SelectedField) -> ResolveField:
        """A function that resolves a field below a root field, which must be synchronous."""
        resolver = Resolver(self._schema, selected.definition)

        def call(source: Any, run: Run, path: Path) -> Any:
            value = self._call(selected, resolver, source, run, path)
            if isawaitable(value):
                _dispose(value)
                raise NotCompilableError("asynchronous field")
            return value

        return call

    def _call(self, selected: SelectedField, resolver: Resolver, source: Any, run: Run, path: Path) -> Any:
        nodes, arguments, cache = self._field_values(selected, resolver, run.values)
        info = ResolveInfo(
            nodes[0].name.value,
            nodes,
            selected.definition.type,
            selected.parent,
            path,
            self._core_schema,
            self._fragments,
            None,
            self._operation,
            run.values.coerced.coerced,
            run.context,
            {},
            cache,
            run.values.roots,
        )
        return resolver(source, info, arguments)

    def _arguments_of(self, selected: SelectedField, node: FieldNode) -> ArgumentPlan:
        plan = self._arguments.get(id(selected))
        if plan is None:
            plan = self._arguments[id(selected)] = ArgumentPlan(selected.definition, node)
        return plan

    def _field_values(self, selected: SelectedField, resolver: Resolver, values: Values) -> FieldValues:
        found = values.fields.get(id(selected))
        if found is None:
            nodes = [each.node for each in selected.details]
            arguments = self._arguments_of(selected, nodes[0]).coerce(values.coerced)
            found = values.fields[id(selected)] = FieldValues(
                nodes, resolver.convert_arguments(arguments), FieldCache()
            )
        return found


def _dispose(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine that is not going to be awaited, so that Python does not warn of it."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()

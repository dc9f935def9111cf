"""The executor: runs an operation as a compiled plan if it can, and with graphql-core otherwise.

A plan answers exactly as graphql-core would. It handles only the ordinary case: after an error, a null where none is
allowed, or a value that does not encode, graphql-core completes the values that the plan has already resolved.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from inspect import isawaitable
from typing import Any, Final, Protocol, Self

import msgspec
import strawberry
from graphql import ExecutionResult, FieldNode, GraphQLError, experimental_execute_incrementally
from structlog.typing import FilteringBoundLogger

from app.errors import GatewayError, ResultTooLargeError
from app.execution.answer_size import MAX_BYTES, AnswerEncoder, AnswerSize, too_many_bytes_error
from app.execution.core_executor import BoundedExecutor
from app.execution.deferral import DeferredFragment
from app.execution.delivery import (
    FragmentAnswer,
    IncrementalResponse,
    PendingFragment,
    deliver,
    objects_at,
    pending_fragments,
)
from app.execution.documents import Document
from app.execution.error_bound import ErrorBound
from app.execution.error_formatting import InvalidOperationError, format_error
from app.execution.limits import OperationLimits
from app.execution.plan import Plan, Run
from app.execution.preparation import CostOf, Preparation, PreparedOperation
from app.execution.projection import Encoding, NotCompilableError
from app.execution.request import Request, Response
from app.execution.resolver import graphql_core_schema
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.resilience.lru_cache import LruCache

_MAX_INTROSPECTION_BYTES: Final = 4 * 1024 * 1024
"""Bound of the cached answers to introspection. One answer about the whole schema takes some 60 KB."""


class ExecutorContext(Protocol):
    """What the executor itself needs of the context that it hands to the resolvers."""

    @property
    def extra_errors(self) -> Sequence[GraphQLError]:
        """Errors to add to the response although no field failed, for example for dropped rows."""

    def expect_fragments(self, fields: Mapping[str, Sequence[FieldNode]]) -> None:
        """Learn, before the initial part of an operation runs, what its deferred fragments select.

        `fields`: by response key, the root fields around the fragments.
        """

    def for_fragment(self, fragment: DeferredFragment, /) -> Self:
        """The context in which the operation of a deferred fragment runs."""


class Executor:
    """Runs operations on one schema.

    Args:
        schema: The schema.
        limits: Limits that an operation must keep.
        cost_of: Computes an operation's cost.
        encoding: Which values of the schema encode as they are.
        introspection: Whether clients may introspect the schema.
        log: Receives bugs, with their tracebacks.
        count: Called for each operation that runs, with `plan` or the reason why graphql-core ran it.
        compiled: Whether operations are compiled at all.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        limits: OperationLimits,
        cost_of: CostOf,
        encoding: Encoding,
        *,
        introspection: bool,
        log: FilteringBoundLogger,
        count: Callable[[str], None] = lambda _: None,
        compiled: bool = True,
    ) -> None:
        self._schema = graphql_core_schema(schema)
        self._encoder = AnswerEncoder()
        self._scheduler = CooperativeScheduler()
        self._limits = limits
        self._hide_suggestions = not introspection
        self._log = log
        self._count = count
        self._introspections: LruCache[tuple[Hashable, ...], msgspec.Raw] = LruCache(_MAX_INTROSPECTION_BYTES)
        self._preparation = Preparation(
            schema, limits, cost_of, encoding, introspection=introspection, compiled=compiled
        )

    def name_of(self, request: Request) -> str | None:
        """The operation's name, cut at 100 characters; None without one, or if its document is not cached.

        Cached documents are valid, so the name is safe to log.
        """
        document = self._preparation.documents.get_cached(request.query)
        try:
            operation = document.operation(request.operation_name) if document else None
        except GatewayError:
            return None
        return operation.name.value[:100] if operation and operation.name else None

    async def run(self, request: Request, context: ExecutorContext) -> Response:
        """Run an operation, with what it defers.

        Its errors are part of the response; only cancellation and bugs of the executor raise.
        """
        try:
            prepared = self._preparation.prepare(request)
            self._limits.check_cost(prepared.values.cost)
        except (InvalidOperationError, GatewayError) as exc:
            return self._refuse(exc)
        return await self._run(prepared, request, context)

    async def run_incrementally(self, request: Request, context: ExecutorContext) -> Response | IncrementalResponse:
        """Run an operation as `run` does, but answer before what it defers is there, if it defers anything."""
        try:
            split = self._preparation.prepare_split(request)
            if split is None:
                return await self.run(request, context)
            self._limits.check_cost(split.cost)
        except (InvalidOperationError, GatewayError) as exc:
            return self._refuse(exc)
        operations = split.operations
        context.expect_fragments(split.fields)
        initial = replace(await self._run(split.initial, request, context), cost=split.cost)
        pending = pending_fragments(split.inside(None), initial.data)
        if not pending:
            return initial

        size = _size_of_part(initial, pending)
        if size > MAX_BYTES:
            return replace(self._refuse(too_many_bytes_error()), ran=True, cost=split.cost)

        async def run_fragment(fragment: DeferredFragment) -> FragmentAnswer:
            nonlocal size
            response = await self._run(operations[fragment], request, context.for_fragment(fragment), in_slot=True)
            await self._scheduler.wait_for_slot()
            inside = pending_fragments(split.inside(fragment), response.data)
            size += _size_of_part(response, inside)
            if size > MAX_BYTES:
                return FragmentAnswer({}, self._refuse(too_many_bytes_error()).errors, ())
            return FragmentAnswer(objects_at(response.data, fragment.path), response.errors, inside)

        return IncrementalResponse(initial, split.keys, pending, deliver(split.fragments, pending, run_fragment))

    async def _run(
        self, prepared: PreparedOperation, request: Request, context: ExecutorContext, *, in_slot: bool = False
    ) -> Response:
        """Run a prepared operation. `in_slot`: its rows are projected in a slot, because others come with them."""
        try:
            found, data = await self._run_prepared(prepared, request, context, in_slot=in_slot)
        except ResultTooLargeError as exc:
            found, data = [GraphQLError(str(exc), original_error=exc)], None
        errors = [format_error(error, self._log) for error in found]
        return Response(errors, data, ran=True, cost=prepared.values.cost)

    async def _run_prepared(
        self, prepared: PreparedOperation, request: Request, context: ExecutorContext, *, in_slot: bool
    ) -> tuple[Sequence[GraphQLError], msgspec.Raw]:
        """The errors and the encoded data of an operation. Raises ResultTooLargeError."""
        resolved: dict[str, Any] = {}
        if isinstance(prepared.plan, NotCompilableError):
            reason = prepared.plan.reason
        else:
            run = Run(prepared.values, context)
            resolved = await prepared.plan.resolve(run)
            if in_slot:
                await self._scheduler.wait_for_slot()
            reason, data = await self._project(prepared.plan, resolved, run)
            if data is not None:
                self._count(reason)
                return _bounded(context.extra_errors), data
        self._count(reason)
        key = prepared.introspection
        if key and (known := self._introspections.get(key)):
            return _bounded(context.extra_errors), known
        bound = ErrorBound()
        result = await self._run_by_graphql_core(prepared.document, request, context, resolved, bound)
        data = self._encoder.encode(result.data)
        if key and not result.errors:
            self._introspections.set(key, data, len(bytes(data)))
        others = [] if result.errors is bound.held else result.errors or []  # if graphql-core refused to begin
        return _bounded([*others, *context.extra_errors], bound), data

    async def _run_by_graphql_core(
        self,
        document: Document,
        request: Request,
        context: ExecutorContext,
        resolved: dict[str, Any],
        bound: ErrorBound,
    ) -> ExecutionResult:
        """Run an operation with graphql-core, which adds its errors to the bound. Raises ResultTooLargeError.

        `resolved` holds the values of root fields that need not be resolved again, by response key. An exception among
        them is raised at its field.
        """
        size = AnswerSize()

        def reuse_resolved(resolve: Any, source: Any, info: Any, **arguments: Any) -> Any:
            if info.path.prev is None and info.path.key in resolved:
                value = resolved[info.path.key]
                if isinstance(value, Exception):
                    raise value
                return value
            return resolve(source, info, **arguments)

        # graphql-core's `execute` refuses every schema that has `@defer`.
        result = experimental_execute_incrementally(
            self._schema,
            document.ast,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.operation_name,
            executor_class=BoundedExecutor,
            hide_suggestions=self._hide_suggestions,
            operation_extensions={},
            answer_size=size,
            error_bound=bound,
            scheduler=self._scheduler,
            middleware=[reuse_resolved] if resolved else None,
        )
        completed = await result if isawaitable(result) else result
        if not isinstance(completed, ExecutionResult):
            raise TypeError("The document must not have an active @defer.")
        size.check()  # graphql-core has turned the error into one for each list
        return completed

    async def _project(self, plan: Plan, resolved: dict[str, Any], run: Run) -> tuple[str, msgspec.Raw | None]:
        """`plan` and the encoded data, or the reason why graphql-core has to complete the values and None.

        Raises ResultTooLargeError.
        """
        if any(isinstance(value, Exception) for value in resolved.values()):
            return "error", None
        try:
            return "plan", self._encoder.encode(await plan.project(resolved, run, self._scheduler))
        except NotCompilableError as exc:
            return exc.reason, None
        except ResultTooLargeError:
            raise
        except GatewayError:
            return "error", None
        except Exception:  # noqa: BLE001 - a scalar or resolver may raise anything; graphql-core reports it at its field
            return "odd value", None

    def _refuse(self, reason: InvalidOperationError | GatewayError) -> Response:
        if isinstance(reason, InvalidOperationError):
            found = reason.errors
        else:
            found = [GraphQLError(str(reason), original_error=reason)]
        return Response([format_error(error, self._log) for error in found])


def _size_of_part(response: Response, announced: Sequence[PendingFragment]) -> int:
    """Approximate size of an answer in bytes, with what is said about the places of deferred fragments in it."""
    return len(memoryview(response.data or b"")) + sum(each.overhead_bytes for each in announced)


def _bounded(errors: Sequence[GraphQLError], bound: ErrorBound | None = None) -> list[GraphQLError]:
    """The errors, after those that the bound holds already."""
    bound = bound or ErrorBound()
    for error in errors:
        bound.add(error)
    return bound.listed()

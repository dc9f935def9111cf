"""The executor: runs an operation as a compiled plan if it can, and with graphql-core otherwise.

A plan answers exactly as graphql-core would. It handles only the ordinary case: after an error, a null where none is
allowed, or a value that does not encode, graphql-core completes the values that the plan has already resolved.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, execute, get_variable_values
from graphql.execution.values import VariableValues
from structlog.typing import FilteringBoundLogger

from app.errors import GatewayError, ResultTooLargeError
from app.execution.answer_size import AnswerEncoder, AnswerSize
from app.execution.core_executor import BoundedExecutor
from app.execution.documents import Document, DocumentCache
from app.execution.error_bound import ErrorBound
from app.execution.error_formatting import MAX_ERRORS, InvalidOperationError, format_error, with_bad_input_code
from app.execution.limits import OperationLimits
from app.execution.plan import Plan, Run, Values
from app.execution.projection import Encoding, NotCompilableError
from app.execution.request import Request, Response
from app.execution.resolver import graphql_core_schema
from app.execution.selection import Selection
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.resilience.lru_cache import LruCache

CostOf = Callable[[OperationDefinitionNode, Document, VariableValues], int]
"""Computes the cost of an operation with its coerced variables: upstream requests, and the work of its answer."""

_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bound of the cached plans, and also of the cached operations with their variables."""
_MAX_INTROSPECTION_BYTES: Final = 4 * 1024 * 1024
"""Bound of the cached answers to introspection. One answer about the whole schema takes some 60 KB."""
_BYTES_PER_CHARACTER: Final = 150
"""Memory that a plan takes for each character of its document, and variables for each of theirs (measured)."""


class ExecutorContext(Protocol):
    """What the executor itself needs of the context that it hands to the resolvers."""

    @property
    def extra_errors(self) -> Sequence[GraphQLError]:
        """Errors to add to the response although no field failed, for example for dropped rows."""


@dataclass(frozen=True)
class _PreparedOperation:
    """An operation with its variables: its plan, or the reason why it has none.

    `introspection` identifies an operation that only introspects the schema, so that its answer is always the same.
    """

    plan: Plan | NotCompilableError
    values: Values
    introspection: tuple[Hashable, ...] | None = None


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
        self._strawberry = schema
        self._schema = graphql_core_schema(schema)
        self._encoder = AnswerEncoder()
        self._scheduler = CooperativeScheduler()
        self._limits = limits
        self._cost_of = cost_of
        self._encoding = encoding
        self._hide_suggestions = not introspection
        self._log = log
        self._count = count
        self._compiled = compiled
        self._operations: LruCache[Any, _PreparedOperation] = LruCache(_MAX_BYTES)
        self._plans: LruCache[Any, Plan | NotCompilableError] = LruCache(_MAX_BYTES)
        self._introspections: LruCache[tuple[Hashable, ...], msgspec.Raw] = LruCache(_MAX_INTROSPECTION_BYTES)
        self._documents = DocumentCache(self._schema, limits, introspection=introspection)

    def name_of(self, request: Request) -> str | None:
        """The operation's name, cut at 100 characters; None without one, or if its document is not cached.

        Cached documents are valid, so the name is safe to log.
        """
        document = self._documents.get_cached(request.query)
        try:
            operation = document.operation(request.operation_name) if document else None
        except GatewayError:
            return None
        return operation.name.value[:100] if operation and operation.name else None

    async def run(self, request: Request, context: ExecutorContext) -> Response:
        """Run an operation. Its errors are part of the response; only cancellation and bugs of the executor raise."""
        try:
            document = self._documents.get(request.query)
            prepared = self._prepare(document, request)
            self._limits.check_cost(prepared.values.cost)
        except InvalidOperationError as invalid:
            return self._refuse(invalid.errors)
        except GatewayError as exc:
            return self._refuse([GraphQLError(str(exc), original_error=exc)])
        try:
            found, data = await self._run_prepared(prepared, document, request, context)
        except ResultTooLargeError as exc:
            found, data = [GraphQLError(str(exc), original_error=exc)], None
        errors = [format_error(error, self._log) for error in found]
        return Response(errors, data, ran=True, cost=prepared.values.cost)

    async def _run_prepared(
        self, prepared: _PreparedOperation, document: Document, request: Request, context: ExecutorContext
    ) -> tuple[Sequence[GraphQLError], msgspec.Raw]:
        """The errors and the encoded data of an operation. Raises ResultTooLargeError."""
        resolved: dict[str, Any] = {}
        if isinstance(prepared.plan, NotCompilableError):
            reason = prepared.plan.reason
        else:
            run = Run(prepared.values, context)
            resolved = await prepared.plan.resolve(run)
            reason, data = await self._project(prepared.plan, resolved, run)
            if data is not None:
                self._count(reason)
                return _bounded(context.extra_errors), data
        self._count(reason)
        key = prepared.introspection
        if key and (known := self._introspections.get(key)):
            return _bounded(context.extra_errors), known
        bound = ErrorBound()
        result = await self._run_by_graphql_core(document, request, context, resolved, bound)
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

        result = execute(
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
        completed = result if isinstance(result, ExecutionResult) else await result
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

    def _prepare(self, document: Document, request: Request) -> _PreparedOperation:
        """The operation with its coerced variables, its cost and its plan, from the cache if it is there.

        Raises InvalidOperationError, BadUserInputError and OperationTooExpensiveError.
        """
        encoded = msgspec.json.encode(request.variables) if request.variables else b""
        key = (request.query, request.operation_name, encoded)
        if prepared := self._operations.get(key):
            return prepared
        self._limits.check_variables(request.variables, len(encoded))
        operation = document.operation(request.operation_name)
        variables = get_variable_values(
            self._schema,
            operation.variable_definitions or (),
            dict(request.variables),
            max_errors=MAX_ERRORS,
            hide_suggestions=self._hide_suggestions,
        )
        if isinstance(variables, list):
            raise InvalidOperationError([with_bad_input_code(error, document.ast) for error in variables[:MAX_ERRORS]])
        try:
            cost = self._cost_of(operation, document, variables)
        except GraphQLError as exc:
            raise InvalidOperationError([with_bad_input_code(exc, document.ast)]) from exc
        prepared = _PreparedOperation(
            self._plan(document, operation, request, variables),
            Values(variables, cost),
            key if self._only_introspects(operation, document, variables) else None,
        )
        # The weight includes the plan, because this may be the last reference to it.
        weight = _weight(len(request.query) + len(encoded))
        return self._operations.set(key, prepared, weight)

    def _only_introspects(
        self, operation: OperationDefinitionNode, document: Document, variables: VariableValues
    ) -> bool:
        names = Selection.of_operation(self._schema, operation, document.fragments, variables).names
        return all(name.startswith("__") for name in names)

    def _plan(
        self, document: Document, operation: OperationDefinitionNode, request: Request, variables: VariableValues
    ) -> Plan | NotCompilableError:
        if not self._compiled:
            return NotCompilableError("switched off")
        deciding = ((name, variables.coerced.get(name)) for name in sorted(document.directive_variables))
        key = (request.query, request.operation_name, *deciding)
        if plan := self._plans.get(key):
            return plan
        try:
            plan = Plan(self._strawberry, operation, document.fragments, variables, self._encoding)
        except NotCompilableError as exc:
            plan = exc
        return self._plans.set(key, plan, _weight(len(request.query)))

    def _refuse(self, found: list[GraphQLError]) -> Response:
        return Response([format_error(error, self._log) for error in found])


def _bounded(errors: Sequence[GraphQLError], bound: ErrorBound | None = None) -> list[GraphQLError]:
    """The errors, after those that the bound holds already."""
    bound = bound or ErrorBound()
    for error in errors:
        bound.add(error)
    return bound.listed()


def _weight(length: int) -> int:
    return 8000 + _BYTES_PER_CHARACTER * length

"""The executor: an operation runs as a compiled plan where one fits it, and by graphql-core where none does.

The plan's answer is graphql-core's. Whatever goes another way than straight (an error, a null where none may be, a
value that does not encode) is left to graphql-core, which completes the values that were resolved already.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, execute, get_variable_values
from graphql.execution.values import VariableValues
from structlog.typing import FilteringBoundLogger

from app.errors import GatewayError
from app.execution.documents import Document, DocumentCache
from app.execution.error_formatting import InvalidOperationError, as_bad_input, format_error
from app.execution.limits import OperationLimits
from app.execution.plan import Plan, Run, Values
from app.execution.projection import Encoding, NotCompilableError
from app.execution.resolver import graphql_core_schema
from app.resilience.lru_cache import LruCache

CostOf = Callable[[OperationDefinitionNode, Document, VariableValues], int]

_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bound of the plans, and of the operations that are prepared with their variables."""
_BYTES_PER_CHARACTER: Final = 150
"""What a plan takes for each character of its document, and variables for each of theirs (measured)."""


@dataclass(frozen=True)
class Request:
    """What a client sent, its form checked."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None


@dataclass(frozen=True)
class Response:
    """`data` encodes as JSON; it is absent, not null, where the operation never ran."""

    errors: list[dict[str, Any]]
    data: Any = None
    ran: bool = False
    cost: int = 0

    @property
    def outcome(self) -> str:
        """`ok`, or the code of the first error."""
        return self.errors[0]["extensions"]["code"] if self.errors else "ok"

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        return body | ({"data": self.data} if self.ran else {})


@dataclass(frozen=True)
class _PreparedOperation:
    """An operation with its variables: what to run, or the reason that no plan fits."""

    plan: Plan | NotCompilableError
    values: Values


class Executor:
    """`compiled`: whether plans are made at all.

    `count` is told, for each operation that ran, why graphql-core did it, or `plan`.
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
        self._executor_class = schema.execution_context_class
        self._limits = limits
        self._cost_of = cost_of
        self._encoding = encoding
        self._hide_suggestions = not introspection
        self._log = log
        self._count = count
        self._compiled = compiled
        self._prepared_before: LruCache[Any, _PreparedOperation] = LruCache(_MAX_BYTES)
        self._plans: LruCache[Any, Plan | NotCompilableError] = LruCache(_MAX_BYTES)
        self._documents = DocumentCache(self._schema, limits, introspection=introspection)

    def name_of(self, request: Request) -> str | None:
        """The operation's name, where its document is kept; only valid names can be, so that it is safe to log."""
        document = self._documents.get_cached(request.query)
        try:
            operation = document.operation(request.operation_name) if document else None
        except GatewayError:
            return None
        return operation.name.value[:100] if operation and operation.name else None

    async def run(self, request: Request, context: Any) -> Response:
        """Never raises but for being cancelled. `context.extra_errors` may hold errors that cost no field its value."""
        try:
            document = self._documents.get(request.query)
            prepared = self._prepared(document, request)
            self._limits.check_cost(prepared.values.cost)
        except InvalidOperationError as invalid:
            return self._refused(invalid.errors)
        except GatewayError as exc:
            return self._refused([GraphQLError(str(exc), original_error=exc)])
        cost = prepared.values.cost
        resolved: dict[str, Any] = {}
        if isinstance(prepared.plan, NotCompilableError):
            reason = prepared.plan.reason
        else:
            run = Run(prepared.values, context)
            resolved = await prepared.plan.resolve(run)
            reason, data = _projected(prepared.plan, resolved, run)
            if reason == "plan":
                self._count(reason)
                return Response(
                    [format_error(each, self._log) for each in context.extra_errors], data, ran=True, cost=cost
                )
        self._count(reason)
        result = await self._by_graphql_core(document, request, context, resolved)
        found = [*(result.errors or ()), *context.extra_errors]
        return Response([format_error(error, self._log) for error in found], result.data, ran=True, cost=cost)

    async def _by_graphql_core(
        self, document: Document, request: Request, context: Any, resolved: dict[str, Any]
    ) -> ExecutionResult:
        """`resolved`: values of root fields that are known, by response key; an exception is raised in its place."""

        def known(resolve: Any, source: Any, info: Any, **arguments: Any) -> Any:
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
            executor_class=self._executor_class,
            hide_suggestions=self._hide_suggestions,
            operation_extensions={},
            middleware=[known] if resolved else None,
        )
        return result if isinstance(result, ExecutionResult) else await result

    def _prepared(self, document: Document, request: Request) -> _PreparedOperation:
        """Raises Invalid, BadUserInput and OperationTooExpensive."""
        encoded = msgspec.json.encode(request.variables) if request.variables else b""
        key = (request.query, request.operation_name, encoded)
        if prepared := self._prepared_before.get(key):
            return prepared
        self._limits.check_variables(request.variables, len(encoded))
        operation = document.operation(request.operation_name)
        variables = get_variable_values(
            self._schema,
            operation.variable_definitions or (),
            dict(request.variables),
            max_errors=10,
            hide_suggestions=self._hide_suggestions,
        )
        if isinstance(variables, list):
            raise InvalidOperationError([as_bad_input(error, document.ast) for error in variables])
        try:
            cost = self._cost_of(operation, document, variables)
        except GraphQLError as exc:
            raise InvalidOperationError([as_bad_input(exc, document.ast)]) from exc
        prepared = _PreparedOperation(self._plan(document, operation, request, variables), Values(variables, cost))
        # It may be the last that holds its plan.
        weight = _weight(len(request.query) + len(encoded))
        return self._prepared_before.set(key, prepared, weight)

    def _plan(
        self, document: Document, operation: OperationDefinitionNode, request: Request, variables: VariableValues
    ) -> Plan | NotCompilableError:
        if not self._compiled:
            return NotCompilableError("switched off")
        switches = ((name, variables.coerced.get(name)) for name in sorted(document.switches))
        key = (request.query, request.operation_name, *switches)
        if plan := self._plans.get(key):
            return plan
        try:
            plan = Plan(self._strawberry, operation, document.fragments, variables, self._encoding)
        except NotCompilableError as unplannable:
            plan = unplannable
        return self._plans.set(key, plan, _weight(len(request.query)))

    def _refused(self, found: list[GraphQLError]) -> Response:
        return Response([format_error(error, self._log) for error in found])


def _weight(length: int) -> int:
    return 8000 + _BYTES_PER_CHARACTER * length


def _projected(plan: Plan, resolved: dict[str, Any], run: Run) -> tuple[str, Any]:
    """`plan` and the encoded data; or why graphql-core has to complete it."""
    if any(isinstance(value, Exception) for value in resolved.values()):
        return "error", None
    try:
        return "plan", msgspec.Raw(msgspec.json.encode(plan.project(resolved, run)))
    except NotCompilableError as unplannable:
        return unplannable.reason, None
    except GatewayError:
        return "error", None
    except Exception:  # noqa: BLE001 - of whatever kind: graphql-core completes the same values, and reports it
        return "odd value", None

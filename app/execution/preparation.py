"""Preparation: everything about an operation that can be known before it runs, and is cached.

Documents are cached by their text, plans by the values of the variables that directives read, and operations by all
variables, because their coerced values and the cost depend on them.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import strawberry
from graphql import DocumentNode, FieldNode, GraphQLError, OperationDefinitionNode, get_variable_values
from graphql.execution.values import VariableValues

from app.execution.deferral import DeferredFragment, SplitOperation, split_operation
from app.execution.documents import Document, DocumentCache
from app.execution.error_formatting import MAX_ERRORS, InvalidOperationError, with_bad_input_code
from app.execution.fragment_reader import KeyTree
from app.execution.limits import OperationLimits
from app.execution.plan import Plan, Values
from app.execution.projection import Encoding, NotCompilableError
from app.execution.request import Request
from app.execution.resolver import graphql_core_schema
from app.execution.selection import Selection, Structure, Variables
from app.execution.variables import VariablePlan
from app.resilience.lru_cache import LruCache

CostOf = Callable[[Selection], int]
"""Computes the cost of an operation from its root fields: upstream requests, and the work of its answer."""

_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bound of the cached plans, and also of the cached operations with their variables."""
_BYTES_PER_CHARACTER: Final = 150
"""Memory that a plan takes for each character of its document, and variables for each of theirs (measured)."""


@dataclass(frozen=True)
class PreparedOperation:
    """An operation with its variables: its plan, or the reason why it has none.

    `document` has the operation, and no `@defer`. `introspection` identifies an operation that only introspects the
    schema, so that its answer is always the same.
    """

    document: Document
    plan: Plan | NotCompilableError
    values: Values
    introspection: tuple[Hashable, ...] | None = None


@dataclass(frozen=True)
class PreparedSplit:
    """An operation with active `@defer`s, in parts.

    Args:
        initial: What is answered at once.
        keys: The response keys of `initial`.
        fragments: The deferred fragments, each after its parent.
        operations: The operation of each fragment.
        fields: The root fields of those operations, by response key.
    """

    initial: PreparedOperation
    keys: KeyTree
    fragments: Sequence[DeferredFragment]
    operations: dict[DeferredFragment, PreparedOperation]
    fields: dict[str, list[FieldNode]]

    @property
    def cost(self) -> int:
        """The cost of all parts."""
        return sum(each.values.cost for each in (self.initial, *self.operations.values()))

    def inside(self, parent: DeferredFragment | None) -> list[DeferredFragment]:
        """The fragments inside of a deferred fragment; for None, those that are inside of no other one."""
        position = None if parent is None else self.fragments.index(parent)
        return [each for each in self.fragments if each.parent == position]


class Preparation:
    """Prepares operations on one schema, and caches the results.

    Args:
        schema: The schema.
        limits: Limits that a document and its variables must keep. The cost is not compared with its limit here.
        cost_of: Computes an operation's cost.
        encoding: Which values of the schema encode as they are.
        introspection: Whether clients may introspect the schema. Without it, errors suggest no names either.
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
        compiled: bool,
    ) -> None:
        self._strawberry = schema
        self._schema = graphql_core_schema(schema)
        self._limits = limits
        self._cost_of = cost_of
        self._encoding = encoding
        self._hide_suggestions = not introspection
        self._compiled = compiled
        self._operations: LruCache[Any, PreparedOperation] = LruCache(_MAX_BYTES)
        self._splits: LruCache[Any, PreparedSplit] = LruCache(_MAX_BYTES)
        self._compiled_operations: LruCache[Any, _Compiled] = LruCache(_MAX_BYTES)
        self.documents = DocumentCache(self._schema, limits, introspection=introspection)

    def prepare(self, request: Request) -> PreparedOperation:
        """The whole operation, with what it defers.

        Raises InvalidOperationError, BadUserInputError and OperationTooExpensiveError.
        """
        return self._prepare(self.documents.get(request.query).undeferred, request, None)

    def prepare_split(self, request: Request) -> PreparedSplit | None:
        """The operation in parts; None if it has no active `@defer`. Raises as `prepare` does."""
        document = self.documents.get(request.query)
        if not document.defers:
            return None
        encoded = self._encode_variables(request)
        key = (request.query, request.operation_name, encoded)
        if prepared := self._splits.get(key):
            return prepared if prepared.fragments else None
        operation = document.operation(request.operation_name)
        try:
            split = split_operation(operation, document.fragments, self._coerce(document, operation, request))
        except GraphQLError as exc:
            raise InvalidOperationError([with_bad_input_code(exc, document.ast)]) from exc
        prepared = self._prepare_parts(split, document, request)
        weight = _weight(len(request.query) + len(encoded)) * (1 + len(split.fragments))
        self._splits.set(key, prepared, weight)
        return prepared if prepared.fragments else None

    def _prepare_parts(self, split: SplitOperation, document: Document, request: Request) -> PreparedSplit:
        def prepare(operation: OperationDefinitionNode, part: int) -> PreparedOperation:
            ast = DocumentNode(definitions=(operation, *split.definitions.values()))
            alone = Document(ast, split.definitions, document.directive_variables)
            return self._prepare(alone, request, part)

        return PreparedSplit(
            prepare(split.initial, 0),
            split.keys,
            split.fragments,
            {each: prepare(each.operation, part) for part, each in enumerate(split.fragments, 1)},
            split.fields,
        )

    def _prepare(self, document: Document, request: Request, part: int | None) -> PreparedOperation:
        """`part`: the number of the part, if the document has a part of the request's operation only."""
        encoded = self._encode_variables(request)
        key = (request.query, request.operation_name, encoded, part)
        if prepared := self._operations.get(key):
            return prepared
        operation = document.operation(request.operation_name)
        variables = self._coerce(document, operation, request)
        try:
            compiled = self._compile(document, operation, request, variables, part)
            roots = Selection(compiled.structure, Variables(variables))
            cost = self._cost_of(roots)
        except GraphQLError as exc:
            raise InvalidOperationError([with_bad_input_code(exc, document.ast)]) from exc
        only_introspects = all(name.startswith("__") for name in roots.names)
        prepared = PreparedOperation(
            document, compiled.plan, Values(variables, roots, cost), key if only_introspects else None
        )
        # The weight includes the plan, because this may be the last reference to it.
        weight = _weight(len(request.query) + len(encoded))
        return self._operations.set(key, prepared, weight)

    def _encode_variables(self, request: Request) -> bytes:
        return msgspec.json.encode(request.variables) if request.variables else b""

    def _coerce(self, document: Document, operation: OperationDefinitionNode, request: Request) -> VariableValues:
        """The coerced variables. Raises InvalidOperationError, and OperationTooExpensiveError if they are too large."""
        self._limits.check_variables(request.variables, len(self._encode_variables(request)))
        plan = document.variable_plans.get(id(operation))
        if plan is None:
            plan = document.variable_plans[id(operation)] = VariablePlan(self._schema, operation)
        if coerced := plan.coerce(request.variables):
            return coerced
        variables = get_variable_values(
            self._schema,
            operation.variable_definitions or (),
            dict(request.variables),
            max_errors=MAX_ERRORS,
            hide_suggestions=self._hide_suggestions,
        )
        if isinstance(variables, list):
            raise InvalidOperationError([with_bad_input_code(error, document.ast) for error in variables[:MAX_ERRORS]])
        return variables

    def _compile(
        self,
        document: Document,
        operation: OperationDefinitionNode,
        request: Request,
        variables: VariableValues,
        part: int | None,
    ) -> "_Compiled":
        deciding = ((name, variables.coerced.get(name)) for name in sorted(document.directive_variables))
        key = (request.query, request.operation_name, part, *deciding)
        if compiled := self._compiled_operations.get(key):
            return compiled
        structure = Structure.of_operation(self._schema, operation, document.fragments, variables)
        plan: Plan | NotCompilableError = NotCompilableError("switched off")
        if self._compiled:
            try:
                plan = Plan(self._strawberry, operation, document.fragments, variables, self._encoding)
            except NotCompilableError as exc:
                plan = exc
        return self._compiled_operations.set(key, _Compiled(plan, structure), _weight(len(request.query)))


@dataclass(frozen=True)
class _Compiled:
    """What depends on the variables of directives only: the plan, or the reason why there is none, and the fields."""

    plan: Plan | NotCompilableError
    structure: Structure


def _weight(length: int) -> int:
    return 8000 + _BYTES_PER_CHARACTER * length

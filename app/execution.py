"""An operation: parsed, validated and guarded once for each text, then run.

Knows GraphQL and nothing of sessions: what an operation costs is told to it as a function.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import strawberry
from graphql import (
    ArgumentNode,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    Node,
    NoSchemaIntrospectionCustomRule,
    ObjectFieldNode,
    OperationDefinitionNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    execute,
    get_operation_ast,
    get_variable_values,
    parse,
    specified_rules,
    validate,
    visit,
)
from graphql.execution.values import VariableValues
from structlog.typing import FilteringBoundLogger

from app import errors
from app.errors import BadUserInput, GatewayError, OperationTooExpensive
from app.guards import Limits

_DOCUMENTS: Final = 1000
"""How many documents are kept, the least recently used going first."""
_DOCUMENT_LENGTH: Final = 32 * 1024
"""Longer documents are not kept: a thousand of them would fill the memory."""

CostOf = Callable[[OperationDefinitionNode, DocumentNode, VariableValues], int]


@dataclass(frozen=True)
class Request:
    """What a client sent, its form checked."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None


@dataclass(frozen=True)
class Response:
    """`data` is absent, not null, where the operation never ran; `outcome` is `ok` or the first error's code."""

    errors: list[dict[str, Any]]
    data: dict[str, Any] | None = None
    ran: bool = False
    cost: int = 0

    @property
    def outcome(self) -> str:
        return self.errors[0]["extensions"]["code"] if self.errors else "ok"

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        return body | ({"data": self.data} if self.ran else {})


class Executor:
    def __init__(
        self,
        schema: strawberry.Schema,
        limits: Limits,
        cost_of: CostOf,
        *,
        introspection: bool,
        log: FilteringBoundLogger,
    ) -> None:
        self._schema: GraphQLSchema = schema._schema  # noqa: SLF001 - Strawberry shows it under no other name
        self._executor_class = schema.execution_context_class
        self._limits = limits
        self._cost_of = cost_of
        self._rules = [*specified_rules] if introspection else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._hide_suggestions = not introspection
        self._log = log
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def name_of(self, request: Request) -> str | None:
        """The operation's name, where its document is kept; only valid names can be, so that it is safe to log."""
        document = self._documents.get(request.query)
        operation = get_operation_ast(document, request.operation_name) if document else None
        return operation.name.value[:100] if operation and operation.name else None

    async def run(self, request: Request, context: Any) -> Response:
        """Never raises but for being cancelled. `context.beside` may hold errors that cost no field its value."""
        try:
            document = self._document(request.query)
            cost = self._checked_cost(document, request)
        except _Invalid as invalid:
            return self._refused(invalid.errors)
        except GatewayError as exc:
            return self._refused([GraphQLError(str(exc), original_error=exc)])
        result = execute(
            self._schema,
            document,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.operation_name,
            executor_class=self._executor_class,
            hide_suggestions=self._hide_suggestions,
            operation_extensions={},
        )
        if not isinstance(result, ExecutionResult):
            result = await result
        found = [*(result.errors or ()), *context.beside]
        return Response([self._formatted(error) for error in found], result.data, ran=True, cost=cost)

    def _document(self, text: str) -> DocumentNode:
        if text in self._documents:
            self._documents.move_to_end(text)
            return self._documents[text]
        try:
            document = parse(text, max_tokens=self._limits.tokens)
            self._limits.check_shape(document)
        except GraphQLSyntaxError as exc:
            if "more than" in exc.message and "tokens" in exc.message:
                limit = self._limits.tokens
                message = (
                    f"This document is more than {limit} tokens, and {limit} are allowed. Split it, or ask for less."
                )
                raise OperationTooExpensive(message, limit=limit, value=limit + 1) from exc
            exc.extensions = {"code": errors.PARSE_FAILED}
            raise _Invalid([exc]) from exc
        except RecursionError as exc:
            raise OperationTooExpensive(
                "This document is nested too deeply.", limit=self._limits.depth, value=self._limits.depth + 1
            ) from exc
        if found := validate(
            self._schema, document, self._rules, max_errors=20, hide_suggestions=self._hide_suggestions
        ):
            raise _Invalid([_as_invalid(error, document) for error in found])
        if len(text) <= _DOCUMENT_LENGTH:
            self._documents[text] = document
        if len(self._documents) > _DOCUMENTS:
            self._documents.popitem(last=False)
        return document

    def _checked_cost(self, document: DocumentNode, request: Request) -> int:
        operation = _operation(document, request.operation_name)
        variables = get_variable_values(
            self._schema,
            operation.variable_definitions or (),
            dict(request.variables),
            max_errors=10,
            hide_suggestions=self._hide_suggestions,
        )
        if isinstance(variables, list):
            raise _Invalid([_as_bad_input(error, document) for error in variables])
        try:
            cost = self._cost_of(operation, document, variables)
        except GraphQLError as exc:
            raise _Invalid([_as_bad_input(exc, document)]) from exc
        self._limits.check_cost(cost)
        return cost

    def _refused(self, found: list[GraphQLError]) -> Response:
        return Response([self._formatted(error) for error in found])

    def _formatted(self, error: GraphQLError) -> dict[str, Any]:
        cause = error.original_error
        while isinstance(cause, GraphQLError) and cause.original_error:
            cause = cause.original_error
        code = (error.extensions or {}).get("code")
        if isinstance(cause, GatewayError):
            extensions = cause.extensions | dict(error.extensions or {})
        elif code:
            extensions = dict(error.extensions or {})
        elif cause is not None and not isinstance(cause, GraphQLError):
            self._log.error("bug", path=error.path, exc_info=cause)
            return self._internal(error)
        elif error.path and error.nodes and isinstance(error.nodes[0], FieldNode):
            self._log.error("bug", path=error.path, message=error.message)
            return self._internal(error)
        else:
            # What is left is about the values of variables and arguments.
            extensions = {"code": BadUserInput.code}
        return dict(error.formatted) | {"extensions": extensions}

    def _internal(self, error: GraphQLError) -> dict[str, Any]:
        message = "This gateway failed to answer; it is not your query's fault. The log holds the details."
        return dict(error.formatted) | {"message": message, "extensions": {"code": errors.INTERNAL}}


class _Invalid(Exception):
    """Errors that have their code already."""

    def __init__(self, found: list[GraphQLError]) -> None:
        self.errors = found


def digest_of(query: str) -> str:
    """A short name for a document in logs."""
    return hashlib.sha256(query.encode(errors="replace")).hexdigest()[:12]


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operation = get_operation_ast(document, name)
    if operation is None:
        message = f"There is no operation {name!r} in the document." if name else "Name one of its operations."
        raise BadUserInput(message, argument="operationName")
    return operation


def _as_invalid(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """With its code: a value that a scalar refused is bad input, anything else an invalid document."""
    if error.original_error is not None:
        return _as_bad_input(error, document)
    if error.message == "Validation aborted.":
        error.message = "This document repeats fields, or nests fragments, more than can be validated."
    error.extensions = {"code": errors.VALIDATION_FAILED}
    return error


def _as_bad_input(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """With its code, and the argument that the value is for."""
    argument = _argument_with(error.nodes[0], document) if error.nodes else None
    error.extensions = {"code": BadUserInput.code} | ({"argument": argument} if argument else {})
    return error


def _argument_with(value: Node, document: DocumentNode) -> str | None:
    """The argument, and the input fields in it, that hold this value; of a variable, where it is first used."""

    def is_it(node: Node) -> bool:
        if isinstance(value, VariableDefinitionNode):
            return isinstance(node, VariableNode) and node.name.value == value.variable.name.value
        return node is value

    class Finder(Visitor):
        found: str | None = None

        def enter(self, node: Node, _key: Any, parent: Any, _path: Any, ancestors: list[Any]) -> None:
            if self.found is None and is_it(node):
                holders = [each for each in (*ancestors, parent) if isinstance(each, ArgumentNode | ObjectFieldNode)]
                self.found = ".".join(each.name.value for each in holders) or None

    finder = Finder()
    visit(document, finder)
    return finder.found

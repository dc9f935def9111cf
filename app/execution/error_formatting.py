"""What a client reads of an operation's errors: each with a code that never changes, none with what is internal."""

from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    Node,
    ObjectFieldNode,
    VariableDefinitionNode,
    VariableNode,
    Visitor,
    visit,
)
from structlog.typing import FilteringBoundLogger

from app import errors
from app.errors import BadUserInputError, GatewayError


class InvalidOperationError(Exception):
    """Errors that have their code already, of an operation that is not to run."""

    def __init__(self, found: list[GraphQLError]) -> None:
        self.errors = found


def format_error(error: GraphQLError, log: FilteringBoundLogger) -> dict[str, Any]:
    """The error as the response has it. What is a bug goes to the log, and is masked."""
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error:
        cause = cause.original_error
    code = (error.extensions or {}).get("code")
    if isinstance(cause, GatewayError):
        extensions = cause.extensions | dict(error.extensions or {})
    elif code:
        extensions = dict(error.extensions or {})
    elif cause is not None and not isinstance(cause, GraphQLError):
        log.error("internal_error", path=error.path, exc_info=cause)
        return _internal(error)
    elif error.path and error.nodes and isinstance(error.nodes[0], FieldNode):
        log.error("internal_error", path=error.path, message=error.message)
        return _internal(error)
    else:
        # What is left is about the values of variables and arguments.
        extensions = {"code": BadUserInputError.code}
    return dict(error.formatted) | {"extensions": extensions}


def as_invalid(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """With its code: a value that a scalar refused is bad input, anything else an invalid document."""
    if error.original_error is not None:
        return as_bad_input(error, document)
    if error.message == "Validation aborted.":
        error.message = "This document repeats fields, or nests fragments, more than can be validated."
    error.extensions = {"code": errors.VALIDATION_FAILED}
    return error


def as_bad_input(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """With its code, and the argument that the value is for."""
    argument = _argument_with(error.nodes[0], document) if error.nodes else None
    error.extensions = {"code": BadUserInputError.code} | ({"argument": argument} if argument else {})
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


def _internal(error: GraphQLError) -> dict[str, Any]:
    message = "This gateway failed to answer; it is not your query's fault. The log holds the details."
    return dict(error.formatted) | {"message": message, "extensions": {"code": errors.INTERNAL}}

"""Errors as clients read them: each has a stable code, and none shows anything internal."""

import re
from typing import Any, Final

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
from app.observability.request_id import internal_error_message

MAX_ERRORS: Final = 5
"""Errors that are reported of a document that is not valid, and of variables."""
_MAX_MESSAGE: Final = 400
_LONG_WORD: Final = re.compile(r"\S{101,}")


class InvalidOperationError(Exception):
    """An operation that must not run. Each of its `errors` already has its code."""

    def __init__(self, found: list[GraphQLError]) -> None:
        super().__init__(found)
        self.errors = found


def format_error(error: GraphQLError, log: FilteringBoundLogger) -> dict[str, Any]:
    """The error as it appears in the response. A bug is logged with its traceback, and masked."""
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
        # graphql-core's messages about completed values name types and fields. The values in them are LangSmith's or
        # our own: an error about a value of the client has no path, or the node of an argument.
        log.error("internal_error", path=error.path, message=error.message)
        return _internal(error)
    else:
        # graphql-core raises the remaining errors itself, about the values of variables and arguments.
        extensions = {"code": BadUserInputError.code}
    return dict(error.formatted) | {"message": shortened(error.message), "extensions": extensions}


def shortened(message: str) -> str:
    """The message with the middle of what is long left out: graphql-core quotes the client's text in full."""
    words = _LONG_WORD.sub(lambda word: f"{word[0][:60]}…{word[0][-20:]}", message[: 2 * _MAX_MESSAGE])
    tail = _LONG_WORD.sub(lambda word: word[0][-20:], message[-100:]) if len(message) > 2 * _MAX_MESSAGE else ""
    whole = f"{words}…{tail}" if tail else words
    return whole if len(whole) <= _MAX_MESSAGE else f"{whole[:200]}…{whole[-60:]}"


def with_validation_code(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """Give a validation error its code: BAD_USER_INPUT if a scalar refused a value, else GRAPHQL_VALIDATION_FAILED."""
    if error.original_error is not None:
        return with_bad_input_code(error, document)
    if error.message == "Validation aborted.":
        error.message = "This document repeats fields or nests fragments too often to be validated. Split it."
    error.extensions = {"code": errors.VALIDATION_FAILED}
    return error


def with_bad_input_code(error: GraphQLError, document: DocumentNode) -> GraphQLError:
    """Give an error about a value its code, and the path of the argument that the value is for."""
    if type(error.original_error) is ValueError:  # Python's own, about an integer with thousands of digits
        error.message = "This number has too many digits."
    argument = _argument_path(error.nodes[0], document) if error.nodes else None
    error.extensions = {"code": BadUserInputError.code} | ({"argument": argument} if argument else {})
    return error


def _argument_path(value: Node, document: DocumentNode) -> str | None:
    """The names of the argument and the input fields around a value, joined by dots.

    For the definition of a variable, the path is that of the place where the variable is used first. None if the value
    is not in an argument.
    """

    def is_value(node: Node) -> bool:
        if isinstance(value, VariableDefinitionNode):
            return isinstance(node, VariableNode) and node.name.value == value.variable.name.value
        return node is value

    class Finder(Visitor):
        found: str | None = None

        def enter(self, node: Node, _key: Any, parent: Any, _path: Any, ancestors: list[Any]) -> None:
            if self.found is None and is_value(node):
                holders = [each for each in (*ancestors, parent) if isinstance(each, ArgumentNode | ObjectFieldNode)]
                self.found = ".".join(each.name.value for each in holders) or None

    finder = Finder()
    visit(document, finder)
    return finder.found


def _internal(error: GraphQLError) -> dict[str, Any]:
    return dict(error.formatted) | {"message": internal_error_message(), "extensions": {"code": errors.INTERNAL}}

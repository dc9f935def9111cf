"""The bound of an answer's errors, which holds while the errors are made.

One odd value in each row of a long list, under many aliases, would otherwise be thousands of errors with long paths.
"""

from typing import Any, Final

from graphql import GraphQLError, GraphQLOutputType, is_non_null_type
from graphql.execution.executor import CollectedErrors

MAX_ERRORS: Final = 100
"""Errors of one answer."""


class ErrorBound:
    """Holds the first errors of one answer, and counts the others.

    An error whose message is new takes the place of one that repeats another message, so that each problem is told.
    """

    def __init__(self) -> None:
        self.held: list[GraphQLError] = []
        self.left_out = 0
        self._messages: set[str] = set()
        self._repeated: list[GraphQLError] = []

    def leaves_out(self, message: str) -> bool:
        """Whether an error with this message would be counted only, so that it need not be made."""
        return len(self.held) >= MAX_ERRORS and (message in self._messages or not self._repeated)

    def add(self, error: GraphQLError) -> None:
        """Hold an error, or count it."""
        if self.leaves_out(error.message):
            self.left_out += 1
            return
        if len(self.held) >= MAX_ERRORS:
            replaced = self._repeated.pop()
            self.held.remove(replaced)
            self.left_out += 1
        if error.message in self._messages:
            self._repeated.append(error)
        self._messages.add(error.message)
        self.held.append(error)

    def listed(self) -> list[GraphQLError]:
        """The errors. If some were left out, the last one says how many."""
        if not self.left_out:
            return self.held
        last = self.held[-1]
        more = "1 more error is" if self.left_out == 1 else f"{self.left_out} more errors are"
        message = f"{last.message} ({more} not listed.)"
        return [
            *self.held[:-1],
            GraphQLError(
                message, last.nodes, path=last.path, original_error=last.original_error, extensions=last.extensions
            ),
        ]


class BoundedErrors(CollectedErrors):
    """graphql-core's collection of errors, in a bound."""

    __slots__ = ("bound",)

    def __init__(self, bound: ErrorBound) -> None:
        super().__init__()
        self.bound = bound
        self._errors = bound.held

    def add(self, error: GraphQLError, path: Any) -> None:
        if not self.has_nulled_position(path):
            self._error_positions.add(path)
            self.bound.add(error)

    def leaves_out(self, error: Exception, kind: GraphQLOutputType, path: Any) -> bool:
        """Whether an error of a nullable field is counted only. It is then counted."""
        if is_non_null_type(kind) or not self.bound.leaves_out(str(error)):
            return False
        if not self.has_nulled_position(path):
            self._error_positions.add(path)
            self.bound.left_out += 1
        return True

"""What the executor takes and returns: Request and Response."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True)
class Request:
    """A GraphQL request whose parameters have the right types."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None


@dataclass(frozen=True)
class Response:
    """The answer to a request.

    Args:
        errors: Formatted errors, each with its code.
        data: The response's `data` as JSON; None if it is null, or if the operation did not run.
        ran: Whether the operation ran. If not, the response has no `data` key at all.
        cost: The operation's cost, in the units of its limit.
    """

    errors: list[dict[str, Any]]
    data: msgspec.Raw | None = None
    ran: bool = False
    cost: int = 0

    @property
    def outcome(self) -> str:
        """`ok`, or the code of the first error."""
        return self.errors[0]["extensions"]["code"] if self.errors else "ok"

    def as_json(self) -> dict[str, Any]:
        """The response's body."""
        body: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        return body | ({"data": self.data} if self.ran else {})

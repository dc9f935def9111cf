"""The id of the request that is being answered, for every log line that it causes and for what a client can quote."""

from contextvars import ContextVar
from typing import Any, Final

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id")
"""Set for each HTTP request. What a request starts has its id, such as a request to LangSmith that others join."""


def add_request_id(_log: Any, _method: str, line: Any) -> Any:
    """A processor of structlog: add the request id to a line that has none."""
    if (request_id := REQUEST_ID.get(None)) is not None:
        line.setdefault("request_id", request_id)
    return line


def internal_error_message() -> str:
    """What a client reads about a bug: nothing of its cause, but the id under which the log has it."""
    request_id = REQUEST_ID.get(None)
    place = f"The log has the reason under the request id {request_id}." if request_id else "The log has the reason."
    return f"This gateway failed to answer; it is not your query's fault. {place}"

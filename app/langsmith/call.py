"""The record of one request to LangSmith: what Explain shows, and what log lines and spans refer to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.langsmith.failed_attempt import Reason
from app.observability.tracing import NO_SPAN, RequestSpan


@dataclass
class UpstreamCall:
    """One request to LangSmith with all of its tries. It is updated while the request is in flight.

    path, params: the request line, parameters in canonical order.
    status: HTTP status of the last response; None if the last try got no response.
    milliseconds: duration of all tries together, with the pauses between them.
    attempts: number of times that the request was sent.
    reason: cause of the failure, for the log; None if there was none, or if the body cannot be read.
    tried_at: start of the last try (monotonic seconds), before it waits for a limit. The age of the page is measured
        from it.
    span: tracing span of the last try.
    """

    path: str
    params: Sequence[tuple[str, str]]
    status: int | None = None
    milliseconds: float = 0.0
    attempts: int = 0
    reason: Reason | None = None
    tried_at: float = 0.0
    span: RequestSpan = NO_SPAN

    def as_json(self) -> dict[str, Any]:
        """The entry of `extensions.gateway.fields.<field>.requests`. A repeated parameter becomes a list."""
        params: dict[str, Any] = {}
        for name, value in self.params:
            params.setdefault(name, []).append(value)
        return {
            "path": self.path,
            "params": {name: values[0] if len(values) == 1 else values for name, values in params.items()},
            "status": self.status,
            "ms": round(self.milliseconds, 1),
            "attempts": self.attempts,
        }

"""TODO."""

from dataclasses import dataclass
from typing import Any

from app.observability.tracing import NO_SPAN, RequestSpan


@dataclass
class UpstreamCall:
    """One request to LangSmith. `status` is None until, and unless, an answer came; retries add to `attempts`.

    `sending` is the last of them, for who traces.
    """

    path: str
    params: list[tuple[str, str]]
    status: int | None = None
    milliseconds: float = 0.0
    attempts: int = 0
    sending: RequestSpan = NO_SPAN

    def as_json(self) -> dict[str, Any]:
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

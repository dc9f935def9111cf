"""What one root field of an operation cost upstream, and how the cache answered it."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.langsmith.call import UpstreamCall


class Outcome(enum.IntEnum):
    """How the cache answered; the larger, the more it had to do."""

    HIT = 0
    STALE = 1
    COALESCED = 2
    REFILL = 3
    MISS = 4


@dataclass(frozen=True)
class Dependency:
    """A held page that an answer rests on: fresh until then (monotonic), and unchanged while it is `version`."""

    key: str
    version: int | None
    expires_at: float


@dataclass
class FieldTrace:
    dependencies: list[Dependency] = field(default_factory=list)
    outcome: Outcome | None = None
    age: float = 0.0
    calls: list[UpstreamCall] = field(default_factory=list)

    def record(
        self, outcome: Outcome, *, age: float = 0.0, calls: Iterable[UpstreamCall] = (), uses: Iterable[Dependency] = ()
    ) -> None:
        """`age`: seconds since LangSmith was asked."""
        self.outcome = outcome if self.outcome is None else max(self.outcome, outcome)
        self.age = max(self.age, age)
        self.dependencies += uses
        self.calls += [call for call in calls if not any(call is known for known in self.calls)]

    def as_json(self) -> dict[str, Any]:
        return {
            "cache": self.outcome.name if self.outcome is not None else None,
            "age": round(self.age, 3),
            "requests": [call.as_json() for call in self.calls],
        }

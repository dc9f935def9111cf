"""What one root field of an operation did: how the cache answered, which requests were made, which pages were used."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.langsmith.call import UpstreamCall
from app.sessions.query import StatsWindow


class Outcome(enum.IntEnum):
    """How the cache answered, ordered by how much it had to do. The names appear in Explain, metrics and traces."""

    HIT = 0
    """From the cache."""
    STALE = 1
    """From the cache, by a page that is refreshed in the background."""
    COALESCED = 2
    """By a request to LangSmith that another caller had started."""
    REFILL = 3
    """From the cache, after a request for the missing statistics."""
    MISS = 4
    """By a request to LangSmith."""


@dataclass(frozen=True)
class Dependency:
    """A cached page that an answer was made from.

    The answer may be repeated until `expires_at` (monotonic seconds), while the parts of the page that it used are of
    these `versions` (see `Page.versions`). Another part may have been added or replaced meanwhile.
    """

    key: str
    versions: Mapping[StatsWindow | None, int]
    expires_at: float


@dataclass
class FieldTrace:
    """Recorder for one root field. Of several lookups it keeps the heaviest outcome and the highest age."""

    dependencies: list[Dependency] = field(default_factory=list)
    outcome: Outcome | None = None
    age: float = 0.0
    calls: list[UpstreamCall] = field(default_factory=list)

    def record(
        self,
        outcome: Outcome,
        *,
        age: float = 0.0,
        calls: Iterable[UpstreamCall] = (),
        dependencies: Iterable[Dependency] = (),
    ) -> None:
        """Records one lookup. `age` is in seconds since the oldest value in the answer was fetched."""
        self.outcome = outcome if self.outcome is None else max(self.outcome, outcome)
        self.age = max(self.age, age)
        self.dependencies += dependencies
        # Several lookups may wait for the same request, which is listed once.
        self.calls += [call for call in calls if not any(call is recorded for recorded in self.calls)]

    def as_json(self) -> dict[str, Any]:
        """The field's entry in `extensions.gateway`."""
        return {
            "cache": self.outcome.name if self.outcome is not None else None,
            "age": round(self.age, 3),
            "requests": [call.as_json() for call in self.calls],
        }

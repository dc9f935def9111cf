"""What the emulator is expected to return, computed from its generated sessions and runs."""

import statistics
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.emulator import Emulator
from app.emulator.run import Run
from app.emulator.session import Session

NOW = datetime(2026, 3, 10, 14, 37, 21, 123456, tzinfo=UTC)
STATISTICS = {
    *("run_count", "latency_p50", "latency_p99", "first_token_p50", "first_token_p99", "total_tokens"),
    *("prompt_tokens", "completion_tokens", "total_cost", "prompt_cost", "completion_cost", "last_run_start_time"),
    *("feedback_stats", "session_feedback_stats", "error_rate", "streaming_rate"),
}

Rows = list[dict[str, Any]]
ListSessions = Callable[..., Awaitable[Rows]]


class Page(NamedTuple):
    """A page of version 2."""

    items: Rows
    next_cursor: str | None


GetPage = Callable[..., Awaitable[Page]]


def sessions_of(langsmith: Emulator, key: str = "demo") -> tuple[Session, ...]:
    return langsmith.workspaces[key].sessions


def ids(sessions: Any) -> set[str]:
    """Ids of sessions, or of rows."""
    return {str(session["id"] if isinstance(session, dict) else session.id) for session in sessions}


def counted(session: Session, since: datetime | None = None, until: datetime = NOW) -> list[Run]:
    """The runs of a session that a window counts."""
    return [run for run in session.runs.all if (since is None or run.start_time >= since) and run.start_time <= until]


def percentile(values: list[float], share: int) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def parse_time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)

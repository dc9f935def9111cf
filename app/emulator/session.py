"""A session, which is a tracing project or an experiment: its columns, its feedback and its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.emulator import timestamps
from app.emulator.run import Feedback, Runs


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session. `started` and `ended` are timestamps.

    `old_format` sessions look as the API returned them in the past: times have no offset, sources of feedback are plain
    strings, and feedback has no `contains_thread_feedback`.
    """

    id: UUID
    tenant_id: UUID
    name: str
    description: str | None
    started: int
    ended: int | None
    extra: Mapping[str, Any]
    trace_tier: str | None
    default_dataset_id: UUID | None
    reference_dataset_id: UUID | None
    test_run_number: int | None
    tag_value_ids: frozenset[UUID]
    feedback: tuple[Feedback, ...]
    runs: Runs
    old_format: bool

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.extra.get("metadata", {}))

    @property
    def tags(self) -> list[str]:
        return list(self.extra.get("tags", ()))

    def columns(self, now: int) -> dict[str, Any]:
        """The row of the session, without statistics and facets. Runs count if they started before `now`."""
        runs = self.runs.between(None, now)
        return {
            "id": str(self.id),
            "tenant_id": str(self.tenant_id),
            "start_time": self.format_time(self.started),
            "end_time": None if self.ended is None else self.format_time(self.ended),
            "extra": dict(self.extra),
            "name": self.name,
            "description": self.description,
            "default_dataset_id": _uuid_text(self.default_dataset_id),
            "reference_dataset_id": _uuid_text(self.reference_dataset_id),
            "trace_tier": self.trace_tier,
            # Assumed: the live time of the last run is a column, which is exact and needs no statistics.
            "last_run_start_time_live": self.format_time(runs[-1].started) if runs else None,
            "test_run_number": self.test_run_number,
        }

    def newer_columns(self, now: int) -> dict[str, Any]:
        """Columns that the published specification lacks."""
        progress = {"expected_run_count": len(self.runs.between(None, now)), "run_progress": 1.0}
        return {
            "experiment_progress": None if self.reference_dataset_id is None else progress,
            "longlived_ttl_days": 400 if self.trace_tier == "longlived" else None,
        }

    def format_time(self, timestamp: int) -> str:
        time = timestamps.to_datetime(timestamp)
        return (time.replace(tzinfo=None) if self.old_format else time).isoformat()


def _uuid_text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)

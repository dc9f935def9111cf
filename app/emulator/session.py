"""A session (a project or an experiment): its columns, and its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from . import moment
from .run import Feedback, Runs


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session; `started` and `ended` are moments.

    `old_style` rows are as the API used to write them: times without an offset, the
    sources of feedback as plain strings, and feedback without its newest part.
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
    old_style: bool

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.extra.get("metadata", {}))

    @property
    def tags(self) -> list[str]:
        return list(self.extra.get("tags", ()))

    def columns(self, now: int) -> dict[str, Any]:
        """The row without statistics and facets."""
        runs = self.runs.between(None, now)
        experiment = self.reference_dataset_id is not None
        return {
            "id": str(self.id),
            "tenant_id": str(self.tenant_id),
            "start_time": self.as_text(self.started),
            "end_time": None if self.ended is None else self.as_text(self.ended),
            "extra": dict(self.extra),
            "name": self.name,
            "description": self.description,
            "default_dataset_id": _text(self.default_dataset_id),
            "reference_dataset_id": _text(self.reference_dataset_id),
            "trace_tier": self.trace_tier,
            # Assumed: the live time of the last run is a column: exact, and there without statistics.
            "last_run_start_time_live": self.as_text(runs[-1].started) if runs else None,
            "test_run_number": self.test_run_number,
            "experiment_progress": {"expected_run_count": len(runs), "run_progress": 1.0} if experiment else None,
            "longlived_ttl_days": 400 if self.trace_tier == "longlived" else None,
        }

    def as_text(self, time: int) -> str:
        written = moment.to_datetime(time)
        return (written.replace(tzinfo=None) if self.old_style else written).isoformat()


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)

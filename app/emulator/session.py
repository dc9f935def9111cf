"""A session, which is a tracing project or an experiment: its attributes, its feedback and its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.emulator.query import SessionType
from app.emulator.run import Feedback, Runs


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session. `started` and `ended` are timestamps.

    `old_format` sessions look as the API returned them in the past: times have no offset; on version 1, sources of
    feedback are plain strings, and feedback has no `contains_thread_feedback`.
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

    @property
    def type(self) -> SessionType:
        """A stable share of the tracing projects, by id, belongs to agents."""
        if self.reference_dataset_id is not None:
            return "EXPERIMENT"
        return "AGENT" if self.id.int % 5 == 0 else "PROJECT"

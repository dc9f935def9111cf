"""Rows of sessions: what both versions of the API send, and what only version 1 does."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.emulator import timestamps
from app.emulator.behaviour import Behaviour
from app.emulator.session import Session

FEEDBACK = ("feedback_stats", "session_feedback_stats")


def render_row(session: Session, values: Mapping[str, Any], now: int, behaviour: Behaviour) -> dict[str, Any]:
    """A row of version 1. `values` are statistics and facets by name; those that the row lacks are left out."""
    row = render_columns(session, now, behaviour)
    if behaviour.sends_newer_fields:
        row |= render_newer_columns(session, now)
    row |= render_times(session, values, behaviour)
    for name in FEEDBACK:
        if row.get(name) is not None:
            row[name] = {key: _feedback_entry(session, entry) for key, entry in row[name].items()}
    return row


def render_columns(session: Session, now: int, behaviour: Behaviour) -> dict[str, Any]:
    """The columns of a row. Runs count if they started before `now`."""
    runs = session.runs.between(None, now)
    return {
        "id": str(session.id),
        "tenant_id": str(session.tenant_id),
        "start_time": _format_time(session, session.started, behaviour),
        "end_time": None if session.ended is None else _format_time(session, session.ended, behaviour),
        "extra": dict(session.extra),
        "name": session.name,
        "description": session.description,
        "default_dataset_id": _uuid_text(session.default_dataset_id),
        "reference_dataset_id": _uuid_text(session.reference_dataset_id),
        "trace_tier": session.trace_tier,
        # Assumed (last-run-column): the live time of the last run is a column, which is exact and needs no statistics.
        "last_run_start_time_live": _format_time(session, runs[-1].started, behaviour) if runs else None,
        "test_run_number": session.test_run_number,
    }


def render_newer_columns(session: Session, now: int) -> dict[str, Any]:
    """Columns that the published specification of version 1 lacks."""
    # One experiment in six has not run all of its examples.
    progress = 0.75 if session.id.int % 6 == 0 else 1.0
    experiment_progress = {
        "expected_run_count": int(len(session.runs.between(None, now)) / progress),
        "run_progress": progress,
        "evaluator_progress": {"correctness": progress, "helpfulness": progress / 2},
    }
    return {
        "experiment_progress": experiment_progress if session.type == "EXPERIMENT" else None,
        "longlived_ttl_days": 400 if session.trace_tier == "longlived" else None,
    }


def render_times(session: Session, values: Mapping[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """The values, with the time of the last run as a text."""
    last_run = values.get("last_run_start_time")
    if last_run is None:
        return dict(values)
    return {**values, "last_run_start_time": _format_time(session, last_run, behaviour)}


def _feedback_entry(session: Session, entry: Mapping[str, Any]) -> dict[str, Any]:
    if session.old_format:
        return {name: part for name, part in entry.items() if name != "contains_thread_feedback"}
    return {**entry, "sources": [{"type": source} for source in entry["sources"]]}


def _format_time(session: Session, timestamp: int, behaviour: Behaviour) -> str:
    time = timestamps.to_datetime(timestamp)
    has_offset = not session.old_format if behaviour.time_offsets == "some" else behaviour.time_offsets == "all"
    return (time if has_offset else time.replace(tzinfo=None)).isoformat()


def _uuid_text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)

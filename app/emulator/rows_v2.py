"""Rows of version 2: typed feedback, values of enumerations in upper case, and the type of the session."""

from collections.abc import Mapping
from typing import Any

from app.emulator.behaviour import Behaviour
from app.emulator.rows import FEEDBACK, render_columns, render_newer_columns, render_times
from app.emulator.session import Session

_TRACE_TIERS = {None: None, "longlived": "LONG_LIVED", "shortlived": "SHORT_LIVED"}
_PARTS = ("n", "avg", "stdev", "min", "max", "median", "errors", "values", "contains_thread_feedback")
_COMPOSITE_KEYS = {"overall"}
"""Feedback keys whose scores are computed from other keys."""


def render_row_v2(session: Session, values: Mapping[str, Any], now: int, behaviour: Behaviour) -> dict[str, Any]:
    """A row of version 2. `values` are statistics and facets by name; those that the row lacks are left out."""
    row = render_columns(session, now, behaviour) | render_newer_columns(session, now)
    row |= {"type": session.type, "trace_tier": _TRACE_TIERS[session.trace_tier]}
    row |= render_times(session, values, behaviour)
    for name in FEEDBACK:
        if row.get(name) is not None:
            row[name] = {key: _feedback_entry(key, entry) for key, entry in row[name].items()}
    return row


def _feedback_entry(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    kind = "COMPOSITE" if key in _COMPOSITE_KEYS else "PRIMARY"
    return {part: entry[part] for part in _PARTS} | {"type": kind}

"""Pushdown: which statistics an operation selects, and over which windows, so that LangSmith computes only those."""

from typing import Final

from strawberry.utils.str_converters import to_camel_case

from app.execution.selection import Selection
from app.schema.context import OperationContext
from app.sessions.arguments import StatsOptions, stats_options
from app.sessions.fields import FACETS, FIELDS, STATS
from app.sessions.query import ALL_RUNS, StatsWindow

STATISTICS: Final = tuple(name for name in FIELDS if name in STATS | FACETS)
"""Names of all statistics and facets, in the order of their declarations."""
STATISTIC_FIELDS: Final = {to_camel_case(name): name for name in STATISTICS}
"""Those names by the names of the fields in the schema."""


def statistics_in(selection: Selection) -> frozenset[str]:
    """The statistics and facets that a selection of sessions, or of their `stats`, contains."""
    return frozenset(STATISTIC_FIELDS[name] for name in selection.names & STATISTIC_FIELDS.keys())


def windows_in(sessions: Selection, context: OperationContext, root_key: str) -> dict[StatsWindow, frozenset[str]]:
    """The statistics that the `stats` fields of sessions below a root field select, by window.

    A window of which no statistic is selected is left out. Raises BadUserInputError for invalid options.
    """
    windows: dict[StatsWindow, frozenset[str]] = {}
    for arguments, below in sessions.calls("stats"):
        window, _ = context.window(stats_options(arguments), root_key)
        if statistics := statistics_in(below):
            windows[window] = windows.get(window, frozenset()) | statistics
    return windows


def window_of(stats: StatsOptions | None, context: OperationContext, root_key: str) -> StatsWindow:
    """The window of a root field's `stats` argument. Raises BadUserInputError for invalid options."""
    return context.window(stats, root_key)[0] if stats else ALL_RUNS

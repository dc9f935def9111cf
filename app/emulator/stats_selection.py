"""The statistics and facets that the rows of a response get."""

from typing import Any

from app.emulator import timestamps
from app.emulator.behaviour import Behaviour
from app.emulator.errors import ApiError
from app.emulator.filter_fields import RUN_FIELDS
from app.emulator.listing import compile_parameter
from app.emulator.query import StatsQuery
from app.emulator.session import Session
from app.emulator.statistics import FACETS, STATISTICS, RunWindow, Statistics
from app.emulator.timestamps import DAY, HOUR


class StatsSelection:
    """The statistics and facets that a request selects, and the window of runs that they are computed from.

    Raises ApiError for parameters that the API does not accept.
    """

    def __init__(self, query: StatsQuery, statistics: Statistics, now: int, behaviour: Behaviour) -> None:
        if query.select and behaviour.refuses_stats_select:
            raise ApiError.invalid_parameter(
                "stats_select",
                kind="extra_forbidden",
                message="Extra inputs are not permitted",
                value=list(query.select),
            )
        self._statistics = statistics
        selected = (query.select or tuple(STATISTICS)) if query.include else ()
        # Assumed (facets-without-statistics): facets need no include_stats.
        facets = FACETS if query.facets and (query.include or not behaviour.facets_need_stats) else ()
        self._names = [*selected, *facets]
        # Assumed (unselected-null): an unselected statistic is in the row, and null.
        leaves_out = behaviour.leaves_out_unselected and query.include
        self._nulls = dict.fromkeys(FACETS if leaves_out else (*STATISTICS, *FACETS))
        self.window = _create_window(query, now, behaviour)

    def values(self, session: Session) -> dict[str, Any]:
        """By name, the values of a session: null for those that are not selected, unless they are left out."""
        return self._nulls | self._statistics.compute(session, self.window, self._names)


def _create_window(query: StatsQuery, now: int, behaviour: Behaviour) -> RunWindow:
    start = None if query.since is None else timestamps.from_datetime(query.since)
    if start is not None and start < now - 31 * DAY:
        # Assumed (early-window): a start that is too early is refused, not moved.
        if not behaviour.moves_early_windows:
            raise ApiError.invalid_parameter(
                "stats_start_time", kind="value_error", message="Must be at most 31 days back", value=str(query.since)
            )
        start = now - 31 * DAY
    refused = ("start_time",) if behaviour.refuses_run_times else ()
    return RunWindow(
        # Assumed (default-window): without a start, every run up to now counts.
        since=start,
        # Assumed (approximate-statistics): approximate statistics are those of the last full hour.
        until=now // HOUR * HOUR if query.approximate else now,
        filter=query.filter,
        matches=compile_parameter("stats_filter", query.filter, RUN_FIELDS, refused=refused),
    )

"""Prefetching of statistics: a page is fetched with the statistics that were selected of it lately.

The panels of a dashboard select different statistics of the same page. The first of them that misses requests the
statistics of the others too. A statistic that was not selected for a while is no longer prefetched.
"""

from collections.abc import Callable, Iterable
from typing import Final

from app.resilience.lru_cache import BoundedDict
from app.sessions.query import StatsWindow

MAX_REMEMBERED_IDS: Final = 3
"""Selections are remembered for lookups of at most this many sessions: longer ones are lists, not dashboards."""
_TTLS: Final = 3


def selection_seconds(ttl_seconds: float) -> float:
    """Seconds for which a selection is remembered: as long as a page takes to expire three times."""
    return _TTLS * ttl_seconds


class RecentSelections:
    """The statistics that were selected lately, by cache key and window."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = selection_seconds(ttl_seconds)
        self._clock = clock
        self._selected_at: BoundedDict[tuple[str, StatsWindow], dict[str, float]] = BoundedDict()

    def record(self, key: str, window: StatsWindow, statistics: Iterable[str]) -> None:
        """Records that a client selected these statistics now."""
        now = self._clock()
        selected_at = self._selected_at[key, window] = self._selected_at.get((key, window), {})
        for name in statistics:
            selected_at[name] = now

    def recent_statistics(self, key: str, window: StatsWindow) -> frozenset[str]:
        """The statistics that are still remembered."""
        since = self._clock() - self._seconds
        return frozenset(name for name, at in self._selected_at.get((key, window), {}).items() if at > since)

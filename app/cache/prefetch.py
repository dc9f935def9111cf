"""Prefetching of statistics: a page is fetched with the statistics that were selected of it lately.

The panels of a dashboard select different statistics of the same page. The first of them that misses requests the
statistics of the others too. A statistic that was not selected for a while is no longer prefetched.
"""

import sys
from collections.abc import Callable
from typing import Final

from app.resilience.lru_cache import LruCache
from app.sessions.query import StatsWindow

MAX_REMEMBERED_IDS: Final = 3
"""Selections are remembered for lookups of at most this many sessions: longer ones are lists, not dashboards."""
_TTLS: Final = 3
_MAX_BYTES: Final = 4 * 2**20
_ENTRY_BYTES: Final = 1000
"""Memory of an entry without statistics and texts, about."""
_STATISTIC_BYTES: Final = 100


def selection_seconds(ttl_seconds: float) -> float:
    """Seconds for which a selection is remembered: as long as a page takes to expire three times."""
    return _TTLS * ttl_seconds


class RecentSelections:
    """The statistics that were selected lately, by cache key and window. It is bounded in bytes."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = selection_seconds(ttl_seconds)
        self._clock = clock
        self._selected_at: LruCache[tuple[str, StatsWindow], dict[str, float]] = LruCache(_MAX_BYTES)

    def record(self, key: str, window: StatsWindow, statistics: frozenset[str]) -> None:
        """Records that a client selected these statistics now."""
        if not statistics:
            return
        now = dict.fromkeys(statistics, self._clock())
        selected_at = self._selected_at.get((key, window))
        if selected_at is not None and selected_at.keys() >= statistics:
            selected_at.update(now)
            return
        selected_at = {**(selected_at or {}), **now}
        size = _ENTRY_BYTES + sys.getsizeof(key) + window.text_bytes + _STATISTIC_BYTES * len(selected_at)
        self._selected_at.set((key, window), selected_at, size)

    def recent_statistics(self, key: str, window: StatsWindow) -> frozenset[str]:
        """The statistics that are still remembered."""
        selected_at = self._selected_at.get((key, window))
        if not selected_at:
            return frozenset()
        since = self._clock() - self._seconds
        return frozenset(name for name, at in selected_at.items() if at > since)

"""Which statistics of a page were wanted lately, so that it is asked for anew with all of them at once.

A dashboard's panels select different things of the same page. Whichever comes first when it is no longer fresh asks for
the others too; what nobody has wanted for a while is left out again.
"""

from collections.abc import Callable, Iterable
from typing import Final

from app.resilience.lru_cache import LruDict
from app.sessions.query import StatsWindow

MAX_REMEMBERED_IDS: Final = 3
"""Of more sessions than these that are looked up together, nobody remembers what was wanted of each."""
_GENERATIONS: Final = 3
"""Times that a page may expire until what was not wanted meanwhile is forgotten."""


def lately(ttl: float) -> float:
    """For how many seconds it counts what was wanted, where a page is fresh for `ttl`."""
    return _GENERATIONS * ttl


class RecentSelections:
    """`ttl`: seconds that a page is fresh."""

    def __init__(self, ttl: float, clock: Callable[[], float]) -> None:
        self._seconds = lately(ttl)
        self._clock = clock
        self._wanted: LruDict[tuple[str, StatsWindow], dict[str, float]] = LruDict()

    def record(self, key: str, window: StatsWindow, statistics: Iterable[str]) -> None:
        """These were served."""
        now = self._clock()
        wanted = self._wanted[key, window] = self._wanted.get((key, window), {})
        for name in statistics:
            wanted[name] = now

    def recent_statistics(self, key: str, window: StatsWindow) -> frozenset[str]:
        since = self._clock() - self._seconds
        return frozenset(name for name, at in self._wanted.get((key, window), {}).items() if at > since)

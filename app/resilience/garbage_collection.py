"""When Python looks for garbage: the young objects often, and all objects only while nobody waits.

Objects are freed when the last reference to them goes. The garbage collector is for cycles, which are rare here. It
looks through all objects that survived before, and with many cached pages this stops every request for 60 to 190 ms,
several times a minute under load. Looking through the young objects alone takes some milliseconds at most.
"""

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Final

from app.resilience.clock import Clock

_THRESHOLDS: Final = (5_000, 10, 1_000_000)
"""Objects until the youngest are looked through; how often, until those that survived once are; and all: never."""
_CHECK_SECONDS: Final = 1.0
_SHORTEST_PAUSE_SECONDS: Final = 30.0
"""Between two collections of everything, while nobody waits."""
_LONGEST_PAUSE_SECONDS: Final = 3600.0
"""The same, if somebody always waits. A process then stops for a moment, once an hour, so that no cycle stays."""


class GarbageCollection:
    """Collects all garbage of the process, now and then.

    Args:
        is_idle: whether nobody waits at the moment.
        clock: monotonic seconds.
    """

    def __init__(self, is_idle: Callable[[], bool], clock: Clock) -> None:
        self._is_idle = is_idle
        self._clock = clock
        self._collected_at = clock()
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Decide about the process's garbage inside of the block, which needs a running event loop."""
        thresholds, was_enabled = gc.get_threshold(), gc.isenabled()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
        self._wait()
        try:
            yield
        finally:
            if self._timer:
                self._timer.cancel()
            gc.set_threshold(*thresholds)
            if not was_enabled:
                gc.disable()

    def collect_if_due(self) -> bool:
        """Collect everything, unless somebody waits or it was done lately. Returns whether it was done."""
        pause = self._clock() - self._collected_at
        # The last number counts how often surviving objects have become old ones.
        has_old_ones = gc.get_count()[2] > 0
        if not has_old_ones or pause < (_SHORTEST_PAUSE_SECONDS if self._is_idle() else _LONGEST_PAUSE_SECONDS):
            return False
        gc.collect()
        self._collected_at = self._clock()
        return True

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_CHECK_SECONDS, self._check)

    def _check(self) -> None:
        self.collect_if_due()
        self._wait()

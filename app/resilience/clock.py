"""Clocks: the monotonic clock of this process, and the wall clock, which processes on several hosts have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Clock = Callable[[], float]
"""Returns the time in seconds. It is monotonic unless its name says `wall`."""

TIMER_TOLERANCE_SECONDS: Final = 0.01
"""Seconds by which timers and clocks may differ."""


@dataclass(frozen=True)
class Clocks:
    """Converts between monotonic times, which this process computes with, and wall-clock times, which it shares.

    Args:
        monotonic: Seconds since any fixed time in this process.
        wall: Seconds since 1970. Hosts that share data are expected to synchronize it.
    """

    monotonic: Clock
    wall: Clock

    def as_micros(self, at: float) -> int:
        """A monotonic time as microseconds since 1970."""
        return round((at + self.wall() - self.monotonic()) * 1e6)

    def now_as_micros(self) -> int:
        """The current time as microseconds since 1970."""
        return self.as_micros(self.monotonic())

    def from_micros(self, micros: int) -> float:
        """Microseconds since 1970 as a monotonic time, at most now.

        The limit keeps data from a host whose clock is ahead from being fresh for too long.
        """
        now = self.monotonic()
        return min(micros / 1e6 - self.wall() + now, now)

"""What the time is: seconds of this process, and those of the day, by which processes agree."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Seconds: monotonic, unless it is said to be of the day."""


@dataclass(frozen=True)
class Clocks:
    """`monotonic`: of this process; `wall`: of the day, which hosts are supposed to keep."""

    monotonic: Clock
    wall: Clock

    def as_micros(self, at: float) -> int:
        """A monotonic time in microseconds of the day."""
        return round((at + self.wall() - self.monotonic()) * 1e6)

    def now_as_micros(self) -> int:
        return self.as_micros(self.monotonic())

    def from_micros(self, micros: int) -> float:
        """Not later than now, whatever another host's clock says."""
        now = self.monotonic()
        return min(micros / 1e6 - self.wall() + now, now)

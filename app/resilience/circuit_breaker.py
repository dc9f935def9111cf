"""A circuit breaker: who fails again and again is left alone for a while, and then asked by one.

Our own, because none of the libraries lets exactly one request through when it tries again, and takes a clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FAILURES: Final = 10
"""In a row, and it opens."""
PAUSE: Final = 5.0
"""Seconds until one request is let through. Twice as long each time that one fails, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE: Final = 60.0


class CircuitBreaker:
    """`told` is called with whether it is open, whenever that changes. `clock`: monotonic seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_change: Callable[[bool], None] = lambda _: None,
        *,
        failures: int = FAILURES,
        pause: float = PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._clock = clock
        self._told = on_change
        self._most_failures = failures
        self._first_pause = pause
        self._longest_pause = longest_pause
        self._failures = 0
        self._pause = pause
        self._opened_at: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def acquire(self) -> "Permit | None":
        """None where no request may be made. Whoever makes one says how it went, by one of the three below."""
        if self._opened_at is None:
            return Permit()
        if self._is_trying or self._clock() < self._opened_at + self._pause:
            return None
        self._is_trying = True
        return Permit(is_trial=True)

    def record_success(self, admitted: "Permit") -> None:
        """Whatever the answer was, it was one."""
        self._end(admitted)
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self._pause = self._first_pause
            self._told(False)

    def record_failure(self, admitted: "Permit") -> None:
        self._end(admitted)
        self._failures += 1
        if self._opened_at is None:
            if self._failures >= self._most_failures:
                self._opened_at = self._clock()
                self._told(True)
        elif admitted.is_trial:  # others set out before it opened, and say nothing new
            self._opened_at = self._clock()
            self._pause = min(2 * self._pause, self._longest_pause)

    def release(self, admitted: "Permit") -> None:
        """Nobody waited for the end of it, so it says nothing."""
        self._end(admitted)

    def _end(self, admitted: "Permit") -> None:
        if admitted.is_trial:
            self._is_trying = False


@dataclass(frozen=True)
class Permit:
    """A request that may be made. `is_trial`: to see whether it goes well again."""

    is_trial: bool = False

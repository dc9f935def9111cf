"""A circuit breaker: who fails again and again is left alone for a while, and then asked by one.

Our own, because none of the libraries lets exactly one request through when it tries again, and takes a clock.
"""

from collections.abc import Callable
from typing import Final

FAILURES: Final = 10
"""In a row, and it opens."""
PAUSE: Final = 5.0
"""Seconds until one request is let through. Twice as long each time that one fails, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE: Final = 60.0


class Breaker:
    """`told` is called with whether it is open, whenever that changes. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], told: Callable[[bool], None] = lambda _: None) -> None:
        self._clock = clock
        self._told = told
        self._failures = 0
        self._pause = PAUSE
        self._opened_at: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def admits(self) -> bool:
        """Whether a request may be made. Whoever made one has to say how it went, by one of the three below."""
        if self._opened_at is None:
            return True
        if self._is_trying or self._clock() < self._opened_at + self._pause:
            return False
        self._is_trying = True
        return True

    def answered(self) -> None:
        """Whatever the answer was, it was one."""
        self._failures = 0
        self._is_trying = False
        if self._opened_at is not None:
            self._opened_at = None
            self._pause = PAUSE
            self._told(False)

    def failed(self) -> None:
        self._failures += 1
        if self._is_trying:
            self._is_trying = False
            self._opened_at = self._clock()
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        elif self._opened_at is None and self._failures >= FAILURES:
            self._opened_at = self._clock()
            self._told(True)

    def abandoned(self) -> None:
        """Nobody waited for the end of it, so it says nothing."""
        self._is_trying = False

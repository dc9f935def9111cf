"""A circuit breaker: after failures in a row it opens, and lets one trial request through after each pause.

The libraries for it were left out because none of them lets exactly one request through a half-open circuit and takes a
clock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.resilience.clock import Clock

FAILURE_THRESHOLD: Final = 10
"""Failures in a row that open the circuit."""
FIRST_PAUSE_SECONDS: Final = 5.0
"""Seconds from opening to the first trial request. The pause doubles with each trial that fails."""
MAX_PAUSE_SECONDS: Final = 60.0
"""Seconds that a pause lasts at most."""


class CircuitBreaker:
    """The state machine: closed, open, and half-open while the trial request is in flight.

    clock: monotonic seconds.
    on_change: called with whether the circuit is open, when it opens and when it closes.
    failure_threshold: failures in a row that open the circuit.
    first_pause_seconds: seconds from opening to the first trial request.
    max_pause_seconds: bound in seconds of the pause, which doubles with each trial that fails.
    """

    def __init__(
        self,
        clock: Clock,
        on_change: Callable[[bool], None] = lambda _: None,
        *,
        failure_threshold: int = FAILURE_THRESHOLD,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._failure_threshold = failure_threshold
        self._first_pause_seconds = first_pause_seconds
        self._max_pause_seconds = max_pause_seconds
        self._failures = 0
        self._pause = first_pause_seconds
        self._opened_at: float | None = None
        self._trial_is_in_flight = False

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open, or half-open."""
        return self._opened_at is not None

    def acquire(self) -> "Permit | None":
        """A permit for one request; None while the circuit is open.

        Each permit is given back by exactly one of `record_success`, `record_failure` and `release`.
        """
        if self._opened_at is None:
            return Permit()
        if self._trial_is_in_flight or self._clock() < self._opened_at + self._pause:
            return None
        self._trial_is_in_flight = True
        return Permit(is_trial=True)

    def record_success(self, permit: "Permit") -> None:
        """Record that a response came, and close the circuit.

        A request that was sent before the circuit opened closes it too: its late answer shows that the service is back.
        """
        self._end_trial(permit)
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self._pause = self._first_pause_seconds
            self._on_change(False)

    def record_failure(self, permit: "Permit") -> None:
        """Record a failure. The circuit opens at the threshold; a failed trial doubles the pause."""
        self._end_trial(permit)
        self._failures += 1
        if self._opened_at is None:
            if self._failures >= self._failure_threshold:
                self._opened_at = self._clock()
                self._on_change(True)
        elif permit.is_trial:  # The other requests were sent before the circuit opened, and tell nothing new.
            self._opened_at = self._clock()
            self._pause = min(2 * self._pause, self._max_pause_seconds)

    def release(self, permit: "Permit") -> None:
        """Give the permit back without an outcome, for example because nobody waits for the response any more."""
        self._end_trial(permit)

    def _end_trial(self, permit: "Permit") -> None:
        if permit.is_trial:
            self._trial_is_in_flight = False


@dataclass(frozen=True)
class Permit:
    """Permission to send one request. `is_trial`: its outcome decides whether the half-open circuit closes."""

    is_trial: bool = False

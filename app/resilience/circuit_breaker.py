"""A circuit breaker: after failures in a row it opens, and lets a few trial requests through after each pause.

The libraries for it were left out because none of them bounds the trials of a half-open circuit, judges by several
sources of requests, and takes a clock.
"""

from collections import Counter
from collections.abc import Callable, Hashable
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
    """The state machine: closed, open, and half-open while trial requests are in flight.

    clock: monotonic seconds.
    on_change: called with whether the circuit is open, when it opens and when it closes.
    failure_threshold: failures in a row that open the circuit.
    max_failures_per_source: failures that count of one source, such as one tenant; None for no bound. With it, the
        circuit opens only if several sources fail.
    max_trials: trial requests in flight at once, each of another source.
    first_pause_seconds: seconds from opening to the first trial request.
    max_pause_seconds: bound in seconds of the pause, which doubles with each trial that fails.
    """

    def __init__(
        self,
        clock: Clock,
        on_change: Callable[[bool], None] = lambda _: None,
        *,
        failure_threshold: int = FAILURE_THRESHOLD,
        max_failures_per_source: int | None = None,
        max_trials: int = 1,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._failure_threshold = failure_threshold
        self._max_failures_per_source = max_failures_per_source or failure_threshold
        self._max_trials = max_trials
        self._first_pause_seconds = first_pause_seconds
        self._max_pause_seconds = max_pause_seconds
        self._failures: Counter[Hashable] = Counter()
        self._pause = first_pause_seconds
        self._opened_at: float | None = None
        self._trials: set[Hashable] = set()

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open, or half-open."""
        return self._opened_at is not None

    def acquire(self, source: Hashable = None) -> "Permit | None":
        """A permit for one request; None while the circuit is open.

        Each permit is given back by exactly one of `record_success`, `record_failure` and `release`.
        """
        if self._opened_at is None:
            return Permit(source=source)
        if self._clock() < self._opened_at + self._pause:
            return None
        if source in self._trials or len(self._trials) >= self._max_trials:
            return None
        self._trials.add(source)
        return Permit(is_trial=True, source=source)

    def record_success(self, permit: "Permit") -> None:
        """Record that a response came, and close the circuit.

        A request that was sent before the circuit opened closes it too: its late answer shows that the service is back.
        """
        self.release(permit)
        self._failures.clear()
        if self._opened_at is not None:
            self._opened_at = None
            self._trials.clear()
            self._pause = self._first_pause_seconds
            self._on_change(False)

    def record_failure(self, permit: "Permit") -> None:
        """Record a failure. The circuit opens at the threshold; a failed trial doubles the pause."""
        if self._opened_at is None:
            # The bound keeps the counter small: a source that reached it is not counted any further.
            if self._failures[permit.source] < self._max_failures_per_source:
                self._failures[permit.source] += 1
            if self._failures.total() >= self._failure_threshold:
                self._opened_at = self._clock()
                self._on_change(True)
        elif permit.is_trial and permit.source in self._trials:
            # Other trials of this pause, and requests from before the circuit opened, tell nothing new if they fail.
            self._trials.clear()
            self._opened_at = self._clock()
            self._pause = min(2 * self._pause, self._max_pause_seconds)

    def release(self, permit: "Permit") -> None:
        """Give the permit back without an outcome, for example because nobody waits for the response any more."""
        if permit.is_trial:
            self._trials.discard(permit.source)


@dataclass(frozen=True)
class Permit:
    """Permission to send one request of this source.

    `is_trial`: whether its outcome decides whether the half-open circuit closes.
    """

    is_trial: bool = False
    source: Hashable = None

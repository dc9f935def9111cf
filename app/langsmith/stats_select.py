"""Remembers whether LangSmith lets a request select statistics by name, with the parameter `stats_select`.

An installation that does not know the parameter may be updated, so that one request tries again after a while.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.resilience.clock import Clock

RETRY_SECONDS: Final = 600.0
"""Seconds after a refusal at which one request selects statistics again."""


class StatsSelectSupport:
    """Whether requests select statistics. Every change is logged.

    clock: monotonic seconds.
    """

    def __init__(self, clock: Clock, log: FilteringBoundLogger) -> None:
        self._clock = clock
        self._log = log
        self._retry_at: float | None = None
        self._is_trial_in_flight = False

    @contextlib.contextmanager
    def asking(self, *, for_statistics: bool) -> Iterator[bool]:
        """Whether the request that is sent in this context selects statistics.

        `for_statistics`: whether it needs statistics, so that its answer says something about the parameter. While
        LangSmith refuses the parameter, one such request at a time tries it again. It succeeds if it leaves the context
        without an error and without `record_refusal`.
        """
        due = self._retry_at
        if due is None or not for_statistics:
            yield True
        elif self._is_trial_in_flight or self._clock() < due:
            yield False
        else:
            self._is_trial_in_flight = True
            try:
                yield True
                if self._retry_at == due:
                    self._retry_at = None
                    self._log.info("stats_select_accepted")
            finally:
                self._is_trial_in_flight = False

    def record_refusal(self) -> None:
        """Record that LangSmith refuses the parameter: it refused a request, and answered the same one without it.

        A refusal in between only sets the time of the next trial again.
        """
        if self._retry_at is None:
            self._log.warning(
                "stats_select_refused",
                consequence="for ten minutes, requests do not name statistics, and LangSmith computes all of them",
            )
        self._retry_at = self._clock() + RETRY_SECONDS

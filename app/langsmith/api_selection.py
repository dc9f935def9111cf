"""Which version of LangSmith's API is asked: version 1 as long as its list answers, and then version 2.

An installation drops the list of version 1 at a time that nobody has announced, and an older one has no version 2. So
the first request that is answered as if the list did not exist probes the other version. What the probe finds is
remembered for ten minutes. After that, one request asks version 1 again while all others stay with version 2.

A query that version 1 cannot answer is sent to version 2 in any case.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.langsmith.api_version import Version
from app.observability.metrics import Metrics
from app.resilience.clock import Clock
from app.resilience.singleflight import SharedTask

REMEMBERED_SECONDS: Final = 600.0
Probe = Callable[[Version], Awaitable[bool | None]]
"""Asks a version: True if it answers, False if its list is missing, and None if the question stays open."""


class ApiSelection:
    """The version that is in use, and what is known of the other one.

    fixed: the only version that is ever asked; None to find out.
    clock: monotonic seconds.
    metrics, log: where a change of the version is reported.
    """

    def __init__(self, fixed: Version | None, clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> None:
        self._fixed = fixed
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._version: Version = fixed or "v1"
        self._asks_v1_at = 0.0
        self._has_no_other_until = -math.inf
        self._probe: SharedTask[bool | None] | None = None
        self._report()

    @property
    def version(self) -> Version:
        return self._version

    def choose(self, *, can_be_v1: bool) -> Version:
        """The version to ask now. Once in ten minutes, it is version 1 although version 2 is in use.

        can_be_v1: whether version 1 has all that the query needs. Otherwise version 2 is asked, if there may be one.
        """
        now = self._clock()
        if self._fixed is not None:
            return self._fixed
        if not can_be_v1:
            return "v2" if now >= self._has_no_other_until else self._version
        if self._version == "v2" and now >= self._asks_v1_at:
            self._asks_v1_at = now + REMEMBERED_SECONDS
            return "v1"
        return self._version

    def record_answer(self, version: Version) -> None:
        """Record that a version answered. Version 1 is preferred, because all installations of today have it."""
        if version == "v1" and self._version == "v2":
            self._use("v1", reason="the list of version 1 answers again")

    async def should_ask_other(self, missing: Version, probe: Probe, deadline: float) -> bool:
        """Whether to ask the other version, after the list of this one was `missing`.

        probe: asks a version for one row.
        deadline: time of the event loop's clock until which a caller waits for the probe.
        """
        other: Version = "v1" if missing == "v2" else "v2"
        if self._fixed is not None or self._clock() < self._has_no_other_until:
            return False
        if self._version == other:
            return True
        if self._probe is None or not self._probe.is_joinable:
            self._probe = SharedTask(self._run(probe, other))
        return bool(await self._probe.join(deadline))

    async def _run(self, probe: Probe, other: Version) -> bool | None:
        answers = await probe(other)
        if answers:
            self._use(other, reason="the list of the version in use is missing")
        elif answers is False:
            self._has_no_other_until = self._clock() + REMEMBERED_SECONDS
            self._log.warning("upstream_api_missing", consequence="the other version is probed again in ten minutes")
        return answers

    def _use(self, version: Version, *, reason: str) -> None:
        self._version = version
        self._asks_v1_at = self._clock() + REMEMBERED_SECONDS
        self._report()
        self._log.warning("upstream_api_changed", version=version, reason=reason)

    def _report(self) -> None:
        self._metrics.upstream_api_v2.set(self._version == "v2")

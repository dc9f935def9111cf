"""The two layers of the circuit breaker: fail fast while a circuit is open; permit a request and record its outcome.

They stand on both sides of the limits. The outer layer fails fast, so that a request that will not be sent neither
consumes the rate limit nor waits for the concurrency limit. The inner layer asks again after that wait, because a
circuit may have opened in the meantime, and only there a request becomes a trial of a half-open circuit. Which failures
stop whose requests is decided by `app/resilience/tenant_circuit_breaker.py`.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.errors import UpstreamError
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport
from app.observability.metrics import Metrics
from app.resilience.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE_SECONDS
from app.resilience.clock import Clock
from app.resilience.tenant_circuit_breaker import (
    ALL_TENANTS_THRESHOLD,
    Level,
    RequestSource,
    TenantCircuitBreaker,
    TenantPermit,
)
from app.sessions.query import PageQuery

_END: Final = 0.2
"""The last part of the time-out, in which a cancelled request counts as one whose deadline has passed: it is cancelled
by the deadline of its operation, which may have begun a little earlier."""
_START_TIME: Final = "stats.since"
"""Argument that moves on with the time of day, so that its value does not tell requests apart."""


def create_circuit_breaker(clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> TenantCircuitBreaker:
    """The circuit breaker of LangSmith. Its state goes to the metrics, and each change of it to the log."""

    def report(level: Level, is_open: bool) -> None:
        if is_open:
            failures = ALL_TENANTS_THRESHOLD if level == "all" else FAILURE_THRESHOLD
            log.warning("circuit_breaker_opened", level=level, failures=failures, seconds=FIRST_PAUSE_SECONDS)
        else:
            log.info("circuit_breaker_closed", level=level)

    breaker = TenantCircuitBreaker(clock, report)
    metrics.watch_circuit_breaker(is_open=lambda: breaker.is_open)
    return breaker


def source_of(request: UpstreamRequest) -> RequestSource:
    """What the circuit breaker judges the request by. Where a page begins, how long it is and the time do not count."""
    query = request.query
    return RequestSource(request.tenant, _hash_of_shape(query), _hash_of_variant(query))


class FailFastTransport:
    """The outer layer: raises UpstreamError at once while an open circuit stops the request."""

    def __init__(self, next_transport: UpstreamTransport, breaker: TenantCircuitBreaker) -> None:
        self._next = next_transport
        self._breaker = breaker

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        permit = _acquire_permit(self._breaker, request)
        # Only the inner layer keeps a permit: this request may still wait for a long time before it is sent.
        self._breaker.release(permit)
        return await self._next.send(request)


class CircuitBreakerTransport:
    """The inner layer: sends a request only with a permit, and records how it ended.

    timeout_seconds: time for one query. LangSmith is slow if it had at least half of that when the deadline passed; a
    request that spent most of the time in the gateway's own queues says nothing about LangSmith.
    """

    def __init__(
        self, next_transport: UpstreamTransport, breaker: TenantCircuitBreaker, *, timeout_seconds: float
    ) -> None:
        self._next = next_transport
        self._breaker = breaker
        self._timeout_seconds = timeout_seconds

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request. A response that concerns one tenant only, such as 401 or 429, is not a failure.

        Nor is the failure of a request that prefetches statistics: it is repeated without them, and the repetition
        decides. Otherwise what one client selects would stop the requests of others.
        """
        permit = _acquire_permit(self._breaker, request)
        now = asyncio.get_running_loop().time
        sent_at = now()
        try:
            response = await self._next.send(request)
        except asyncio.CancelledError:
            # The deadline cancels a request because LangSmith is slow, which is a failure. Otherwise the last client
            # that waited for the request has disconnected, which says nothing about LangSmith.
            is_at_end = now() >= request.deadline - self._timeout_seconds * _END
            is_slow = is_at_end and now() - sent_at >= self._timeout_seconds / 2
            (self._breaker.record_failure if is_slow else self._breaker.release)(permit)
            raise
        except FailedAttemptError as failure:
            if request.query.prefetch and isinstance(failure.error, UpstreamError):
                self._breaker.release(permit)
            else:
                (self._breaker.record_failure if failure.is_outage else self._breaker.record_refusal)(permit)
            raise
        except Exception:
            self._breaker.record_refusal(permit)
            raise
        self._breaker.record_answer(permit)
        return response


def _acquire_permit(breaker: TenantCircuitBreaker, request: UpstreamRequest) -> TenantPermit:
    permit = breaker.acquire(source_of(request))
    if permit is None:
        request.call.reason = "circuit_open"
        raise UpstreamError("LangSmith keeps failing, so the gateway has paused its requests. Try again shortly.")
    return permit


def _hash_of_shape(query: PageQuery) -> int:
    """Which arguments are given, and which statistics the client selected."""
    names = frozenset(name for name, _ in (*query.arguments, *query.window.arguments))
    return hash((names, query.statistics))


def _hash_of_variant(query: PageQuery) -> int:
    """The shape, with the values of the arguments."""
    window = tuple(pair for pair in query.window.arguments if pair[0] != _START_TIME)
    return hash((query.arguments, window, query.statistics))

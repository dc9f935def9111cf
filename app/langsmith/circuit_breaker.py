"""The two layers of the circuit breaker: fail fast while the circuit is open; permit a request and record its outcome.

They stand on both sides of the limits. The outer layer fails fast, so that a request that will not be sent neither
consumes the rate limit nor waits for the concurrency limit. The inner layer asks again after that wait, because the
circuit may have opened in the meantime, and only there one request becomes the trial of a half-open circuit. The state
machine is `app/resilience/circuit_breaker.py`.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.errors import UpstreamError
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport
from app.observability.metrics import Metrics
from app.resilience.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE_SECONDS, CircuitBreaker, Permit
from app.resilience.clock import Clock

_TIMER_TOLERANCE_SECONDS: Final = 0.01
"""Seconds by which a timer of the event loop may fire too early."""


def create_circuit_breaker(clock: Clock, metrics: Metrics, log: FilteringBoundLogger) -> CircuitBreaker:
    """The circuit breaker of LangSmith. Changes of its state go to the metrics and the log."""

    def report(is_open: bool) -> None:
        metrics.circuit_breaker_open.set(is_open)
        if is_open:
            log.warning("circuit_breaker_opened", failures=FAILURE_THRESHOLD, seconds=FIRST_PAUSE_SECONDS)
        else:
            log.info("circuit_breaker_closed")

    return CircuitBreaker(clock, report)


class FailFastTransport:
    """The outer layer: raises UpstreamError at once while the circuit is open."""

    def __init__(self, next_transport: UpstreamTransport, breaker: CircuitBreaker) -> None:
        self._next = next_transport
        self._breaker = breaker

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self._breaker.release(_acquire_permit(self._breaker))
        return await self._next.send(request)


class CircuitBreakerTransport:
    """The inner layer: sends a request only with a permit, and records how it ended."""

    def __init__(self, next_transport: UpstreamTransport, breaker: CircuitBreaker) -> None:
        self._next = next_transport
        self._breaker = breaker

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request. A response that concerns one tenant only, such as 401 or 429, counts as a success."""
        permit = _acquire_permit(self._breaker)
        try:
            response = await self._next.send(request)
        except asyncio.CancelledError:
            # The deadline cancels a request because LangSmith is slow, which is a failure. Otherwise the last client
            # that waited for the request has disconnected, which says nothing about LangSmith.
            is_late = asyncio.get_running_loop().time() >= request.deadline - _TIMER_TOLERANCE_SECONDS
            (self._breaker.record_failure if is_late else self._breaker.release)(permit)
            raise
        except FailedAttemptError as failure:
            (self._breaker.record_failure if failure.is_outage else self._breaker.record_success)(permit)
            raise
        except Exception:
            self._breaker.record_success(permit)
            raise
        self._breaker.record_success(permit)
        return response


def _acquire_permit(breaker: CircuitBreaker) -> Permit:
    permit = breaker.acquire()
    if permit is None:
        raise UpstreamError("LangSmith keeps failing, so the gateway has paused its requests. Try again shortly.")
    return permit

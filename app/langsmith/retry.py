"""The retry layer: retries a request after a transient failure.

`error_mapping.py` says which failures are transient. The next attempt comes after the response's `Retry-After`, or else
after an exponential backoff with jitter. A request to the list changes nothing at LangSmith, so repeating it is safe.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from tenacity.wait import wait_random_exponential

from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.transport import UpstreamRequest, UpstreamResponse, UpstreamTransport
from app.resilience.clock import Clock

_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)
_IS_TRANSIENT: Final = retry_if_exception(lambda exc: isinstance(exc, FailedAttemptError) and exc.is_transient)


class RetryTransport:
    """The outermost layer: no other one sends a request twice.

    next_transport: the layer below, which is called once per attempt.
    retries: attempts beyond the first.
    clock: monotonic seconds.
    """

    def __init__(self, next_transport: UpstreamTransport, *, retries: int, clock: Clock) -> None:
        self._next = next_transport
        self._max_tries = 1 + retries
        self._clock = clock

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request until it succeeds, fails finally, or no try is left. Raises the error of the last try."""
        request.call.tried_at = self._clock()
        try:
            return await self._next.send(request)
        except FailedAttemptError as failure:
            return await self._retry(request, failure)

    async def _retry(self, request: UpstreamRequest, first: FailedAttemptError) -> UpstreamResponse:
        """Go on after the first try, which has failed. Nearly all requests do without tenacity, which costs 50 µs."""
        stop = _stop_condition(self._max_tries, request.deadline)
        tries = AsyncRetrying(retry=_IS_TRANSIENT, stop=stop, wait=_seconds_to_wait, reraise=True)
        try:
            async for attempt in tries:
                with attempt:
                    if attempt.retry_state.attempt_number == 1:
                        raise first
                    request.call.tried_at = self._clock()
                    response = await self._next.send(request)
        except FailedAttemptError as failure:
            request.call.reason = failure.reason
            raise failure.error from failure
        return response


def _stop_condition(max_tries: int, deadline: float) -> Callable[[RetryCallState], bool]:
    """Stop after `max_tries`, and if the next try would begin after the deadline.

    Waiting for such a try would only replace the error that is known now by a time-out.
    """
    now = asyncio.get_running_loop().time
    return lambda state: state.attempt_number >= max_tries or now() + state.upcoming_sleep >= deadline


def _seconds_to_wait(state: RetryCallState) -> float:
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, FailedAttemptError) and failure.retry_after is not None:
        return failure.retry_after
    return _BACKOFF(state)

"""The retry layer on its own; `test_retries.py` has the same over real HTTP."""

import pytest

from app.errors import BadUserInputError, GatewayError, RateLimitedError, UpstreamError, UpstreamTimeoutError
from app.langsmith.error_mapping import RetryableError
from app.langsmith.retry import RetryTransport
from app.langsmith.transport import UpstreamRequest, UpstreamResponse
from tests.conftest import Clock
from tests.langsmith.scripted_transport import RESPONSE, ScriptedTransport, upstream_request

FAILURE = RetryableError(UpstreamError("LangSmith answered with status 503."), retry_after=0)


async def test_retry_layer_repeats_a_retryable_failure_until_it_succeeds(clock: Clock) -> None:
    following = ScriptedTransport(FAILURE, FAILURE, RESPONSE)
    assert await RetryTransport(following, retries=2, clock=clock.monotonic).send(upstream_request()) == RESPONSE
    assert len(following.scopes) == 3


async def test_retry_layer_raises_the_error_of_the_last_allowed_try(clock: Clock) -> None:
    last = RetryableError(UpstreamTimeoutError("LangSmith took too long."), retry_after=0)
    following = ScriptedTransport(FAILURE, FAILURE, last)
    with pytest.raises(UpstreamTimeoutError):
        await RetryTransport(following, retries=2, clock=clock.monotonic).send(upstream_request())
    assert len(following.scopes) == 3


@pytest.mark.parametrize("error", [BadUserInputError("no"), UpstreamError("no"), RateLimitedError("no")])
async def test_retry_layer_passes_on_other_errors_at_once(clock: Clock, error: GatewayError) -> None:
    following = ScriptedTransport(error, RESPONSE)
    with pytest.raises(type(error)):
        await RetryTransport(following, retries=5, clock=clock.monotonic).send(upstream_request())
    assert len(following.scopes) == 1


async def test_retry_layer_fails_at_once_when_the_retry_after_ends_past_the_deadline(clock: Clock) -> None:
    limited = RetryableError(RateLimitedError("later", retry_after=90), retry_after=90)
    following = ScriptedTransport(limited, RESPONSE)
    with pytest.raises(RateLimitedError):
        await RetryTransport(following, retries=5, clock=clock.monotonic).send(upstream_request(seconds_left=60))
    assert len(following.scopes) == 1


async def test_retry_layer_records_when_the_last_try_began(clock: Clock) -> None:
    request = upstream_request()

    class Slow(ScriptedTransport):
        async def send(self, request: UpstreamRequest) -> UpstreamResponse:
            clock.forward(5)
            return await super().send(request)

    began = clock.monotonic()
    await RetryTransport(Slow(FAILURE, RESPONSE), retries=1, clock=clock.monotonic).send(request)
    assert request.call.tried_at == began + 5

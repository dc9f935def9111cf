"""Failures that another try may cure are repeated, after `Retry-After` or a backoff, within the deadline."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.emulator import Emulator, Fault
from app.errors import BadUserInputError, GatewayError, RateLimitedError, UpstreamError, UpstreamTimeoutError
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.retry import RetryTransport
from app.langsmith.transport import UpstreamRequest, UpstreamResponse
from tests.conftest import TIMEOUT_SECONDS, Clock, Serve
from tests.langsmith.operations import IMMEDIATELY, attempts_at, code_of, logged, page
from tests.langsmith.scripted_transport import RESPONSE, ScriptedTransport, upstream_request
from tests.support.raw_upstream import Act, Connection, closes, listed, raw_upstream, resets, response, row, says


async def test_retryable_statuses_are_tried_again(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults += [Fault(status=status) for status in (408, 425, 429, 500, 502, 503, 504)]
    async with serve() as gateway:
        answers = await asyncio.gather(*(attempts_at(gateway, page(number)) for number in range(7)))
        assert answers == [(2, 200)] * 7
        assert logged(gateway, "upstream_failed") == []


async def test_final_statuses_are_not_tried_again(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=5, upstream_api="v1") as gateway:
        for number, status in enumerate((400, 401, 403, 404, 409, 413, 422, 301)):
            langsmith.faults.append(Fault(status=status, headers=IMMEDIATELY))
            assert await attempts_at(gateway, page(number)) == (1, status)


BROKEN: dict[str, Act] = {
    "closed before the answer": closes,
    "reset before the answer": resets,
    "closed in the headers": says(b"HTTP/1.1 200 OK\r\nx-a", then=Connection.close),
    "closed in the body": says(response(b'[{"id', length=500), then=Connection.close),
    "reset in the body": says(response(b'[{"id', length=500), then=Connection.reset),
    "closed in a chunk": says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\n[{", then=Connection.close),
    "closed between chunks": says(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n", then=Connection.close
    ),
    "shorter than its length": says(response(b"[]", length=3), then=Connection.close),
}


async def test_request_on_a_broken_connection_is_tried_again(serve: Serve) -> None:
    async def attempts_after(broken: Act) -> tuple[int, int | None]:
        async with (
            raw_upstream(broken, listed(row())) as upstream,
            serve(langsmith_endpoint=upstream.url) as gateway,
        ):
            return await attempts_at(gateway, page())

    attempts = await asyncio.gather(*(attempts_after(broken) for broken in BROKEN.values()))
    assert dict(zip(BROKEN, attempts, strict=True)) == dict.fromkeys(BROKEN, (2, 200))


@pytest.mark.parametrize("broken", BROKEN)
async def test_connections_that_always_break_are_reported_as_upstream_error(serve: Serve, broken: str) -> None:
    async with (
        raw_upstream(BROKEN[broken]) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert await attempts_at(gateway, page(1)) == (1, None)


async def test_tries_end_with_the_last_allowed_one(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, headers=IMMEDIATELY, times=None))
    async with serve(upstream_retries=4) as gateway:
        assert await attempts_at(gateway, page()) == (5, 503)
        assert len(langsmith.requests) == 5
    async with serve(upstream_retries=0) as gateway:
        assert await attempts_at(gateway, page()) == (1, 503)


def format_retry_after(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


async def test_retry_after_within_the_deadline_is_waited_for(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults += [
        Fault(status=status, headers={"retry-after": value})
        for status in (429, 503)
        for value in ("1", format_retry_after(1))
    ]
    async with serve(upstream_timeout=5) as gateway:
        started = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(attempts_at(gateway, page(number)) for number in range(4)))
        assert answers == [(2, 200)] * 4
        assert asyncio.get_running_loop().time() - started >= 1


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00"])
async def test_retry_after_in_the_past_is_not_waited_for(serve: Serve, langsmith: Emulator, value: str) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": value}, times=10))
    async with serve(upstream_timeout=5, upstream_retries=10) as gateway:
        assert await attempts_at(gateway, page()) == (11, 200)


@pytest.mark.parametrize("value", ["60", "an hour", "9" * 30, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_rate_limit_with_a_retry_after_past_the_deadline_fails_at_once(
    serve: Serve, langsmith: Emulator, value: str
) -> None:
    value = format_retry_after(3600) if value == "an hour" else value
    langsmith.faults.append(Fault(status=429, headers={"retry-after": value}, times=None))
    async with serve(upstream_timeout=30, upstream_retries=5) as gateway:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            (error,) = await gateway.errors(page())
        assert error["extensions"]["code"] == "RATE_LIMITED"
        assert 30 < error["extensions"]["retryAfter"] <= 60
        assert len(langsmith.requests) == 1


async def test_status_503_with_a_retry_after_past_the_deadline_fails_at_once(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "60"}, times=None))
    async with serve() as gateway:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert len(langsmith.requests) == 1


UNREADABLE = [
    "-5",
    "1.5",
    "1e3",
    "",
    " ",
    "soon",
    "\xe9\xff",
    "\xb2",
    "Wed, 21 Oct 99999999999 07:28:00 GMT",
    "Wed, 21 Oct 99999 07:28:00 GMT",
    "Wed, 31 Feb 2026 07:28:00 GMT",
    "Wed, 21 Oct 2026 07:28:00 -9999",
    "Wed, 21 Oct 2026 07:28:00 +99999999999999999999",
]


async def test_unreadable_retry_after_counts_as_absent(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number, value in enumerate(UNREADABLE):
            langsmith.faults.append(Fault(status=429, headers={"retry-after": value}))
            (error,) = await gateway.errors(page(number))
            assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": None}, value


async def test_try_after_an_unreadable_retry_after_comes_after_a_backoff(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "-5"}))
    async with serve() as gateway:
        assert await attempts_at(gateway, page()) == (2, 200)


FAILURE = FailedAttemptError(
    UpstreamError("LangSmith answered with status 503."), reason="server", is_transient=True, retry_after=0
)


async def test_retry_layer_repeats_a_retryable_failure_until_it_succeeds(clock: Clock) -> None:
    following = ScriptedTransport(FAILURE, FAILURE, RESPONSE)
    assert await RetryTransport(following, retries=2, clock=clock.monotonic).send(upstream_request()) == RESPONSE
    assert len(following.scopes) == 3


async def test_retry_layer_raises_the_error_of_the_last_allowed_try(clock: Clock) -> None:
    last = FailedAttemptError(
        UpstreamTimeoutError("LangSmith took too long."), reason="timeout", is_transient=True, retry_after=0
    )
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
    limited = FailedAttemptError(
        RateLimitedError("later", retry_after=90), reason="rate_limit", is_transient=True, retry_after=90
    )
    following = ScriptedTransport(limited, RESPONSE)
    with pytest.raises(RateLimitedError):
        await RetryTransport(following, retries=5, clock=clock.monotonic).send(upstream_request(seconds_left=60))
    assert len(following.scopes) == 1


async def test_retry_layer_records_when_the_last_try_began(clock: Clock) -> None:
    request = upstream_request()

    class Slow(ScriptedTransport):
        async def send(self, request: UpstreamRequest) -> UpstreamResponse:
            clock.advance(5)
            return await super().send(request)

    began = clock.monotonic()
    await RetryTransport(Slow(FAILURE, RESPONSE), retries=1, clock=clock.monotonic).send(request)
    assert request.call.tried_at == began + 5

"""After failures in a row, nothing is sent to LangSmith until one trial request shows that it has recovered."""

import asyncio
import re

import pytest

from app.emulator import Emulator, Fault, serving
from app.emulator.fault_injection import RecordedRequest, Response
from app.errors import GatewayError, RateLimitedError, UpstreamError, UpstreamMalformedError
from app.langsmith.circuit_breaker import CircuitBreakerTransport, FailFastTransport, source_of
from app.langsmith.failed_attempt import FailedAttemptError
from app.resilience.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
from app.resilience.tenant_circuit_breaker import TenantCircuitBreaker
from tests.conftest import Clock, Gateway, Serve, running_gateway, take_recorded_params
from tests.langsmith.operations import code_of, logged, page
from tests.langsmith.scripted_transport import RESPONSE, Hanging, ScriptedTransport, upstream_request
from tests.support.raw_upstream import Connection, black_hole, listed, raw_upstream, response, row, says

DOWN = Fault(status=503, times=None)


async def is_open(gateway: Gateway) -> bool:
    text = (await gateway.client.get("/metrics")).text
    match = re.search(r"^gateway_upstream_breaker_open (\S+)$", text, re.MULTILINE)
    assert match
    return float(match[1]) == 1


async def open_circuit(gateway: Gateway, langsmith: Emulator) -> None:
    """Let LangSmith fail until the circuit is open."""
    langsmith.faults.append(DOWN)
    for number in range(FAILURE_THRESHOLD):
        assert not await is_open(gateway)
        assert await code_of(gateway, page(number)) == "UPSTREAM_ERROR"
    assert len(take_recorded_params(langsmith)) == FAILURE_THRESHOLD
    assert await is_open(gateway)


async def test_circuit_opens_after_failures_in_a_row_and_sends_nothing(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        await open_circuit(gateway, langsmith)
        (error,) = await gateway.errors(page(100))
        assert error["extensions"] == {"code": "UPSTREAM_ERROR"}
        assert "paused its requests" in error["message"]
        assert take_recorded_params(langsmith) == []
        assert len(logged(gateway, "circuit_breaker_opened")) == 1


async def test_cached_page_is_served_while_the_circuit_is_open(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        cached = await gateway.data(page(500, "id name"))
        langsmith.requests.clear()
        await open_circuit(gateway, langsmith)
        assert await gateway.data(page(500, "name id")) == cached


async def test_one_trial_request_after_each_pause_decides_whether_the_circuit_closes(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway, gateway.in_process() as in_process:
        await open_circuit(gateway, langsmith)
        for pause in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS):
            clock.advance(pause - 0.1)
            await code_of(gateway, page(200))
            assert take_recorded_params(langsmith) == []
            clock.advance(0.2)
            codes = await asyncio.gather(*(code_of(in_process, page(300 + number)) for number in range(5)))
            assert codes == ["UPSTREAM_ERROR"] * 5
            assert len(take_recorded_params(langsmith)) == 1
        langsmith.faults.clear()
        clock.advance(MAX_PAUSE_SECONDS)
        assert await code_of(gateway, page(400)) is None
        assert await asyncio.gather(*(code_of(in_process, page(number)) for number in range(5))) == [None] * 5
        assert not await is_open(gateway)
        assert len(logged(gateway, "circuit_breaker_closed")) == 1


async def test_circuit_stays_closed_when_a_success_interrupts_the_failures(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number in range(3 * FAILURE_THRESHOLD):
            langsmith.faults[:] = [DOWN] if number % FAILURE_THRESHOLD else []
            await code_of(gateway, page(number))
        assert len(take_recorded_params(langsmith)) == 3 * FAILURE_THRESHOLD
        assert not await is_open(gateway)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429])
async def test_refusal_of_one_tenant_does_not_open_the_circuit(serve: Serve, langsmith: Emulator, status: int) -> None:
    async with serve(upstream_retries=0, upstream_api="v1") as gateway:
        langsmith.faults.append(Fault(status=status, times=None))
        for number in range(2 * FAILURE_THRESHOLD):
            assert await code_of(gateway, page(number)) is not None
        assert len(take_recorded_params(langsmith)) == 2 * FAILURE_THRESHOLD
        langsmith.faults.clear()
        assert (await gateway.data(page(), key="demo-2"))["sessions"]["nodes"]


async def test_timeouts_open_the_circuit(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=4) as gateway,
    ):
        await asyncio.gather(*(gateway.run(page(number)) for number in range(FAILURE_THRESHOLD)))
        assert await is_open(gateway)
        assert await code_of(gateway, page(100)) == "UPSTREAM_ERROR"


class FailingStatistic(Emulator):
    """It fails if the error rate is selected, once `is_failing`."""

    is_failing = False

    def respond(self, request: RecordedRequest) -> Response:
        fails = self.is_failing and ("stats_select", "error_rate") in request.params
        return Response(500, b"{}") if fails else super().respond(request)


async def test_failing_statistic_does_not_stop_the_requests_that_prefetch_it(clock: Clock) -> None:
    langsmith = FailingStatistic(clock=clock.now)
    async with serving(langsmith) as url, running_gateway(url, clock, upstream_retries=0) as gateway:
        await gateway.data(page(0, "errorRate"))
        await gateway.data(page(50, "runCount"))
        langsmith.is_failing = True
        others = ["totalTokens", "latencyP50", "latencyP99", "promptTokens", "completionTokens"]
        for number in range(FAILURE_THRESHOLD):  # two failures of each selection
            await gateway.errors(page(1 + number, f"errorRate {others[number // 2]}"))
        assert await is_open(gateway)
        langsmith.requests.clear()
        body = await gateway.run(page(0, "runCount"), **{"cache-control": "no-cache"})
    assert "errors" not in body
    assert [("stats_select", "error_rate") in each.params for each in langsmith.requests] == [True, False]


async def test_disconnected_clients_do_not_open_the_circuit(serve: Serve) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(FAILURE_THRESHOLD + 2):
            client = asyncio.create_task(gateway.run(page(number)))
            await upstream.wait_for_requests(number + 1)
            client.cancel()
            await upstream.idle()
        upstream.acts = [says(listed(row()))]
        assert await code_of(gateway, page(100)) is None


async def test_disconnected_client_leaves_the_trial_to_the_next_request(serve: Serve, clock: Clock) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=4) as gateway,
    ):
        await asyncio.gather(*(gateway.run(page(number)) for number in range(FAILURE_THRESHOLD)))
        clock.advance(FIRST_PAUSE_SECONDS + 1)
        client = asyncio.create_task(gateway.run(page(100)))
        await upstream.wait_for_requests(FAILURE_THRESHOLD + 1)
        client.cancel()
        await upstream.idle()
        upstream.acts = [says(listed(row()))]
        assert await code_of(gateway, page(101)) is None


async def test_failure_of_an_older_request_does_not_end_the_trial(serve: Serve, clock: Clock) -> None:
    resume = asyncio.Event()

    async def fails_later(connection: Connection) -> None:
        await resume.wait()
        await connection.send(response(status=503))

    async with (
        raw_upstream(fails_later) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        older = asyncio.create_task(code_of(gateway, page(500)))
        await upstream.wait_for_requests(1)
        upstream.acts = [says(response(status=503))]
        for number in range(FAILURE_THRESHOLD):
            await code_of(gateway, page(number))
        assert await is_open(gateway)
        clock.advance(FIRST_PAUSE_SECONDS + 1)
        upstream.acts = [black_hole]
        trial = asyncio.create_task(gateway.run(page(600)))
        await upstream.wait_for_requests(FAILURE_THRESHOLD + 2)
        resume.set()
        assert await older == "UPSTREAM_ERROR"
        clock.advance(MAX_PAUSE_SECONDS)
        assert await code_of(gateway, page(700)) == "UPSTREAM_ERROR"
        assert len(upstream.requests) == FAILURE_THRESHOLD + 2
        trial.cancel()
        await upstream.idle()


FAILURE = FailedAttemptError(UpstreamError("LangSmith answered with status 503."), reason="server", is_transient=True)


def breaker_before_its_last_failure(clock: Clock) -> TenantCircuitBreaker:
    """A breaker that one more failure opens for `upstream_request()`."""
    breaker = TenantCircuitBreaker(clock.monotonic, lambda *_: None)
    for _ in range(FAILURE_THRESHOLD - 1):
        permit = breaker.acquire(source_of(upstream_request()))
        assert permit
        breaker.record_failure(permit)
    return breaker


def permitting(
    next_transport: ScriptedTransport, breaker: TenantCircuitBreaker, *, timeout_seconds: float = 30
) -> CircuitBreakerTransport:
    return CircuitBreakerTransport(next_transport, breaker, timeout_seconds=timeout_seconds)


async def test_breaker_layers_send_nothing_while_the_circuit_is_open(clock: Clock) -> None:
    breaker = breaker_before_its_last_failure(clock)
    following = ScriptedTransport(FAILURE, RESPONSE)
    with pytest.raises(FailedAttemptError):
        await permitting(following, breaker).send(upstream_request())
    for layer in (FailFastTransport(following, breaker), permitting(following, breaker)):
        with pytest.raises(UpstreamError, match="paused its requests"):
            await layer.send(upstream_request())
    assert len(following.scopes) == 1


async def test_breaker_layer_lets_the_trial_through_after_the_fail_fast_layer(clock: Clock) -> None:
    breaker = breaker_before_its_last_failure(clock)
    following = ScriptedTransport(FAILURE, RESPONSE)
    stack = FailFastTransport(permitting(following, breaker), breaker)
    with pytest.raises(FailedAttemptError):
        await stack.send(upstream_request())
    clock.advance(FIRST_PAUSE_SECONDS)
    assert await stack.send(upstream_request()) == RESPONSE
    assert not breaker.is_open


@pytest.mark.parametrize(
    "outcome",
    [
        UpstreamMalformedError("no JSON"),
        FailedAttemptError(UpstreamError("404"), reason="path"),
        FailedAttemptError(RateLimitedError("later"), reason="rate_limit", is_transient=True),
    ],
)
async def test_breaker_layer_closes_the_circuit_after_a_response_for_one_tenant(
    clock: Clock, outcome: GatewayError | FailedAttemptError
) -> None:
    breaker = breaker_before_its_last_failure(clock)
    following = ScriptedTransport(outcome, FAILURE)
    for expected in (type(outcome), FailedAttemptError):
        with pytest.raises(expected):
            await permitting(following, breaker).send(upstream_request())
    assert not breaker.is_open


@pytest.mark.parametrize(
    ("seconds_left", "timeout_seconds", "is_failure"),
    [
        # The deadline has passed, and LangSmith had all of the time.
        (0.0, 0.0, True),
        # The request waited in the gateway for more than half of the time.
        (0.0, 30.0, False),
        # The client has disconnected.
        (60.0, 0.0, False),
    ],
)
async def test_breaker_layer_counts_a_cancellation_only_if_langsmith_had_half_of_the_time(
    clock: Clock, seconds_left: float, timeout_seconds: float, is_failure: bool
) -> None:
    breaker = breaker_before_its_last_failure(clock)
    following = ScriptedTransport(Hanging())
    request = upstream_request(seconds_left=seconds_left)
    sending = asyncio.create_task(permitting(following, breaker, timeout_seconds=timeout_seconds).send(request))
    await following.arrived.wait()
    sending.cancel()
    await asyncio.wait([sending])
    assert sending.cancelled()
    assert breaker.is_open == is_failure

"""A tenant whose requests work is served, whatever the requests of another tenant meet at LangSmith."""

import asyncio
import io

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.credentials import Credential
from app.emulator import Emulator
from app.langsmith.stack import UpstreamOptions, create_upstream
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.resilience.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
from app.sessions.query import PageQuery
from tests.conftest import Clock, Gateway, Serve
from tests.langsmith.operations import code_of, count_successes, metric, page, run_wave
from tests.langsmith.test_deadlines import PLACES_OF_ONE_TENANT, WAVES
from tests.support.httpx_connections import HttpxConnections
from tests.support.raw_upstream import Act, Connection, RawUpstream, black_hole, listed, raw_upstream, response, row

FOUR_FIELDS = "{ a: sessions(first: 1) { nodes { runCount } } b: sessions(first: 2) { nodes { errorRate } } "
FOUR_FIELDS += "c: sessions(first: 3) { nodes { totalTokens } } d: sessions(first: 4) { nodes { latencyP50 } } }"
"""Four requests, each of its own shape."""
SERVER = {"auth": "server", "langsmith_api_key": "own", "client_tokens": ("token-a", "token-b")}


def failing_for(*keys: str) -> Act:
    """LangSmith answers 500 to these keys, and works for all others."""

    async def act(connection: Connection) -> None:
        is_failing = connection.request.header("x-api-key")[0] in keys
        await connection.send(response(status=500) if is_failing else listed(row()))

    return act


def failing_with_statistics() -> Act:
    """LangSmith answers 500 to a request for statistics."""

    async def act(connection: Connection) -> None:
        is_failing = "include_stats" in dict(connection.request.params)
        await connection.send(response(status=500) if is_failing else listed(row()))

    return act


async def hanging_for_a(connection: Connection) -> None:
    """LangSmith never answers this key, and works for all others."""
    await (black_hole if connection.request.header("x-api-key") == ["a"] else failing_for())(connection)


def requests_of(upstream: RawUpstream, key: str) -> int:
    return sum(request.header("x-api-key") == [key] for request in upstream.requests)


async def code_with_token(gateway: Gateway, query: str, token: str) -> str | None:
    body = await gateway.run(query, key=None, authorization=f"Bearer {token}")
    return body["errors"][0]["extensions"]["code"] if "errors" in body else None


async def test_failing_operations_of_one_tenant_never_stop_the_requests_of_another(serve: Serve) -> None:
    async with (
        raw_upstream(failing_for("a")) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for number in range(20):
            assert len(await gateway.errors(FOUR_FIELDS, key="a")) == 4
            if number > 10:
                assert await code_of(gateway, page(number), key="b") is None


async def test_timeouts_of_one_tenant_never_stop_the_requests_of_another(serve: Serve) -> None:
    async with (
        raw_upstream(hanging_for_a) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=1) as gateway,
    ):
        await asyncio.gather(*(gateway.run(page(number), key="a") for number in range(FAILURE_THRESHOLD + 2)))
        assert await code_of(gateway, page(100), key="b") is None


@WAVES
@pytest.mark.parametrize("end", ["deadline", "disconnect"])
async def test_waves_of_one_tenant_into_a_black_hole_never_disturb_another(serve: Serve, end: str) -> None:
    timeout = 3 if end == "deadline" else 30
    async with (
        raw_upstream(hanging_for_a) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=timeout) as gateway,
        # The connections of the HTTP client are all in use during a wave.
        gateway.in_process() as other,
    ):
        for wave in range(2):
            clients = asyncio.create_task(run_wave(250, gateway, wave * 1000, key="a"))
            if wave == 0:  # later, the circuit of this tenant may be open
                await upstream.until(lambda: upstream.in_flight == PLACES_OF_ONE_TENANT)
            assert count_successes(await run_wave(20, other, wave * 1000, key="b")) == 20
            if end == "disconnect":
                clients.cancel()
            await asyncio.wait([clients])
            await upstream.idle()
            assert count_successes(await run_wave(20, other, wave * 1000 + 500, key="b")) == 20


async def test_failing_request_of_a_tenant_does_not_stop_its_other_requests(serve: Serve) -> None:
    async with (
        raw_upstream(failing_with_statistics()) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for _ in range(10):
            assert len(await gateway.errors(FOUR_FIELDS, key="a")) == 4
        assert await code_of(gateway, page(), key="a") is None


async def test_failing_request_is_paused_for_the_tenant_that_repeats_it(serve: Serve, clock: Clock) -> None:
    async with (
        raw_upstream(failing_with_statistics()) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for number in range(FAILURE_THRESHOLD + 5):
            assert await code_of(gateway, page(number, "runCount"), key="a") == "UPSTREAM_ERROR"
        assert len(upstream.requests) == FAILURE_THRESHOLD
        assert await metric(gateway, "gateway_upstream_breaker_open") == 1
        clock.advance(5 * MAX_PAUSE_SECONDS + 1)
        # A circuit of a tenant that has left is forgotten.
        assert await metric(gateway, "gateway_upstream_breaker_open") == 0


async def test_langsmith_that_fails_for_three_tenants_is_not_asked_by_a_fourth(serve: Serve, clock: Clock) -> None:
    async with (
        raw_upstream(failing_for("a", "b", "c", "d")) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for key in ("a", "b", "c"):
            for number in range(2):
                await code_of(gateway, page(number), key=key)
        assert await code_of(gateway, page(), key="d") == "UPSTREAM_ERROR"
        assert requests_of(upstream, "d") == 0
        clock.advance(FIRST_PAUSE_SECONDS)
        upstream.acts = [failing_for()]
        assert await code_of(gateway, page(), key="d") is None
        assert await code_of(gateway, page(), key="a") is None


async def test_tenant_whose_requests_work_is_served_while_those_of_three_others_fail(serve: Serve) -> None:
    async with (
        raw_upstream(failing_for("a", "b", "c")) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for number in range(0, 30, 3):
            assert await code_of(gateway, page(number), key="good") is None
            for failing in range(3):
                for key in ("a", "b", "c"):
                    await code_of(gateway, page(number + failing), key=key)
        assert requests_of(upstream, "a") < 30


async def test_hanging_trial_of_one_tenant_leaves_a_trial_to_another(serve: Serve, clock: Clock) -> None:
    async with (
        raw_upstream(failing_for("a", "b", "c")) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        for key in ("a", "b", "c"):
            for number in range(2):
                await code_of(gateway, page(number), key=key)
        clock.advance(FIRST_PAUSE_SECONDS)
        upstream.acts = [black_hole, failing_for()]
        trial = asyncio.create_task(gateway.run(page(50), key="a"))
        await upstream.wait_for_requests(7)
        assert await code_of(gateway, page(), key="d") is None
        trial.cancel()
        await upstream.idle()


STATISTICS = ("run_count", "error_rate", "total_tokens", "latency_p50", "total_cost", "prompt_tokens")
steps = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.frozensets(st.sampled_from(STATISTICS), max_size=3),
        st.integers(1, 12),
        st.sampled_from([0.0, 1.0, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS]),
    ),
    max_size=30,
)
"""Tenant, statistics, number of requests at the same time, and seconds that pass before."""


@given(steps, st.frozensets(st.sampled_from(STATISTICS)))
def test_tenants_whose_requests_work_are_served_whatever_fails_for_another(
    todo: list[tuple[str, frozenset[str], int, float]], broken: frozenset[str]
) -> None:
    clock = Clock()

    def answer(request: httpx.Request) -> httpx.Response:
        is_failing = request.headers["x-api-key"] == "a" and broken & set(request.url.params.get_list("stats_select"))
        return httpx.Response(500 if is_failing else 200, json=[])

    async def run() -> None:
        upstream = create_upstream(
            UpstreamOptions(endpoint="http://langsmith", timeout_seconds=30, retries=0, concurrency=4),
            redis=None,
            metrics=Metrics(),
            log=create_log("json", "error", io.StringIO()),
            clock=clock.monotonic,
            connections=HttpxConnections(httpx.MockTransport(answer)),
        )
        for tenant, statistics, count, seconds in todo:
            clock.advance(seconds)
            credential = Credential(tenant, {"x-api-key": tenant})
            queries = (PageQuery(limit=1, offset=each, statistics=statistics) for each in range(count))
            outcomes = await asyncio.gather(
                *(upstream.fetch(query, credential, []) for query in queries), return_exceptions=True
            )
            if tenant != "a":
                assert [each for each in outcomes if isinstance(each, Exception)] == []
        await upstream.aclose()

    asyncio.run(run())


async def test_burst_of_one_token_leaves_places_to_another(serve: Serve, langsmith: Emulator) -> None:
    own = {**SERVER, "langsmith_api_key": "demo"}
    async with serve(upstream_concurrency=4, **own) as gateway, gateway.in_process() as in_process:
        resume = langsmith.pause()
        burst = [asyncio.create_task(code_with_token(in_process, page(number), "token-a")) for number in range(19)]
        await langsmith.wait_for_requests(3)
        other = asyncio.create_task(code_with_token(in_process, page(19), "token-b"))
        await langsmith.wait_for_requests(4)
        assert dict(langsmith.requests[-1].params)["offset"] == "19"
        resume.set()
        assert await asyncio.gather(other, *burst) == [None] * 20


async def test_failing_operations_of_one_token_do_not_stop_the_requests_of_another(serve: Serve) -> None:
    async with (
        raw_upstream(failing_with_statistics()) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0, **SERVER) as gateway,
    ):
        for number in range(10):
            assert await code_with_token(gateway, FOUR_FIELDS, "token-a") == "UPSTREAM_ERROR"
            assert await code_with_token(gateway, page(number), "token-b") is None


@pytest.mark.parametrize("fields", [["id"], ["id", "runCount", "errorRate", "totalTokens", "latencyP50", "totalCost"]])
async def test_own_key_asks_a_langsmith_that_is_down_rarely(serve: Serve, fields: list[str]) -> None:
    async with (
        raw_upstream(failing_for("own")) as upstream,
        serve(
            langsmith_endpoint=upstream.url,
            upstream_retries=0,
            auth="server",
            langsmith_api_key="own",
            allow_anonymous=True,
        ) as gateway,
    ):
        for number in range(10):
            for each in fields:
                assert len(await gateway.errors(page(number, each), key=None)) == 1
        assert len(upstream.requests) == FAILURE_THRESHOLD

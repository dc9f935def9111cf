"""LangSmith is left alone when it keeps failing, and asked by one request whether it has recovered."""

import asyncio
import re

import pytest

from app.emulator import Emulator, Fault
from app.resilience.circuit_breaker import FAILURES, LONGEST_PAUSE, PAUSE
from tests.conftest import Clock, Gateway, Serve, asked
from tests.langsmith.test_client import code_of, logged, page
from tests.support.raw_upstream import Connection, black_hole, listed, raw_upstream, response, row, says

DOWN = Fault(status=503, times=None)


async def is_open(gateway: Gateway) -> bool:
    text = (await gateway.client.get("/metrics")).text
    match = re.search(r"^gateway_upstream_breaker_open (\S+)$", text, re.MULTILINE)
    assert match
    return float(match[1]) == 1


async def opened(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(DOWN)
    for number in range(FAILURES):
        assert not await is_open(gateway)
        assert await code_of(gateway, page(number)) == "UPSTREAM_ERROR"
    assert len(asked(langsmith)) == FAILURES
    assert await is_open(gateway)


async def test_after_failures_in_a_row_nothing_is_sent_for_a_while(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        await opened(gateway, langsmith)
        (error,) = await gateway.errors(page(100))
        assert error["extensions"] == {"code": "UPSTREAM_ERROR"}
        assert "left alone" in error["message"]
        assert asked(langsmith) == []
        assert len(logged(gateway, "circuit_breaker_opened")) == 1


async def test_what_is_held_is_served_meanwhile(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        held = await gateway.data(page(500, "id name"))
        langsmith.requests.clear()
        await opened(gateway, langsmith)
        assert await gateway.data(page(500, "name id")) == held


async def test_one_request_tries_whether_it_has_recovered(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    async with serve(upstream_retries=0) as gateway, gateway.in_process() as at_once:
        await opened(gateway, langsmith)
        for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE):
            clock.forward(pause - 0.1)
            await code_of(gateway, page(200))
            assert asked(langsmith) == []
            clock.forward(0.2)
            codes = await asyncio.gather(*(code_of(at_once, page(300 + number)) for number in range(5)))
            assert codes == ["UPSTREAM_ERROR"] * 5
            assert len(asked(langsmith)) == 1
        langsmith.faults.clear()
        clock.forward(LONGEST_PAUSE)
        assert await code_of(gateway, page(400)) is None
        assert await asyncio.gather(*(code_of(at_once, page(number)) for number in range(5))) == [None] * 5
        assert not await is_open(gateway)
        assert len(logged(gateway, "circuit_breaker_closed")) == 1


async def test_one_that_recovers_and_fails_once_more_is_not_left_alone(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number in range(3 * FAILURES):
            langsmith.faults[:] = [DOWN] if number % FAILURES else []
            await code_of(gateway, page(number))
        assert len(asked(langsmith)) == 3 * FAILURES
        assert not await is_open(gateway)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429])
async def test_what_langsmith_says_to_one_is_no_failure_for_others(
    serve: Serve, langsmith: Emulator, status: int
) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults.append(Fault(status=status, times=None))
        for number in range(2 * FAILURES):
            assert await code_of(gateway, page(number)) is not None
        assert len(asked(langsmith)) == 2 * FAILURES
        langsmith.faults.clear()
        assert (await gateway.data(page(), key="demo-2"))["sessions"]["nodes"]


async def test_time_outs_are_failures(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=2) as gateway,
    ):
        await asyncio.gather(*(gateway.run(page(number)) for number in range(FAILURES)))
        assert await is_open(gateway)
        assert await code_of(gateway, page(100)) == "UPSTREAM_ERROR"


async def test_clients_that_hang_up_are_none(serve: Serve) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(FAILURES + 2):
            client = asyncio.create_task(gateway.run(page(number)))
            await upstream.wait_for_requests(number + 1)
            client.cancel()
            await upstream.idle()
        upstream.acts = [says(listed(row()))]
        assert await code_of(gateway, page(100)) is None


async def test_one_who_tries_and_hangs_up_leaves_the_try_to_the_next(serve: Serve, clock: Clock) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=2) as gateway,
    ):
        await asyncio.gather(*(gateway.run(page(number)) for number in range(FAILURES)))
        clock.forward(PAUSE + 1)
        client = asyncio.create_task(gateway.run(page(100)))
        await upstream.wait_for_requests(FAILURES + 1)
        client.cancel()
        await upstream.idle()
        upstream.acts = [says(listed(row()))]
        assert await code_of(gateway, page(101)) is None


async def test_what_set_out_before_is_not_taken_for_the_one_that_tries(serve: Serve, clock: Clock) -> None:
    gate = asyncio.Event()

    async def fails_later(connection: Connection) -> None:
        await gate.wait()
        await connection.send(response(status=503))

    async with (
        raw_upstream(fails_later) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        before = asyncio.create_task(code_of(gateway, page(500)))
        await upstream.wait_for_requests(1)
        upstream.acts = [says(response(status=503))]
        for number in range(FAILURES):
            await code_of(gateway, page(number))
        assert await is_open(gateway)
        clock.forward(PAUSE + 1)
        upstream.acts = [black_hole]
        trying = asyncio.create_task(gateway.run(page(600)))
        await upstream.wait_for_requests(FAILURES + 2)
        gate.set()
        assert await before == "UPSTREAM_ERROR"
        clock.forward(LONGEST_PAUSE)
        assert await code_of(gateway, page(700)) == "UPSTREAM_ERROR"
        assert len(upstream.requests) == FAILURES + 2
        trying.cancel()
        await upstream.idle()

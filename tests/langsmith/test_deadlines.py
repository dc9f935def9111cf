"""LangSmith answers too late or not at all: one deadline holds for the query, and a healed LangSmith serves again."""

import asyncio

import pytest

from app.emulator import Emulator
from app.resilience.circuit_breaker import MAX_PAUSE_SECONDS
from tests.conftest import Clock, Gateway, Serve
from tests.langsmith.operations import code_of, count_successes, logged, page, run_wave
from tests.support.raw_upstream import Connection, black_hole, listed, raw_upstream, response, row, says

WAVES = pytest.mark.xdist_group("waves")
"""xdist starts groups first, so that the longest tests do not run alone at the end."""
PLACES_OF_ONE_TENANT = 28
"""Requests that one tenant may have in flight: four of the 32 places are left to others."""


@WAVES
async def test_healed_upstream_serves_again_after_waves_that_the_deadline_cancelled(serve: Serve, clock: Clock) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url, upstream_timeout=3) as gw:
        for wave in range(4):
            upstream.acts = [black_hole]
            bodies = await run_wave(250, gw, wave * 1000)
            codes = {body["errors"][0]["extensions"]["code"] for body in bodies}
            assert "UPSTREAM_TIMEOUT" in codes <= {"UPSTREAM_TIMEOUT", "RATE_LIMITED", "UPSTREAM_ERROR"}
            await upstream.idle()
            upstream.acts = [says(listed(row()))]
            clock.advance(MAX_PAUSE_SECONDS)
            assert count_successes(await run_wave(1, gw, wave * 1000 + 600)) == 1
            assert count_successes(await run_wave(20, gw, wave * 1000 + 500)) == 20, f"after wave {wave + 1}"
        assert upstream.most_in_flight <= 32


@WAVES
async def test_healed_upstream_serves_again_after_waves_of_disconnected_clients(serve: Serve) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url) as gw:
        for wave in range(4):
            upstream.acts = [black_hole]
            clients = asyncio.create_task(run_wave(250, gw, wave * 1000))
            await upstream.until(lambda: upstream.in_flight == PLACES_OF_ONE_TENANT)
            clients.cancel()
            await asyncio.wait([clients])
            await upstream.idle()
            upstream.acts = [says(listed(row()))]
            assert count_successes(await run_wave(20, gw, wave * 1000 + 500)) == 20, f"after wave {wave + 1}"


async def test_upstream_without_response_is_reported_as_timeout(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=0.3) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        await upstream.idle()


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\ncontent-le", response(b'[{"id":', length=5000)])
async def test_response_that_stops_half_way_is_reported_as_timeout(serve: Serve, sent: bytes) -> None:
    async def stops(connection: Connection) -> None:
        await connection.send(sent)
        await connection.until_closed()

    async with raw_upstream(stops) as upstream, serve(langsmith_endpoint=upstream.url, upstream_timeout=0.3) as gateway:
        assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        await upstream.idle()


async def test_one_deadline_holds_for_all_tries_together(serve: Serve) -> None:
    failing = response(b"", status=503, headers={"retry-after": "1"})
    async with (
        raw_upstream(failing, failing, black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=3) as gateway,
    ):
        # If the third try had a deadline of its own, the operation would take 5 seconds.
        async with asyncio.timeout(4.8):
            assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        assert len(upstream.requests) == 3


async def test_request_is_cancelled_when_its_only_client_disconnects(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.pause()
    client = asyncio.create_task(gateway.run(page()))
    await langsmith.wait_for_requests(1)
    client.cancel()
    await langsmith.wait_for_disconnects(1)
    assert langsmith.disconnects == 1
    assert logged(gateway, "upstream_failed") == []


async def test_request_goes_on_when_one_of_its_two_clients_disconnects(gateway: Gateway, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    leaving, staying = (asyncio.create_task(gateway.data(page())) for _ in range(2))
    await langsmith.wait_for_requests(1)
    # When this later request has arrived, both clients wait for the first one.
    late = asyncio.create_task(gateway.data(page(1)))
    await langsmith.wait_for_requests(2)
    leaving.cancel()
    await asyncio.wait([leaving])
    resume.set()
    assert (await staying)["sessions"]["nodes"] != []
    await late
    assert leaving.cancelled()
    assert langsmith.disconnects == 0
    assert len(langsmith.requests) == 2

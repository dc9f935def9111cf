"""The client of LangSmith: what it logs, and the fallback when LangSmith cannot select statistics."""

import asyncio

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve, take_recorded_params
from tests.langsmith.operations import IMMEDIATELY, SECRET, code_of, logged, page
from tests.support.raw_upstream import Connection, black_hole, raw_upstream, response, says


async def test_final_failure_is_one_line_in_the_log(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, body=b"SECRET", headers=IMMEDIATELY, times=None))
    async with serve() as gateway:
        await gateway.run(page(), key=SECRET)
        (line,) = logged(gateway, "upstream_failed")
        assert (line["level"], line["code"], line["status"], line["attempts"]) == ("warning", "UPSTREAM_ERROR", 503, 3)
        assert len(gateway.log.getvalue().splitlines()) == 2  # The other line is the operation's.
        assert "Traceback" not in gateway.log.getvalue()
        assert "SECRET" not in gateway.log.getvalue()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (response(b"", status=429), "RATE_LIMITED"),
        (response(b"", status=404), "UPSTREAM_ERROR"),
        (response(b"<html>"), "UPSTREAM_MALFORMED"),
        (b"no HTTP at all\r\n\r\n", "UPSTREAM_MALFORMED"),
    ],
)
async def test_failure_of_langsmith_is_logged_with_its_code(serve: Serve, answer: bytes, code: str) -> None:
    async with (
        raw_upstream(says(answer, then=Connection.close)) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        assert await code_of(gateway, page()) == code
        assert [line["code"] for line in logged(gateway, "upstream_failed")] == [code]
        assert "Traceback" not in gateway.log.getvalue()


@pytest.mark.parametrize("status", [401, 403, 422])
async def test_refusal_that_the_client_caused_is_not_logged_as_a_failure(
    gateway: Gateway, langsmith: Emulator, status: int
) -> None:
    langsmith.faults.append(Fault(status=status))
    await gateway.run(page())
    assert logged(gateway, "upstream_failed") == []


async def test_all_statistics_are_requested_when_langsmith_refuses_stats_select(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve() as gateway:
        expected = await gateway.data(page(0, "id runCount latencyP50"))
        other = await gateway.data(page(1, "id runCount errorRate"))
        take_recorded_params(langsmith)
    langsmith.refuses_stats_select = True
    async with serve() as gateway:
        assert await gateway.data(page(0, "id runCount latencyP50")) == expected
        first, second = take_recorded_params(langsmith)
        assert ("stats_select", "run_count") in first
        assert [each for each in first if each[0] != "stats_select"] == second

        assert await gateway.data(page(1, "id runCount errorRate")) == other
        (third,) = take_recorded_params(langsmith)
        assert ("include_stats", "true") in third
        assert "stats_select" not in dict(third)

        await gateway.data(page(1, "totalTokens promptCost feedbackStats { key n }"))
        assert take_recorded_params(langsmith) == []
        assert len(logged(gateway, "stats_select_refused")) == 1


async def test_concurrent_operations_log_the_refusal_of_stats_select_once(serve: Serve, langsmith: Emulator) -> None:
    langsmith.refuses_stats_select = True
    async with serve() as gateway:
        await asyncio.gather(*(gateway.data(page(number, "runCount")) for number in range(5)))
        assert len(logged(gateway, "stats_select_refused")) == 1


async def test_stats_select_is_tried_again_by_one_request_after_ten_minutes(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    langsmith.refuses_stats_select = True
    async with serve() as gateway, gateway.in_process() as in_process:

        async def count_selecting(first_page: int) -> int:
            """The number of requests that select statistics, of four operations at the same time."""
            take_recorded_params(langsmith)
            pages = (page(first_page + number, "runCount") for number in range(4))
            await asyncio.gather(*(in_process.data(each) for each in pages))
            return sum("stats_select" in dict(params) for params in take_recorded_params(langsmith))

        await count_selecting(0)
        clock.advance(599)
        assert await count_selecting(10) == 0
        clock.advance(2)
        await gateway.data(page(100))  # a request without statistics tries nothing
        assert await count_selecting(20) == 1
        assert await count_selecting(30) == 0
        langsmith.refuses_stats_select = False
        clock.advance(601)
        assert await count_selecting(40) == 1
        assert await count_selecting(50) == 4
        for event in ("stats_select_refused", "stats_select_accepted"):
            assert len(logged(gateway, event)) == 1


async def test_refusal_that_only_mentions_stats_select_does_not_disable_it(
    gateway: Gateway, langsmith: Emulator
) -> None:
    body = b'{"detail": "Invalid filter: what is stats_select?"}'
    langsmith.faults.append(Fault(status=422, body=body, times=2))
    assert await code_of(gateway, page(0, "runCount")) == "BAD_USER_INPUT"
    take_recorded_params(langsmith)
    await gateway.data(page(1, "runCount"))
    (params,) = take_recorded_params(langsmith)
    assert ("stats_select", "run_count") in params
    assert logged(gateway, "stats_select_refused") == []


async def test_refusal_of_stats_select_that_was_not_sent_is_not_repeated(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=422, body=b'{"detail": "stats_select"}', times=None))
    assert await code_of(gateway, page()) == "BAD_USER_INPUT"
    assert len(langsmith.requests) == 1


async def test_request_for_all_statistics_shares_the_deadline_of_the_refused_one(serve: Serve) -> None:
    refusal = response(b'{"detail": [{"loc": ["query", "stats_select"]}]}', status=422)
    async with (
        raw_upstream(refusal, black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=2) as gateway,
    ):
        assert await code_of(gateway, page(0, "runCount")) == "UPSTREAM_TIMEOUT"
        assert len(upstream.requests) == 2

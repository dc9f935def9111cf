"""Callers who need the same page at the same time share one request to LangSmith (singleflight)."""

import asyncio

from app.emulator import Emulator, Fault
from tests.cache.test_page_cache import THREE, TWO, outcome
from tests.conftest import Gateway, Serve, take_recorded_params


async def test_requests_are_shared_while_caching_is_off(serve: Serve, langsmith: Emulator) -> None:
    async with serve(cache_ttl=0) as gateway:
        await gateway.data(THREE)
        await gateway.data(THREE)
        assert len(take_recorded_params(langsmith)) == 2
        async with gateway.in_process() as direct:
            await asyncio.gather(*(direct.data(THREE) for _ in range(10)))
        assert len(take_recorded_params(langsmith)) == 1


async def test_hundred_equal_queries_that_miss_make_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    answers = await asyncio.gather(*(gateway.data(THREE) for _ in range(100)))
    assert all(answer == answers[0] for answer in answers)
    assert len(take_recorded_params(langsmith)) == 1


async def test_hundred_equal_queries_that_miss_share_one_failure(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503))
    async with serve(upstream_retries=0) as gateway:
        answers = await asyncio.gather(*(gateway.errors(THREE) for _ in range(100)))
        assert {error["extensions"]["code"] for errors in answers for error in errors} == {"UPSTREAM_ERROR"}
        assert all(len(errors) == 1 for errors in answers)
        assert len(take_recorded_params(langsmith)) == 1
        # The failure is not cached.
        assert await outcome(gateway, THREE) == "MISS"


async def test_request_in_flight_serves_narrower_selection(gateway: Gateway, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    wide = asyncio.create_task(gateway.data(THREE))
    await langsmith.wait_for_requests(1)
    narrow = asyncio.create_task(gateway.explain(TWO))
    await asyncio.sleep(0)
    resume.set()
    await wide
    assert (await narrow)["fields"]["sessions"]["cache"] in {"COALESCED", "HIT"}
    assert len(take_recorded_params(langsmith)) == 1


async def test_simultaneous_selections_of_one_page_are_merged_into_one_request(
    gateway: Gateway, langsmith: Emulator
) -> None:
    await gateway.data("{ a: sessions(first: 5) { nodes { runCount } } b: sessions(first: 7) { nodes { totalCost } } }")
    [params] = take_recorded_params(langsmith)
    assert params == [
        ("limit", "7"),
        ("include_stats", "true"),
        ("stats_select", "run_count"),
        ("stats_select", "total_cost"),
    ]


async def test_failure_of_one_window_leaves_the_other_window_alone(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        body = await gateway.run(
            "{ good: sessions(first: 5) { nodes { id } }"
            '  bad: sessions(first: 5, stats: {filter: "no such("}) { nodes { runCount } } }'
        )
    assert body["data"]["good"] is not None
    assert body["data"]["bad"] is None
    [error] = body["errors"]
    assert error["path"] == ["bad"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_concurrent_windows_of_one_page_have_their_own_numbers(serve: Serve, langsmith: Emulator) -> None:
    query = "query ($last: Duration) { sessions(first: 50, stats: {last: $last}) { nodes { runCount } } }"
    windows: list[str | None] = ["PT1H", "PT24H", None]
    async with serve(cache_ttl=0) as plain, serve() as gateway:
        alone = [await plain.data(query, {"last": last}) for last in windows]
        for _ in range(2):
            together = await asyncio.gather(*(gateway.data(query, {"last": last}) for last in windows))
            assert together == alone
    assert alone[0] != alone[1] != alone[2]


async def test_request_continues_when_one_of_its_clients_disconnects(gateway: Gateway, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    leaving = asyncio.create_task(gateway.data(THREE))
    await langsmith.wait_for_requests(1)
    staying = asyncio.create_task(gateway.data(THREE))
    for _ in range(20):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    resume.set()
    assert len((await staying)["sessions"]["nodes"]) == 5
    assert langsmith.disconnects == 0
    assert len(take_recorded_params(langsmith)) == 1


async def test_request_is_cancelled_when_its_last_client_disconnects(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.pause()
    leaving = [asyncio.create_task(gateway.data(THREE)) for _ in range(3)]
    await langsmith.wait_for_requests(1)
    for each in leaving:
        each.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await langsmith.wait_for_disconnects(1)
    assert langsmith.disconnects == 1

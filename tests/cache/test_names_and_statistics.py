"""A request for columns waits for nobody's statistics, and neither of two answers costs the other one its values."""

import asyncio
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.cache.shared.pair import Pair
from tests.cache.shared.pair import pair as _pair
from tests.cache.test_page_cache import ids_in, outcome
from tests.conftest import Clock, Gateway, Serve, take_recorded_params

pair = _pair
NEVER = 3600.0
"""Seconds that statistics take in a test that does not wait for them."""
NAMES, COUNTS = (f"{{ found: sessions(first: 5) {{ nodes {{ id {field} }} }} }}" for field in ("name", "runCount"))
NO_CACHE = {"cache-control": "no-cache"}


async def selections(serve: Serve, langsmith: Emulator, form: str) -> tuple[str, str]:
    """An operation that selects names, and one that selects statistics of the same sessions."""
    async with serve() as gateway:
        data = await gateway.data("{ sessions(first: 2) { nodes { id } } }")
    first, second = (node["id"] for node in data["sessions"]["nodes"])
    take_recorded_params(langsmith)
    root = {
        "list": "found: sessions(first: 5)",
        "session": f'found: session(id: "{first}")',
        "sessions": f'found: nodes(ids: ["{first}", "{second}"])',
    }[form]
    fields = {"list": "nodes {{ {} }}", "session": "{}", "sessions": "... on Session {{ {} }}"}[form]
    names, counts = (f"{{ {root} {{ {fields.format(field)} }} }}" for field in ("id name", "id runCount"))
    return names, counts


def computes(params: list[tuple[str, str]]) -> bool:
    return ("include_stats", "true") in params


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("form", ["list", "session", "sessions"])
@pytest.mark.parametrize("ttl", [15, 0])
async def test_names_do_not_wait_for_statistics_in_flight(
    serve: Serve, langsmith: Emulator, form: str, ttl: float
) -> None:
    langsmith.stats_latency = NEVER
    names, counts = await selections(serve, langsmith, form)
    async with serve(cache_ttl=ttl) as gateway:
        waiting = asyncio.create_task(gateway.data(counts))
        await langsmith.wait_for_requests(1)
        assert (await gateway.data(names))["found"]
        assert not waiting.done()
        assert [computes(each) for each in take_recorded_params(langsmith)] == [True, False]
        await cancelled(waiting)


@pytest.mark.parametrize("form", ["list", "session", "sessions"])
@pytest.mark.parametrize("are_names_first", [True, False])
async def test_names_do_not_wait_for_statistics_that_are_asked_for_at_the_same_moment(
    serve: Serve, gateway: Gateway, langsmith: Emulator, form: str, are_names_first: bool
) -> None:
    langsmith.stats_latency = NEVER
    names, counts = await selections(serve, langsmith, form)
    async with gateway.in_process() as direct:
        queries = (names, counts) if are_names_first else (counts, names)
        tasks = {query: asyncio.create_task(direct.data(query)) for query in queries}
        assert (await tasks[names])["found"]
        assert not tasks[counts].done()
        await langsmith.wait_for_requests(2)
        assert sorted(computes(each) for each in take_recorded_params(langsmith)) == [False, True]
        await cancelled(tasks[counts])


@pytest.mark.parametrize("form", ["list", "session", "sessions"])
async def test_names_do_not_wait_for_statistics_that_another_process_asks_for(
    serve: Serve, pair: Pair, langsmith: Emulator, form: str
) -> None:
    langsmith.stats_latency = NEVER
    names, counts = await selections(serve, langsmith, form)
    waiting = asyncio.create_task(pair.one.data(counts))
    await langsmith.wait_for_requests(1)
    assert (await pair.other.data(names))["found"]
    assert not waiting.done()
    assert [computes(each) for each in take_recorded_params(langsmith)] == [True, False]
    await cancelled(waiting)


async def test_lookup_of_columns_does_not_prefetch_what_another_process_selected(
    serve: Serve, pair: Pair, langsmith: Emulator, clock: Clock
) -> None:
    names, counts = await selections(serve, langsmith, "session")
    await pair.one.data(counts)
    await pair.wait_written()
    clock.advance(20)
    take_recorded_params(langsmith)
    await pair.other.run(names, **{"cache-control": "max-age=5"})
    assert [computes(each) for each in take_recorded_params(langsmith)] == [False]


async def test_names_of_a_list_sorted_by_a_statistic_join_the_request_that_computes_it(
    gateway: Gateway, langsmith: Emulator
) -> None:
    ordered = "(first: 5, orderBy: {field: LATENCY_P99})"
    gate = langsmith.pause()
    counts = asyncio.create_task(gateway.data(COUNTS.replace("(first: 5)", ordered)))
    await langsmith.wait_for_requests(1)
    names = asyncio.create_task(outcome(gateway, NAMES.replace("(first: 5)", ordered)))
    gate.set()
    await counts
    assert await names in {"COALESCED", "HIT"}
    assert len(take_recorded_params(langsmith)) == 1


async def test_stale_names_are_refreshed_while_statistics_are_in_flight(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    langsmith.stats_latency = NEVER
    async with serve(cache_stale=60) as gateway:
        await gateway.data(NAMES)
        clock.advance(20)
        waiting = asyncio.create_task(gateway.data(COUNTS))
        await langsmith.wait_for_requests(2)
        assert await outcome(gateway, NAMES) == "STALE"
        while await outcome(gateway, NAMES) == "STALE":
            pass
        assert not waiting.done()
        await cancelled(waiting)


@pytest.mark.parametrize("has_redis", [False, True])
@pytest.mark.parametrize("rows", [(5, 5), (3, 5), (5, 3)])
@pytest.mark.parametrize("is_first_sent_first_answered", [True, False])
@pytest.mark.parametrize("are_names_first", [True, False])
async def test_names_and_statistics_are_both_cached_in_whatever_order_they_arrive(
    pair: Pair,
    gateway: Gateway,
    langsmith: Emulator,
    clock: Clock,
    has_redis: bool,
    rows: tuple[int, int],
    is_first_sent_first_answered: bool,
    are_names_first: bool,
) -> None:
    names, counts = (query.replace("5", str(count)) for query, count in zip((NAMES, COUNTS), rows, strict=True))
    queries = (names, counts) if are_names_first else (counts, names)
    gateways = (pair.one, pair.other) if has_redis else (gateway, gateway)
    gates, tasks = [], []
    for number, (query, each) in enumerate(zip(queries, gateways, strict=True), 1):
        gates.append(langsmith.pause())
        tasks.append(asyncio.create_task(each.data(query)))
        await langsmith.wait_for_requests(number)
        clock.advance(1)
    for number in (0, 1) if is_first_sent_first_answered else (1, 0):
        gates[number].set()
        await tasks[number]
    await pair.wait_written()
    langsmith.pause().set()
    assert len(take_recorded_params(langsmith)) == 2
    for query in (counts, names, counts):
        found = await outcome(gateways[0], query)
        # Of several rows that only one answer has, the statistics are found by session, and names are cheap to fetch.
        assert found == "HIT" or rows[0] != rows[1]
        assert not any(computes(params) for params in take_recorded_params(langsmith))


async def test_statistics_that_arrive_late_do_not_make_names_older(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    def rename(rows: list[dict[str, Any]]) -> None:
        for each in rows:
            each["name"] = "older"

    langsmith.faults.append(Fault(rewrite=rename))
    gate = langsmith.pause()
    counts = asyncio.create_task(gateway.data(COUNTS))
    await langsmith.wait_for_requests(1)
    clock.advance(1)
    langsmith.pause().set()
    names = await gateway.data(NAMES)
    gate.set()
    numbers = await counts
    take_recorded_params(langsmith)
    assert await gateway.data(NAMES) == names
    assert await gateway.data(COUNTS) == numbers
    both = (await gateway.data(NAMES.replace("name", "name runCount")))["found"]["nodes"]
    assert both == [{**a, **b} for a, b in zip(names["found"]["nodes"], numbers["found"]["nodes"], strict=True)]
    assert take_recorded_params(langsmith) == []


async def test_newer_names_leave_fresh_statistics_of_the_same_sessions(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    counts = await gateway.data(COUNTS)
    clock.advance(5)
    await gateway.run(NAMES, **NO_CACHE)
    take_recorded_params(langsmith)
    assert await gateway.data(COUNTS) == counts
    assert take_recorded_params(langsmith) == []
    clock.advance(11)  # the statistics have expired, and the names have not
    assert await outcome(gateway, NAMES) == "HIT"
    assert await outcome(gateway, COUNTS) == "REFILL"


async def test_statistics_of_sessions_that_moved_are_not_computed_again(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data(COUNTS.replace("5", "6"))

    def lose_the_first(rows: list[dict[str, Any]]) -> None:
        rows.append(rows.pop(0))

    langsmith.faults.append(Fault(rewrite=lose_the_first))
    clock.advance(5)
    await gateway.run(NAMES.replace("5", "7"), **NO_CACHE)
    take_recorded_params(langsmith)
    assert len((await gateway.data(COUNTS.replace("5", "7")))["found"]["nodes"]) == 7
    [refill] = take_recorded_params(langsmith)
    assert len(ids_in(refill)) == 1

"""Processes that share a Redis find what one of them fetched, fetch once for all, and go on without Redis."""

import asyncio
import json
import math
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings

from app.emulator import Emulator, Fault, serving
from tests.cache.shared.pair import BY_ID, DOWN, PAGE, WIDER, Pair, outcome, redis_settings
from tests.cache.test_page_cache import STEPS, TENANTS, ids_in
from tests.conftest import NOON, Clock, Serve, running_gateway, take_recorded_params
from tests.support.generated_operations import Operation
from tests.support.raw_upstream import row
from tests.support.real_redis import RealRedis, real_redis


async def test_page_fetched_by_one_process_is_a_hit_in_the_other(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    first = await pair.one.data(PAGE)
    await pair.wait_written()
    clock.advance(5)
    assert await outcome(pair.other, PAGE) == ("HIT", 5, 0)
    assert await pair.other.data(PAGE) == first
    assert len(take_recorded_params(langsmith)) == 1


async def test_pages_and_lookups_share_sessions_that_were_looked_up_in_any_process(
    pair: Pair, langsmith: Emulator
) -> None:
    nodes = (await pair.one.data("{ sessions(first: 5) { nodes { id name } } }"))["sessions"]["nodes"]
    looked_up = await pair.one.data(BY_ID, {"id": nodes[2]["id"]})
    await pair.wait_written()
    take_recorded_params(langsmith)
    assert await outcome(pair.other, BY_ID, {"id": nodes[2]["id"]}) == ("HIT", 0, 0)
    search = f'{{ sessions(filter: {{name: "{nodes[2]["name"]}"}}) {{ nodes {{ id runCount }} }} }}'
    third = pair.other.data(search.replace("runCount", ""))
    assert (await third)["sessions"]["nodes"] == [{"id": nodes[2]["id"]}]
    assert len(take_recorded_params(langsmith)) == 1
    # The search had to be fetched, because it may find other sessions. Their statistics are in Redis.
    assert (await pair.other.data(search))["sessions"]["nodes"][0]["runCount"] == looked_up["session"]["runCount"]
    assert take_recorded_params(langsmith) == []


async def test_statistics_of_one_page_that_were_fetched_at_different_times_are_combined(
    pair: Pair, langsmith: Emulator, serve: Serve, clock: Clock
) -> None:
    first = await pair.one.data(PAGE)
    await pair.wait_written()
    clock.advance(5)
    await pair.other.data(WIDER)
    await pair.wait_written()
    clock.advance(3)
    take_recorded_params(langsmith)
    async with serve(**redis_settings(pair.redis)) as third:
        both = WIDER.replace("errorRate", "errorRate latencyP50")
        assert await outcome(third, both) == ("HIT", 3, 0)
        assert await outcome(third, PAGE) == ("HIT", 8, 0)
        assert await outcome(third, "{ sessions(first: 5) { nodes { errorRate } } }") == ("HIT", 3, 0)
        nodes = (await third.data(both))["sessions"]["nodes"]
    assert [node["latencyP50"] for node in nodes] == [node["latencyP50"] for node in first["sessions"]["nodes"]]
    assert take_recorded_params(langsmith) == []


async def test_refill_requests_only_statistics_that_no_process_has(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    take_recorded_params(langsmith)
    await pair.other.data(WIDER)
    [refill] = take_recorded_params(langsmith)
    assert [value for name, value in refill if name == "stats_select"] == ["error_rate"]
    assert len(ids_in(refill)) == 5
    await pair.wait_written()
    assert await outcome(pair.one, WIDER) == ("HIT", 0, 0)


async def test_statistics_selected_in_any_process_are_prefetched(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    for gateway, query in ((pair.one, PAGE), (pair.other, WIDER)):
        for _ in range(2):
            await gateway.data(query)
            await pair.wait_written()
            clock.advance(20)
            await gateway.data(query)
            await pair.wait_written()
    take_recorded_params(langsmith)
    clock.advance(20)
    await pair.one.data(PAGE)
    await pair.wait_written()
    [params] = take_recorded_params(langsmith)
    assert {value for name, value in params if name == "stats_select"} == {"run_count", "latency_p50", "error_rate"}


async def test_unknown_session_is_shared_across_processes(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    unknown = {"id": "00000000-0000-4000-8000-000000000000"}
    assert await pair.one.data(BY_ID, unknown) == {"session": None}
    await pair.wait_written()
    assert await pair.other.data(BY_ID, unknown) == {"session": None}
    assert len(take_recorded_params(langsmith)) == 1
    clock.advance(3)
    assert await pair.other.data(BY_ID, unknown) == {"session": None}
    assert len(take_recorded_params(langsmith)) == 1


async def test_stale_page_is_refreshed_once_for_all_processes(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    for gateway in (pair.one, pair.other):
        await gateway.data(PAGE)
        await pair.wait_written()
    clock.advance(20)
    resume = langsmith.pause()
    assert [await outcome(gateway, PAGE) for gateway in (pair.one, pair.other)] == [("STALE", 20, 0)] * 2
    await pair.wait_lease_attempts(3)
    resume.set()
    await pair.wait_written()
    assert await outcome(pair.one, PAGE) == ("HIT", 0, 0)
    while (await outcome(pair.other, PAGE))[0] == "STALE":  # it polls at random moments
        pass
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    assert len(take_recorded_params(langsmith)) == 2


async def test_new_process_serves_stale_page_of_another(
    pair: Pair, serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    first = await pair.one.data(PAGE)
    await pair.wait_written()
    clock.advance(20)
    langsmith.faults.append(DOWN)
    assert await outcome(pair.other, PAGE) == ("STALE", 20, 0)
    assert await pair.other.data(PAGE) == first


@pytest.mark.parametrize("query", [PAGE, "{ sessions(first: 5) { nodes { id } } }"])
async def test_processes_that_miss_at_the_same_time_make_one_request(
    pair: Pair, langsmith: Emulator, query: str
) -> None:
    resume = langsmith.pause()
    requests = [asyncio.create_task(each.data(query)) for each in (pair.one, pair.other) for _ in range(5)]
    await pair.wait_lease_attempts(2)
    resume.set()
    answers = await asyncio.gather(*requests)
    assert all(answer == answers[0] for answer in answers)
    assert len(take_recorded_params(langsmith)) == 1


async def test_process_waits_for_a_fetch_that_covers_its_need_only(pair: Pair, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    one = asyncio.create_task(pair.one.data(PAGE))
    await pair.wait_lease_attempts(1)
    less = asyncio.create_task(outcome(pair.other, "{ sessions(first: 3) { nodes { runCount } } }"))
    await pair.wait_lease_attempts(2)
    other = asyncio.create_task(pair.other.data(WIDER))
    await langsmith.wait_for_requests(2)
    resume.set()
    await one
    await other
    assert (await less)[0] == "COALESCED"
    assert len(take_recorded_params(langsmith)) == 2


async def test_concurrent_lookups_fetch_each_session_once_for_all_processes(pair: Pair, langsmith: Emulator) -> None:
    nodes = (await pair.one.data("{ sessions(first: 5) { nodes { id } } }"))["sessions"]["nodes"]
    take_recorded_params(langsmith)
    resume = langsmith.pause()
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Session { totalCost } } }"
    ids = [node["id"] for node in nodes]
    one = asyncio.create_task(pair.one.data(query, {"ids": ids[:3]}))
    await langsmith.wait_for_requests(1)
    other = asyncio.create_task(pair.other.data(query, {"ids": ids[1:]}))
    await langsmith.wait_for_requests(2)
    resume.set()
    assert (await one)["nodes"][1:] == (await other)["nodes"][:2]
    first, second = take_recorded_params(langsmith)
    assert (ids_in(first), ids_in(second)) == (set(ids[:3]), set(ids[3:]))


async def test_failure_is_shared_with_waiting_processes_but_not_cached(pair: Pair, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=422, body=b'{"detail": [{"loc": ["query", "name"]}]}'))
    resume = langsmith.pause()
    requests = [asyncio.create_task(each.errors(PAGE)) for each in (pair.one, pair.other)]
    await pair.wait_lease_attempts(2)
    resume.set()
    one, other = await asyncio.gather(*requests)
    assert one == other
    assert one[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.name"}
    assert len(take_recorded_params(langsmith)) == 1
    assert await outcome(pair.other, PAGE) == ("MISS", 0, 1)


async def test_lease_is_released_when_the_last_client_disconnects(pair: Pair, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    leaving = asyncio.create_task(pair.one.data(PAGE))
    await langsmith.wait_for_requests(1)
    staying = asyncio.create_task(pair.other.data(PAGE))
    await pair.wait_lease_attempts(2)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await langsmith.wait_for_requests(2)
    resume.set()
    assert len((await staying)["sessions"]["nodes"]) == 5


async def test_no_cache_bypasses_redis_and_requests_that_were_sent_before(
    pair: Pair, langsmith: Emulator, clock: Clock
) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    clock.advance(5)
    no_cache = {"cache-control": "no-cache"}
    assert await outcome(pair.other, PAGE, **no_cache) == ("MISS", 0, 1)
    await pair.wait_written()
    assert await outcome(pair.one, PAGE, **{"cache-control": "max-age=3"}) == ("HIT", 0, 0)
    take_recorded_params(langsmith)
    resume = langsmith.pause()
    requests = [asyncio.create_task(outcome(pair.one, PAGE, **no_cache))]
    await langsmith.wait_for_requests(1)
    for number, gateway in enumerate((pair.one, pair.other), 2):
        clock.advance(1)
        requests.append(asyncio.create_task(outcome(gateway, PAGE, **no_cache)))
        await langsmith.wait_for_requests(number)
    resume.set()
    assert [each for each, _, _ in await asyncio.gather(*requests)] == ["MISS"] * 3


async def test_max_age_waits_for_another_process_that_sent_its_request_within_it(
    pair: Pair, langsmith: Emulator, clock: Clock
) -> None:
    resume = langsmith.pause()
    first = asyncio.create_task(pair.one.data(PAGE))
    await langsmith.wait_for_requests(1)
    clock.advance(2)
    waiting = asyncio.create_task(outcome(pair.other, PAGE, **{"cache-control": "max-age=3"}))
    await pair.wait_lease_attempts(2)
    younger = asyncio.create_task(outcome(pair.one, PAGE, **{"cache-control": "max-age=1"}))
    await langsmith.wait_for_requests(2)
    resume.set()
    await first
    assert (await waiting)[0] == "COALESCED"
    assert (await younger)[0] == "MISS"
    assert len(take_recorded_params(langsmith)) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_credential_refused_in_one_process_loses_stale_pages_in_the_other(
    pair: Pair, langsmith: Emulator, clock: Clock, status: int
) -> None:
    for gateway in (pair.one, pair.other):
        await gateway.data(PAGE)
        await gateway.data(PAGE, key="demo-2")
        await pair.wait_written()
    clock.advance(20)
    langsmith.faults.append(Fault(status=status, times=None))
    assert await pair.one.errors(WIDER.replace("5", "7"))
    assert await pair.other.errors(PAGE)
    assert (await pair.other.post(PAGE, key="demo-2")).json()["data"]["sessions"]


async def test_redis_keys_have_a_prefix_and_an_expiry_and_no_credential(pair: Pair) -> None:
    await pair.one.data(PAGE, key="demo")
    await pair.wait_written()
    with pair.redis.client() as client:
        for key in client.keys("*"):
            assert re.fullmatch(rb"sessions-gateway:[0-9a-f]{8}:\{[0-9a-f]{32}\}:(page|session|lease):[\w:-]+", key), (
                key
            )
            assert 0 < client.pttl(key) <= 86_400_000
            assert client.pttl(key) <= 75_000 or key.endswith(b":fence")
        everything = b"".join(client.dump(key) for key in client.keys("*"))
    assert b"demo" not in everything.replace(b"demo-", b"")


POISONED = pytest.mark.parametrize("poison", ["cut", "rubbish", "list", "token", "empty"])


@pytest.mark.parametrize("kind", ["page", "session"])
@POISONED
async def test_poisoned_record_is_fetched_and_overwritten(
    pair: Pair, serve: Serve, langsmith: Emulator, kind: str, poison: str
) -> None:
    query, variables = PAGE, None
    if kind == "session":
        query, variables = BY_ID, {"id": str(langsmith.workspaces["demo"].sessions[0].id)}
    first = await pair.one.data(query, variables)
    await pair.wait_written()
    with pair.redis.client() as client:
        for key in client.keys(f"*}}:{kind}:*"):
            _poison(client, key, poison)
    take_recorded_params(langsmith)
    assert await pair.other.data(query, variables) == first
    assert len(take_recorded_params(langsmith)) == 1
    await pair.wait_written()
    async with serve(**redis_settings(pair.redis)) as third:
        assert await outcome(third, query, variables) == ("HIT", 0, 0)


@POISONED
async def test_poisoned_selection_is_overwritten(pair: Pair, poison: str) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    await pair.wait_selection_written()
    with pair.redis.client() as client:
        for key in client.keys("*:selected:*"):
            _poison(client, key, poison)
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    await pair.wait_selection_written()


@pytest.mark.parametrize("poison", ["rubbish", "list", "empty"])
async def test_poisoned_leases_do_not_hinder_a_refill(pair: Pair, langsmith: Emulator, poison: str) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    with pair.redis.client() as client:
        for key in client.keys("*:lease:*"):
            _poison(client, key, poison)
    take_recorded_params(langsmith)
    assert await outcome(pair.other, WIDER) == ("REFILL", 0, 1)
    await pair.wait_written()
    assert await outcome(pair.one, WIDER) == ("HIT", 0, 0)
    assert "redis_unavailable" not in pair.other.log.getvalue()


def _poison(client: Any, key: bytes, kind: str) -> None:
    if kind == "list":
        client.delete(key)
        client.lpush(key, "x")
        return
    replacements: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda value: value[: len(value) // 2],
        "rubbish": lambda _: b"\x00\xff{}",
        "token": lambda value: b"9" * 15 + value[value.index(b" ") :][:20],
        "empty": lambda _: b"",
    }
    replace = replacements[kind]
    if client.type(key) == b"hash":
        for field, value in client.hgetall(key).items():
            client.hset(key, field, replace(value))
    else:
        client.set(key, replace(client.get(key)), keepttl=True)


async def test_records_of_another_version_are_not_read(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    with pair.redis.client() as client:
        for key in client.keys("*"):
            client.rename(key, re.sub(rb":[0-9a-f]{8}:", b":00000000:", key, count=1))
    assert await outcome(pair.other, PAGE) == ("MISS", 0, 1)


async def test_redis_stays_empty_while_caching_is_off(serve: Serve, redis: RealRedis) -> None:
    async with serve(**redis_settings(redis), cache_ttl=0) as gateway:
        await gateway.data(PAGE)
    assert redis.keys() == []


@settings(max_examples=15)
@given(steps=STEPS)
def test_answers_of_processes_that_share_redis_equal_those_without_cache(
    steps: list[tuple[list[tuple[str, Operation]], float]],
) -> None:
    """Concurrent operations at two gateways get the answers that each gets alone from a gateway without a cache."""

    async def run() -> None:
        langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        clock = Clock()
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            shared = redis_settings(stack.enter_context(real_redis()))
            one, other, without = [
                await stack.enter_async_context(running_gateway(url, clock, now=lambda: NOON, **values))
                for values in (shared, shared, {"cache_ttl": 0})
            ]
            for step, pause in steps:
                calls = [(each.query, each.variables, key) for key, each in step]
                together = await asyncio.gather(
                    *(each.run(query, variables, key=key) for query, variables, key in calls for each in (one, other))
                )
                alone = [await without.run(query, variables, key=key) for query, variables, key in calls]
                for number, (plain, call) in enumerate(zip(alone, calls, strict=True)):
                    assert together[2 * number] == plain, call
                    assert together[2 * number + 1] == plain, call
                clock.advance(pause)

    asyncio.run(run())


async def test_value_that_is_no_json_is_malformed_in_every_process(pair: Pair, langsmith: Emulator) -> None:
    query = "{ sessions(first: 1) { nodes { name extra experimentProgress { runProgress } } } }"
    not_json = {"extra": {"a": math.nan}, "experiment_progress": {"a": math.nan}}
    langsmith.faults.append(Fault(status=200, body=json.dumps([row() | not_json]).encode(), times=None))
    first = await pair.one.run(query)
    assert [error["path"][-1] for error in first["errors"]] == ["extra", "experimentProgress"]
    await pair.wait_written()
    assert await pair.other.run(query) == first

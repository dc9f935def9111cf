"""Processes that share a Redis know what one of them asked, ask once for all, and do without it when it is gone."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings

from app.emulator import Emulator, Fault, serving
from tests.cache.test_page_cache import STEPS, TENANTS, ids_in
from tests.conftest import NOON, Clock, Gateway, Serve, asked, started
from tests.observability.test_log import lines
from tests.support.generated_operations import Operation
from tests.support.real_redis import RealRedis, real_redis

PAGE = "{ sessions(first: 5) { nodes { id name runCount latencyP50 } } }"
WIDER = "{ sessions(first: 5) { nodes { id name runCount errorRate } } }"
BY_ID = "query ($id: ID!) { session(id: $id) { name runCount } }"
DOWN = Fault(status=503, times=None)


@dataclass
class Pair:
    """Two gateways with one Redis; what they write and wait for there."""

    one: Gateway
    other: Gateway
    redis: RealRedis

    async def written(self) -> None:
        """Returns when nobody has a turn any more."""
        await self._until(lambda: not any(value.startswith(b"h") for value in self.values("*:lease:[ps]*")))

    async def noted(self) -> None:
        """Returns when it is there to be read what was wanted of a page."""
        await self._until(lambda: any(re.fullmatch(rb"\d+ \d+ ", value) for value in self.values("*:selected:*")))

    async def waiting(self, count: int) -> None:
        """Returns when so many turns were asked for."""
        await self._until(lambda: any(int(value) >= count for value in self.values("*:lease:fence")))

    def values(self, pattern: str) -> list[bytes]:
        """Of texts, and of the fields of hashes."""
        with self.redis.client() as client:
            texts, hashes = (client.scan_iter(pattern, _type=kind) for kind in ("string", "hash"))
            return [*filter(None, map(client.get, texts)), *chain.from_iterable(map(client.hvals, hashes))]

    async def _until(self, holds: Callable[[], object]) -> None:
        while not holds():  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.002)


def sharing(redis: RealRedis) -> dict[str, Any]:
    return {"cache_url": redis.url, "cache_stale": 60, "upstream_retries": 0}


@pytest.fixture
async def pair(serve: Serve, redis: RealRedis) -> AsyncIterator[Pair]:
    async with serve(**sharing(redis)) as one, serve(**sharing(redis)) as other:
        yield Pair(one, other, redis)


async def outcome(gateway: Gateway, query: str, variables: Any = None, /, **headers: str) -> tuple[str, float, int]:
    """How the cache answered, how old it is, and how many requests were made for it."""
    body = await gateway.run(query, variables, **{"x-gateway-explain": "1", **headers})
    assert "errors" not in body, body["errors"]
    (field,) = body["extensions"]["gateway"]["fields"].values()
    return field["cache"], field["age"], len(field["requests"])


async def test_what_one_has_asked_the_other_knows(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    first = await pair.one.data(PAGE)
    await pair.written()
    clock.forward(5)
    assert await outcome(pair.other, PAGE) == ("HIT", 5, 0)
    assert await pair.other.data(PAGE) == first
    assert len(asked(langsmith)) == 1


async def test_a_page_a_search_and_a_session_share_what_they_know(pair: Pair, langsmith: Emulator) -> None:
    nodes = (await pair.one.data(PAGE))["sessions"]["nodes"]
    await pair.written()
    assert await outcome(pair.other, BY_ID, {"id": nodes[2]["id"]}) == ("HIT", 0, 0)
    search = f'{{ sessions(filter: {{name: "{nodes[3]["name"]}"}}) {{ nodes {{ id runCount }} }} }}'
    await pair.other.data("{ sessions(first: 5) { nodes { id } } }")
    asked(langsmith)
    assert (await pair.other.data(search.replace("runCount", "")))["sessions"]["nodes"] == [{"id": nodes[3]["id"]}]
    assert len(asked(langsmith)) == 1
    # Which sessions it finds was to be asked for; their statistics are known.
    assert (await pair.other.data(search))["sessions"]["nodes"][0]["runCount"] == nodes[3]["runCount"]
    assert asked(langsmith) == []


async def test_only_what_nobody_knows_is_asked_for(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    asked(langsmith)
    await pair.other.data(WIDER)
    [refill] = asked(langsmith)
    assert [value for name, value in refill if name == "stats_select"] == ["error_rate"]
    assert len(ids_in(refill)) == 5
    await pair.written()
    assert await outcome(pair.one, WIDER) == ("HIT", 0, 0)


async def test_what_was_wanted_anywhere_is_asked_for_together(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    for gateway, query in ((pair.one, PAGE), (pair.other, WIDER)):
        for _ in range(2):
            await gateway.data(query)
            await pair.written()
            clock.forward(20)
            await gateway.data(query)
            await pair.written()
    asked(langsmith)
    clock.forward(20)
    await pair.one.data(PAGE)
    await pair.written()
    [params] = asked(langsmith)
    assert {value for name, value in params if name == "stats_select"} == {"run_count", "latency_p50", "error_rate"}


async def test_that_a_session_does_not_exist_is_known_too(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    nobody = {"id": "00000000-0000-4000-8000-000000000000"}
    assert await pair.one.data(BY_ID, nobody) == {"session": None}
    await pair.written()
    assert await pair.other.data(BY_ID, nobody) == {"session": None}
    assert len(asked(langsmith)) == 1
    clock.forward(3)
    assert await pair.other.data(BY_ID, nobody) == {"session": None}
    assert len(asked(langsmith)) == 1


async def test_what_is_stale_is_asked_for_anew_once_for_all(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    for gateway in (pair.one, pair.other):
        await gateway.data(PAGE)
        await pair.written()
    clock.forward(20)
    gate = langsmith.pause()
    assert [await outcome(gateway, PAGE) for gateway in (pair.one, pair.other)] == [("STALE", 20, 0)] * 2
    await pair.waiting(3)
    gate.set()
    await pair.written()
    assert await outcome(pair.one, PAGE) == ("HIT", 0, 0)
    while (await outcome(pair.other, PAGE))[0] == "STALE":  # it looks at random moments
        pass
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    assert len(asked(langsmith)) == 2


async def test_a_process_that_is_new_serves_what_is_stale(
    pair: Pair, serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    first = await pair.one.data(PAGE)
    await pair.written()
    clock.forward(20)
    langsmith.faults.append(DOWN)
    assert await outcome(pair.other, PAGE) == ("STALE", 20, 0)
    assert await pair.other.data(PAGE) == first


@pytest.mark.parametrize("query", [PAGE, "{ sessions(first: 5) { nodes { id } } }"])
async def test_two_that_miss_at_a_time_make_one_request(pair: Pair, langsmith: Emulator, query: str) -> None:
    gate = langsmith.pause()
    asking = [asyncio.create_task(each.data(query)) for each in (pair.one, pair.other) for _ in range(5)]
    await pair.waiting(2)
    gate.set()
    answers = await asyncio.gather(*asking)
    assert all(answer == answers[0] for answer in answers)
    assert len(asked(langsmith)) == 1


async def test_who_wants_less_waits_for_who_asks_for_more_and_not_the_other_way_round(
    pair: Pair, langsmith: Emulator
) -> None:
    gate = langsmith.pause()
    one = asyncio.create_task(pair.one.data(PAGE))
    await pair.waiting(1)
    less = asyncio.create_task(outcome(pair.other, "{ sessions(first: 3) { nodes { runCount } } }"))
    await pair.waiting(2)
    other = asyncio.create_task(pair.other.data(WIDER))
    await langsmith.wait_for_requests(2)
    gate.set()
    await one
    await other
    assert (await less)[0] == "COALESCED"
    assert len(asked(langsmith)) == 2


async def test_lookups_of_two_are_one_request_for_each_session(pair: Pair, langsmith: Emulator) -> None:
    nodes = (await pair.one.data("{ sessions(first: 5) { nodes { id } } }"))["sessions"]["nodes"]
    asked(langsmith)
    gate = langsmith.pause()
    both = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Session { totalCost } } }"
    ids = [node["id"] for node in nodes]
    one = asyncio.create_task(pair.one.data(both, {"ids": ids[:3]}))
    await langsmith.wait_for_requests(1)
    other = asyncio.create_task(pair.other.data(both, {"ids": ids[1:]}))
    await langsmith.wait_for_requests(2)
    gate.set()
    assert (await one)["nodes"][1:] == (await other)["nodes"][:2]
    first, second = asked(langsmith)
    assert (ids_in(first), ids_in(second)) == (set(ids[:3]), set(ids[3:]))


async def test_a_failure_is_shared_by_who_waits_and_not_kept(pair: Pair, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=422, body=b'{"detail": [{"loc": ["query", "name"]}]}'))
    gate = langsmith.pause()
    asking = [asyncio.create_task(each.errors(PAGE)) for each in (pair.one, pair.other)]
    await pair.waiting(2)
    gate.set()
    one, other = await asyncio.gather(*asking)
    assert one == other
    assert one[0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.name"}
    assert len(asked(langsmith)) == 1
    assert await outcome(pair.other, PAGE) == ("MISS", 0, 1)


async def test_who_leaves_gives_up_its_turn(pair: Pair, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    leaving = asyncio.create_task(pair.one.data(PAGE))
    await langsmith.wait_for_requests(1)
    staying = asyncio.create_task(pair.other.data(PAGE))
    await pair.waiting(2)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await langsmith.wait_for_requests(2)
    gate.set()
    assert len((await staying)["sessions"]["nodes"]) == 5


async def test_who_asks_past_the_cache_is_not_answered_from_it(pair: Pair, langsmith: Emulator, clock: Clock) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    clock.forward(5)
    past = {"cache-control": "no-cache"}
    assert await outcome(pair.other, PAGE, **past) == ("MISS", 0, 1)
    await pair.written()
    assert await outcome(pair.one, PAGE, **{"cache-control": "max-age=3"}) == ("HIT", 0, 0)
    asked(langsmith)
    gate = langsmith.pause()
    asking = [asyncio.create_task(outcome(each, PAGE, **past)) for each in (pair.one, pair.other)]
    await pair.waiting(4)
    gate.set()
    assert sorted(await asyncio.gather(*asking)) == [("COALESCED", 0, 0), ("MISS", 0, 1)]
    assert len(asked(langsmith)) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_turned_away_by_one_sees_nothing_stale_of_the_other(
    pair: Pair, langsmith: Emulator, clock: Clock, status: int
) -> None:
    for gateway in (pair.one, pair.other):
        await gateway.data(PAGE)
        await gateway.data(PAGE, key="demo-2")
        await pair.written()
    clock.forward(20)
    langsmith.faults.append(Fault(status=status, times=None))
    assert await pair.one.errors(WIDER.replace("5", "7"))
    assert await pair.other.errors(PAGE)
    assert (await pair.other.post(PAGE, key="demo-2")).json()["data"]["sessions"]


async def test_keys_have_a_prefix_and_expire_and_hold_no_credential(pair: Pair) -> None:
    await pair.one.data(PAGE, key="demo")
    await pair.written()
    with pair.redis.client() as client:
        for key in client.keys("*"):
            assert re.fullmatch(rb"sessions-gateway:[0-9a-f]{8}:\{[0-9a-f]{32}\}:(page|session|lease):[\w:-]+", key), (
                key
            )
            assert 0 < client.pttl(key) <= 86_400_000
            assert client.pttl(key) <= 75_000 or key.endswith(b":fence")
        everything = b"".join(client.dump(key) for key in client.keys("*"))
    assert b"demo" not in everything.replace(b"demo-", b"")


SPOILED = pytest.mark.parametrize("spoiled", ["cut", "rubbish", "list", "token", "empty"])


@pytest.mark.parametrize("kind", ["page", "session"])
@SPOILED
async def test_what_cannot_be_read_is_asked_for_and_overwritten(
    pair: Pair, serve: Serve, langsmith: Emulator, kind: str, spoiled: str
) -> None:
    first = await pair.one.data(PAGE)
    await pair.written()
    await pair.noted()
    with pair.redis.client() as client:
        for key in client.keys(f"*:{kind}:*"):
            _spoil(client, key, spoiled)
    asked(langsmith)
    assert await pair.other.data(PAGE) == first
    assert len(asked(langsmith)) == 1
    await pair.written()
    async with serve(**sharing(pair.redis)) as third:
        assert await outcome(third, PAGE) == ("HIT", 0, 0)


@SPOILED
async def test_what_was_wanted_and_cannot_be_read_is_overwritten(pair: Pair, spoiled: str) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    await pair.noted()
    with pair.redis.client() as client:
        for key in client.keys("*:selected:*"):
            _spoil(client, key, spoiled)
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    await pair.noted()


@pytest.mark.parametrize("spoiled", ["rubbish", "list", "empty"])
async def test_turns_that_cannot_be_read_are_taken(pair: Pair, langsmith: Emulator, spoiled: str) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    with pair.redis.client() as client:
        for key in client.keys("*:lease:*"):
            _spoil(client, key, spoiled)
    asked(langsmith)
    assert await outcome(pair.other, WIDER) == ("REFILL", 0, 1)
    await pair.written()
    assert await outcome(pair.one, WIDER) == ("HIT", 0, 0)
    assert "redis_unavailable" not in pair.other.log.getvalue()


def _spoil(client: Any, key: bytes, how: str) -> None:
    if how == "list":
        client.delete(key)
        client.lpush(key, "x")
        return
    spoiled: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda value: value[: len(value) // 2],
        "rubbish": lambda _: b"\x00\xff{}",
        "token": lambda value: b"9" * 15 + value[value.index(b" ") :][:20],
        "empty": lambda _: b"",
    }
    text = spoiled[how]
    if client.type(key) == b"hash":
        for field, value in client.hgetall(key).items():
            client.hset(key, field, text(value))
    else:
        client.set(key, text(client.get(key)), keepttl=True)


async def test_what_another_version_wrote_is_not_read(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    with pair.redis.client() as client:
        for key in client.keys("*"):
            client.rename(key, re.sub(rb":[0-9a-f]{8}:", b":00000000:", key, count=1))
    assert await outcome(pair.other, PAGE) == ("MISS", 0, 1)


async def test_when_redis_is_killed_requests_go_on_and_when_it_is_back_it_is_used(
    pair: Pair, langsmith: Emulator, clock: Clock
) -> None:
    first = await pair.one.data(PAGE)
    await pair.written()
    pair.redis.kill()
    for offset in range(4):
        other = PAGE.replace("first: 5", f"first: 5, offset: {offset}")
        assert len((await pair.other.data(other))["sessions"]["nodes"]) == 5
    assert await pair.other.data(PAGE) == first
    assert await pair.one.data(WIDER)
    assert [line["use"] for line in lines(pair.other, "redis_unavailable")] == ["cache"]
    pair.redis.start()
    clock.forward(70)
    asked(langsmith)
    await pair.one.data(PAGE)
    await pair.written()
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    assert len(asked(langsmith)) == 1
    assert len(lines(pair.other, "redis_available")) == 1


async def test_redis_may_be_killed_while_one_asks_and_the_other_waits(pair: Pair, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    asking = [asyncio.create_task(each.data(PAGE)) for each in (pair.one, pair.other)]
    await pair.waiting(2)
    pair.redis.kill()
    await langsmith.wait_for_requests(2)
    gate.set()
    one, other = await asyncio.gather(*asking)
    assert one == other


async def test_a_frozen_redis_costs_a_moment(pair: Pair) -> None:
    pair.redis.freeze()
    try:
        async with asyncio.timeout(5):
            for offset in range(10):
                await pair.one.data(PAGE.replace("first: 5", f"first: 5, offset: {offset}"))
    finally:
        pair.redis.thaw()
    assert len(lines(pair.one, "redis_unavailable")) == 1


async def test_a_full_redis_answers_what_it_has(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.written()
    pair.redis.configure(maxmemory=1)
    try:
        assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
        assert (await outcome(pair.other, WIDER))[0] == "REFILL"
        assert (await outcome(pair.one, WIDER))[0] == "REFILL"
    finally:
        pair.redis.configure(maxmemory=0)


async def test_without_a_time_to_live_nothing_is_shared(serve: Serve, redis: RealRedis) -> None:
    async with serve(**sharing(redis), cache_ttl=0) as gateway:
        await gateway.data(PAGE)
    assert redis.keys() == []


@settings(max_examples=15)
@given(steps=STEPS)
def test_two_that_share_change_no_answer(steps: list[tuple[list[tuple[str, Operation]], float]]) -> None:
    """Operations of several clients at two gateways, at the same time, are answered as one by one without a cache."""

    async def run() -> None:
        langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        clock = Clock()
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            own = sharing(stack.enter_context(real_redis()))
            one, other, without = [
                await stack.enter_async_context(started(url, clock, now=lambda: NOON, **values))
                for values in (own, own, {"cache_ttl": 0})
            ]
            for batch, pause in steps:
                calls = [(each.query, each.variables, key) for key, each in batch]
                together = await asyncio.gather(
                    *(each.run(query, variables, key=key) for query, variables, key in calls for each in (one, other))
                )
                alone = [await without.run(query, variables, key=key) for query, variables, key in calls]
                for number, (plain, call) in enumerate(zip(alone, calls, strict=True)):
                    assert together[2 * number] == plain, call
                    assert together[2 * number + 1] == plain, call
                clock.forward(pause)

    asyncio.run(run())

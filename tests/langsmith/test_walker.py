"""Pages of version 2, which can only be walked: each row once, in order, with as few requests as that takes."""

import asyncio
import functools
import json
from typing import Any
from uuid import UUID

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Serve, running_gateway
from tests.langsmith.operations import code_of
from tests.support.real_redis import RealRedis

WALK = """query ($after: String, $first: Int) {
  sessions(first: $first, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } }
}"""
FIVE = "query ($after: String) { sessions(first: 5, after: $after) { nodes { id FIELDS } pageInfo { endCursor } } }"
LAST_DAY = """query ($after: String) {
  sessions(first: 30, after: $after, orderBy: {field: LATENCY_P99}, stats: {last: "PT24H"}) {
    nodes { id latencyP99 runCount } pageInfo { hasNextPage endCursor }
  }
}"""


def requests_of(langsmith: Emulator) -> list[dict[str, str]]:
    """The parameters of each request since the last call."""
    found = [dict(each.params) for each in langsmith.requests]
    langsmith.requests.clear()
    return found


async def walked(gateway: Any, query: str, **variables: Any) -> list[dict[str, Any]]:
    """All nodes, from the first page to the last."""
    nodes: list[dict[str, Any]] = []
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        found = (await gateway.data(query, {"after": info["endCursor"], **variables}))["sessions"]
        nodes += found["nodes"]
        info = found["pageInfo"]
    return nodes


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    """A LangSmith with enough sessions for several pages."""
    return Emulator(clock=clock.now)


@pytest.fixture
async def expected(serve: Serve, langsmith: Emulator) -> list[str]:
    """The ids of all sessions in the default order."""
    async with serve(upstream_api="v1") as gateway:
        ids = [node["id"] for node in await walked(gateway, WALK, first=500)]
    langsmith.requests.clear()
    return ids


@pytest.mark.parametrize("page_limit", [None, 7, 30, 100])
@pytest.mark.parametrize("first", [7, 100, 150, 500])
async def test_walk_has_every_session_once_and_in_order_however_short_the_pages_are(
    serve: Serve, langsmith: Emulator, expected: list[str], page_limit: int | None, first: int
) -> None:
    langsmith.page_limit = page_limit
    async with serve(upstream_api="v2") as gateway:
        if page_limit == 7 and first >= 100:
            # A hundred rows would take 15 requests.
            assert await code_of(gateway, f"{{ sessions(first: {first}) {{ nodes {{ id }} }} }}") == "BAD_USER_INPUT"
            return
        assert [node["id"] for node in await walked(gateway, WALK, first=first)] == expected


async def test_each_page_of_a_walk_is_one_request(serve: Serve, langsmith: Emulator, expected: list[str]) -> None:
    async with serve(upstream_api="v2") as gateway:
        assert len(await walked(gateway, WALK, first=20)) == len(expected)
        requests = requests_of(langsmith)
        assert len(requests) == len(expected) / 20
        assert len({request.get("cursor") for request in requests}) == len(requests)


async def test_empty_page_is_not_the_end(serve: Serve, langsmith: Emulator, expected: list[str]) -> None:
    langsmith.sends_empty_page = True
    async with serve(upstream_api="v2") as gateway:
        assert [node["id"] for node in await walked(gateway, WALK, first=50)] == expected


@pytest.mark.parametrize("first", [50, 230])
async def test_rows_that_appear_on_two_pages_are_shown_once(
    serve: Serve, langsmith: Emulator, expected: list[str], first: int
) -> None:
    langsmith.duplicates_across_pages = True
    async with serve(upstream_api="v2") as gateway:
        (nodes,) = (await gateway.data(f"{{ sessions(first: {first}) {{ nodes {{ id }} }} }}")).values()
        ids = [node["id"] for node in nodes["nodes"]]
        assert ids == expected[:first]


async def test_next_page_may_select_other_statistics(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_api="v1") as v1, serve(upstream_api="v2") as v2:
        answers = []
        for gateway in (v1, v2):
            first = await gateway.data(FIVE.replace("FIELDS", "runCount"))
            langsmith.requests.clear()
            after = first["sessions"]["pageInfo"]["endCursor"]
            answers.append(await gateway.data(FIVE.replace("FIELDS", "runCount errorRate totalCost"), {"after": after}))
        assert answers[0] == answers[1]
        walk, refill = langsmith.requests
        # A cursor belongs to the statistics of the first page. The others are requested by id.
        assert [value for name, value in walk.params if name == "stats_select"] == ["run_count"]
        assert "cursor" in dict(walk.params)
        assert [value for name, value in refill.params if name == "stats_select"] == ["total_cost", "error_rate"]
        assert "id" in dict(refill.params)


async def test_window_that_moves_stays_the_same_for_a_walk(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    for version in ("v1", "v2"):
        async with serve(upstream_api=version) as gateway:
            first = (await gateway.data(LAST_DAY))["sessions"]
            began = requests_of(langsmith)[0]["stats_start_time"]
            clock.advance(150)
            second = (await gateway.data(LAST_DAY, {"after": first["pageInfo"]["endCursor"]}))["sessions"]
            (request,) = requests_of(langsmith)
            assert request["stats_start_time"] == began
            assert not {node["id"] for node in first["nodes"]} & {node["id"] for node in second["nodes"]}
            # A client that comes back after a long time does not get old numbers.
            clock.advance(600)
            await gateway.data(LAST_DAY, {"after": first["pageInfo"]["endCursor"]})
            assert all(request["stats_start_time"] > began for request in requests_of(langsmith) if "id" not in request)


async def test_cursor_that_langsmith_no_longer_takes_is_replaced_once(
    serve: Serve, langsmith: Emulator, clock: Clock, expected: list[str]
) -> None:
    langsmith.cursor_lifetime = 60
    async with serve(upstream_api="v2") as gateway:
        first = (await gateway.data(WALK, {"first": 20}))["sessions"]
        clock.advance(120)
        langsmith.requests.clear()
        second = (await gateway.data(WALK, {"first": 20, "after": first["pageInfo"]["endCursor"]}))["sessions"]
        assert [node["id"] for node in second["nodes"]] == expected[20:40]
        assert ["cursor" in request for request in requests_of(langsmith)] == [True, False]
        # A refusal that has another cause is not repeated for ever.
        clock.advance(120)
        langsmith.faults.append(Fault(status=400, times=None))
        assert await code_of(gateway, "{ sessions(first: 20, offset: 20) { nodes { id } } }") == "BAD_USER_INPUT"
        assert len(requests_of(langsmith)) <= 2


async def test_jump_walks_without_statistics_and_requests_them_by_id(serve: Serve, langsmith: Emulator) -> None:
    query = "{ sessions(first: 10, offset: 210) { nodes { id runCount } pageInfo { hasNextPage } } }"
    async with serve(upstream_api="v1") as v1, serve(upstream_api="v2") as v2:
        expected = await v1.data(query)
        langsmith.requests.clear()
        assert await v2.data(query) == expected
        *walk, refill = requests_of(langsmith)
        assert [request["page_size"] for request in walk] == ["100", "100", "100"]
        assert not any("include_stats" in request for request in walk)
        assert refill["stats_select"] == "run_count"
        # What was walked is known from then on.
        await v2.data("{ sessions(first: 10, offset: 200) { nodes { id } } }")
        assert len(requests_of(langsmith)) == 1


async def test_rows_that_are_too_far_away_are_refused_without_a_request(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_api="v2") as gateway:
        (error,) = await gateway.errors("{ sessions(first: 10, offset: 1000) { nodes { id } } }")
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "`after`" in error["message"]
        assert langsmith.requests == []


async def test_statistic_that_fails_on_a_walk_does_not_fail_who_selects_none(
    serve: Serve, langsmith: Emulator, expected: list[str]
) -> None:
    async with serve(upstream_api="v2", upstream_retries=0) as gateway:
        first = await gateway.data(FIVE.replace("FIELDS", "runCount"))
        langsmith.faults.append(Fault(status=500))
        after = first["sessions"]["pageInfo"]["endCursor"]
        data = await gateway.data(FIVE.replace("FIELDS", ""), {"after": after})
        assert [node["id"] for node in data["sessions"]["nodes"]] == expected[5:10]


async def test_position_outlives_a_failure_of_langsmith(serve: Serve, langsmith: Emulator) -> None:
    langsmith.workspaces = {"demo": Emulator(workspaces={"demo": 1200}).workspaces["demo"]}
    async with serve(upstream_api="v2", upstream_retries=0, cache_ttl=0) as gateway:
        info = {"endCursor": None}
        for _ in range(11):
            info = (await gateway.data(WALK, {"first": 100, "after": info["endCursor"]}))["sessions"]["pageInfo"]
        far = f'{{ sessions(first: 20, after: "{info["endCursor"]}") {{ nodes {{ id }} }} }}'
        for status, code in ((503, "UPSTREAM_ERROR"), (429, "RATE_LIMITED")):
            langsmith.faults = [Fault(status=status, times=None)]
            assert await code_of(gateway, far) == code
            langsmith.faults = []
            clear = len(langsmith.requests)
            assert len((await gateway.data(far))["sessions"]["nodes"]) == 20
            assert len(langsmith.requests) == clear + 1


async def test_many_empty_pages_are_walked_by_several_answers(
    serve: Serve, langsmith: Emulator, expected: list[str]
) -> None:
    async with serve(upstream_api="v2") as gateway:
        after = (await gateway.data(WALK, {"first": 20}))["sessions"]["pageInfo"]["endCursor"]
        query = f'{{ sessions(first: 20, after: "{after}") {{ nodes {{ id }} }} }}'
        for number in range(25):
            body = b'{"items": [], "next_cursor": "empty-%d"}' % number
            langsmith.faults.append(Fault(body=body))
        langsmith.faults.append(Fault(body=b'{"items": []}'))
        langsmith.requests.clear()
        codes = [await code_of(gateway, query) for _ in range(2)]
        assert codes == ["BAD_USER_INPUT"] * 2
        assert (await gateway.data(query))["sessions"]["nodes"] == []
        assert len(langsmith.requests) == 26


async def test_positions_are_shared_through_redis(
    upstream_url: str, langsmith: Emulator, clock: Clock, redis: RealRedis, expected: list[str]
) -> None:
    serve = functools.partial(running_gateway, upstream_url, clock, upstream_api="v2", cache_url=redis.url)
    async with serve() as one, serve() as other:
        first = (await one.data(WALK, {"first": 20}))["sessions"]
        langsmith.requests.clear()
        second = (await other.data(WALK, {"first": 20, "after": first["pageInfo"]["endCursor"]}))["sessions"]
        assert [node["id"] for node in second["nodes"]] == expected[20:40]
        assert ["cursor" in request for request in requests_of(langsmith)] == [True]


async def test_walk_of_a_moving_list_misses_no_session_if_its_pages_come_from_two_processes(
    upstream_url: str, langsmith: Emulator, clock: Clock, redis: RealRedis, expected: list[str]
) -> None:
    serve = functools.partial(running_gateway, upstream_url, clock, upstream_api="v2", cache_url=redis.url)
    async with serve() as one, serve() as other:
        await walked(one, WALK, first=20)
        clock.advance(60)
        added = langsmith.add_project("demo", "a project of today")
        first = (await other.data(WALK, {"first": 20}))["sessions"]
        second = (await one.data(WALK, {"first": 20, "after": first["pageInfo"]["endCursor"]}))["sessions"]
        ids = [node["id"] for node in first["nodes"] + second["nodes"]]
        assert ids == [str(added.id), *expected[:39]]


async def test_pages_of_simultaneous_walks_do_not_mix(serve: Serve, langsmith: Emulator, expected: list[str]) -> None:
    async with serve(upstream_api="v2") as gateway:
        walks = await asyncio.gather(*(walked(gateway, WALK, first=first) for first in (30, 50, 100, 150, 230, 500)))
        for each in walks:
            assert [node["id"] for node in each] == expected


async def test_cursor_that_does_not_move_on_ends_the_walk(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(body=b'{"items": [], "next_cursor": "again"}', times=None))
    async with serve(upstream_api="v2") as gateway:
        assert await code_of(gateway, "{ sessions(first: 10) { nodes { id } } }") == "UPSTREAM_MALFORMED"
        assert len(langsmith.requests) <= 2


async def test_cursor_that_leaves_too_little_room_for_the_arguments_is_not_sent(
    serve: Serve, langsmith: Emulator
) -> None:
    query = """query ($part: String, $expression: String, $after: String) {
      sessions(first: 5, after: $after, filter: {nameContains: $part, expression: $expression}) {
        nodes { id } pageInfo { endCursor }
      }
    }"""
    rows = [{"id": str(UUID(int=number)), "tenant_id": str(UUID(int=0))} for number in range(5)]
    body = json.dumps({"items": rows, "next_cursor": "=" * 1300}).encode()
    langsmith.faults.append(Fault(body=body, times=None))
    async with serve(upstream_api="v2") as gateway:
        variables = {"part": "a" * 1500, "expression": f'eq(name, "{"a" * 3000}")'}
        after = (await gateway.data(query, variables))["sessions"]["pageInfo"]["endCursor"]
        (error,) = await gateway.errors(query, {**variables, "after": after})
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.expression"}
        assert "cursor" not in str(requests_of(langsmith))
        # The same cursor has room beside a shorter argument.
        variables["part"] = "a"
        await gateway.data(query, variables)
        await gateway.post(query, {**variables, "after": after})
        assert "cursor" in str(requests_of(langsmith))


async def test_cursor_that_no_request_could_hold_is_malformed(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(body=b'{"items": [], "next_cursor": "%s"}' % (b"=" * 1400), times=None))
    async with serve(upstream_api="v2") as gateway:
        assert await code_of(gateway, "{ sessions(first: 10) { nodes { id } } }") == "UPSTREAM_MALFORMED"


async def test_cost_of_rows_further_on_counts_the_requests_of_a_walk(serve: Serve) -> None:
    query = "{ sessions(first: 10, offset: %d) { nodes { id } } }"
    async with serve(upstream_api="v1") as v1, serve(upstream_api="v2") as v2:
        for offset, requests in ((0, 0), (1, 1), (100, 1), (230, 3), (5000, 10)):
            costs = [(await each.explain(query % offset))["cost"] for each in (v1, v2)]
            assert costs[1] - costs[0] == requests


RUBBISH = [b"x", b"[]", b"[1,20,7,20,[],[],true,0]", b'[1,20,"c",20,[["a","b"]],["x"],true,9e30]', b"[" * 10_000]


@pytest.mark.parametrize("poison", [*RUBBISH, None], ids=lambda poison: ascii(poison)[:20])
async def test_positions_in_redis_that_cannot_be_right_are_ignored(
    upstream_url: str, clock: Clock, redis: RealRedis, expected: list[str], poison: bytes | None
) -> None:
    serve = functools.partial(running_gateway, upstream_url, clock, upstream_api="v2", cache_url=redis.url)
    async with serve() as one, serve() as other:
        first = (await one.data(WALK, {"first": 20}))["sessions"]
        with redis.client() as client:
            keys = redis.keys()
            (key,) = [each for each in keys if b"positions" in each]
            if poison is None:
                client.set(key, "another type")
            else:
                client.hset(key, "20", poison)
            second = (await other.data(WALK, {"first": 20, "after": first["pageInfo"]["endCursor"]}))["sessions"]
            assert [node["id"] for node in second["nodes"]] == expected[20:40]
            assert client.type(key) == b"hash"
            assert 0 < client.ttl(key) <= 600


async def test_position_that_replaces_an_older_one_leaves_the_others_in_redis(
    upstream_url: str, clock: Clock, redis: RealRedis
) -> None:
    async with running_gateway(upstream_url, clock, upstream_api="v2", cache_url=redis.url) as gateway:
        await gateway.data(WALK, {"first": 20})
        with redis.client() as client:
            (key,) = client.keys("*positions*")
            client.hset(key, mapping={str(number): b"x" for number in range(100, 163)})
            before = client.hget(key, "20")
            clock.advance(3600)
            await gateway.data(WALK, {"first": 20})
            assert client.hlen(key) == 64
            assert client.hget(key, "20") != before
            await gateway.data(WALK, {"first": 30})
            assert client.hkeys(key) == [b"30"]

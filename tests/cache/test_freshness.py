"""What is no longer fresh is served for a while, while it is asked for anew; and a client may want nothing older."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.http.negotiation import parse_max_age
from tests.conftest import Clock, Gateway, Serve, asked

PAGE = "{ sessions(first: 3) { nodes { id name runCount } } }"
DOWN = Fault(status=503, times=None)


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with serve(cache_stale=60, upstream_retries=0) as gateway:
        yield gateway


async def outcome(gateway: Gateway, query: str = PAGE, **headers: str) -> tuple[str, float, int]:
    """How the cache answered, how old it is, and how many requests it made for that."""
    response = await gateway.post(query, None, **{"x-gateway-explain": "1", **headers})
    body = response.json()
    assert "errors" not in body, body
    (field,) = body["extensions"]["gateway"]["fields"].values()
    return field["cache"], field["age"], len(field["requests"])


async def settled(gateway: Gateway, langsmith: Emulator, count: int) -> None:
    """So many requests have come, and what they brought is kept."""
    ended = 0.0
    while ended < count:
        text = (await gateway.client.get("/metrics")).text
        ended = sum(float(number) for number in re.findall(r"gateway_upstream_requests_total{.*} (\S+)", text))


async def test_what_is_stale_is_served_and_asked_for_anew_once(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    first = await gateway.data(PAGE)
    clock.forward(20)
    gate = langsmith.pause()
    for _ in range(5):
        assert await outcome(gateway) == ("STALE", 20, 0)
    assert await gateway.data(PAGE) == first
    await langsmith.wait_for_requests(2)
    gate.set()
    await settled(gateway, langsmith, 2)
    assert await outcome(gateway) == ("HIT", 0, 0)
    assert len(asked(langsmith)) == 2


async def test_an_answer_that_is_stale_is_not_kept(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(PAGE)
    clock.forward(20)
    langsmith.faults.append(DOWN)
    response = await gateway.post(PAGE)
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


async def test_it_is_served_while_langsmith_fails_and_no_longer(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    first = await gateway.data(PAGE)
    langsmith.faults.append(DOWN)
    for age in (20, 40, 60, 74):
        clock.forward(age - (clock.monotonic() - START.monotonic()))
        assert await gateway.data(PAGE) == first
        assert (await outcome(gateway))[0] == "STALE"
    clock.forward(2)
    assert [error["extensions"]["code"] for error in await gateway.errors(PAGE)] == ["UPSTREAM_ERROR"]


START = Clock()


async def test_a_selection_that_was_never_asked_for_is_not_made_up(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data(PAGE)
    clock.forward(20)
    assert (await outcome(gateway, PAGE.replace("runCount", "errorRate")))[0] == "MISS"


async def test_statistics_have_each_their_own_age(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(PAGE)
    clock.forward(10)
    await gateway.data(PAGE.replace("runCount", "errorRate"))
    clock.forward(10)
    # The page itself is stale, whatever it shows.
    assert (await outcome(gateway, PAGE.replace("runCount", "errorRate")))[0] == "STALE"


async def test_one_session_is_served_stale_too(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    [node] = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"]
    query = f'{{ session(id: "{node["id"]}") {{ name totalTokens }} }}'
    first = await gateway.data(query)
    clock.forward(20)
    gate = langsmith.pause()
    for _ in range(3):
        assert await outcome(gateway, query) == ("STALE", 20, 0)
    assert await gateway.data(query) == first
    gate.set()
    await settled(gateway, langsmith, 3)
    assert (await outcome(gateway, query))[0] == "HIT"
    assert len(asked(langsmith)) == 3


async def test_that_there_is_nothing_is_never_believed_when_it_is_stale(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    query = '{ sessions(filter: {name: "nobody"}) { nodes { id } } }'
    await gateway.data(query)
    clock.forward(3)
    assert (await outcome(gateway, query))[0] == "MISS"


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_turned_away_sees_nothing_that_was_held(
    gateway: Gateway, langsmith: Emulator, clock: Clock, status: int
) -> None:
    other = "{ sessions(first: 1, offset: 5) { nodes { name } } }"
    await gateway.data(PAGE)
    await gateway.data(other)
    mine = await gateway.data(PAGE, key="demo-2")
    clock.forward(20)
    langsmith.faults.append(Fault(status=status, times=None))
    # Served once more, while LangSmith is asked.
    assert (await outcome(gateway))[0] == "STALE"
    await settled(gateway, langsmith, 4)
    for query in (PAGE, other):
        (error,) = await gateway.errors(query)
        assert error["extensions"]["code"] in {"UNAUTHENTICATED", "FORBIDDEN"}
    langsmith.faults.clear()
    assert await gateway.data(PAGE, key="demo-2") == mine
    assert 'gateway_cache_lookups_total{outcome="STALE"} 2.0' in (await gateway.client.get("/metrics")).text


async def test_who_wants_nothing_older_gets_nothing_older(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(PAGE)
    clock.forward(5)
    assert (await outcome(gateway, **{"cache-control": "max-age=6"}))[0] == "HIT"
    assert (await outcome(gateway, **{"cache-control": "max-age=4"}))[0] == "MISS"
    assert (await outcome(gateway, **{"cache-control": "max-age=4"}))[0] == "HIT"
    assert (await outcome(gateway, **{"cache-control": "no-cache"}))[0] == "MISS"
    clock.forward(20)
    assert (await outcome(gateway, **{"cache-control": "max-age=60"}))[0] == "MISS"


async def test_kept_answers_are_not_for_those(gateway: Gateway, langsmith: Emulator) -> None:
    for _ in range(3):
        await gateway.post(PAGE, None, **{"cache-control": "no-cache"})
    assert len(asked(langsmith)) == 3


async def test_those_who_ask_past_the_cache_share_a_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(PAGE)
    gate = langsmith.pause()
    async with gateway.in_process() as at_once:
        asking = [asyncio.create_task(at_once.post(PAGE, None, **{"cache-control": "no-cache"})) for _ in range(10)]
        await langsmith.wait_for_requests(2)
        gate.set()
        answers: list[dict[str, Any]] = [(await each).json() for each in asking]
    assert all(answer == answers[0] and "errors" not in answer for answer in answers)
    assert len(asked(langsmith)) == 2


async def test_without_a_time_to_live_nothing_is_stale(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    async with serve(cache_ttl=0, cache_stale=60) as gateway:
        await gateway.data(PAGE)
        langsmith.faults.append(DOWN)
        assert [error["extensions"]["code"] for error in await gateway.errors(PAGE)] == ["UPSTREAM_ERROR"]


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("", None),
        ("no-cache", 0),
        ("max-age=0", 0),
        ("Max-Age = 30", 30),
        ('max-age="30"', 30),
        ("no-store", None),
        ("private, max-age=7, no-transform", 7),
        ("max-age=9, no-cache", 0),
        ("max-age=-1", None),
        ("max-age=x", None),
        ("s-maxage=3, x-no-cache", None),
        ("max-age=" + "9" * 40, None),
    ],
)
def test_what_a_client_says_of_age_is_read(text: str, age: float | None) -> None:
    assert parse_max_age(text) == age

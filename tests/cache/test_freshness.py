"""Stale-while-revalidate, stale-if-error, and the age that a client accepts (`Cache-Control` of the request)."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.http.negotiation import parse_max_age
from tests.conftest import Clock, Gateway, Serve, take_recorded_params

PAGE = "{ sessions(first: 3) { nodes { id name runCount } } }"
DOWN = Fault(status=503, times=None)


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with serve(cache_stale=60, upstream_retries=0) as gateway:
        yield gateway


async def outcome(gateway: Gateway, query: str = PAGE, **headers: str) -> tuple[str, float, int]:
    """The cache outcome, the age in seconds, and the number of requests of the only root field."""
    response = await gateway.post(query, None, **{"x-gateway-explain": "1", **headers})
    body = response.json()
    assert "errors" not in body, body
    (field,) = body["extensions"]["gateway"]["fields"].values()
    return field["cache"], field["age"], len(field["requests"])


async def wait_finished(gateway: Gateway, count: int) -> None:
    """Waits until the gateway has finished this number of upstream requests."""
    finished = 0.0
    while finished < count:
        text = (await gateway.client.get("/metrics")).text
        finished = sum(float(number) for number in re.findall(r"gateway_upstream_requests_total{.*} (\S+)", text))


async def test_stale_page_is_served_and_refreshed_once_in_the_background(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    first = await gateway.data(PAGE)
    clock.advance(20)
    resume = langsmith.pause()
    for _ in range(5):
        assert await outcome(gateway) == ("STALE", 20, 0)
    assert await gateway.data(PAGE) == first
    await langsmith.wait_for_requests(2)
    resume.set()
    await wait_finished(gateway, 2)
    assert await outcome(gateway) == ("HIT", 0, 0)
    assert len(take_recorded_params(langsmith)) == 2


async def test_response_with_stale_page_is_not_cacheable(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(PAGE)
    clock.advance(20)
    langsmith.faults.append(DOWN)
    response = await gateway.post(PAGE)
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


async def test_stale_page_is_served_while_langsmith_fails_until_the_stale_time_is_over(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    first = await gateway.data(PAGE)
    langsmith.faults.append(DOWN)
    for age in (20, 40, 60, 74):
        clock.advance(age - (clock.monotonic() - START.monotonic()))
        assert await gateway.data(PAGE) == first
        assert (await outcome(gateway))[0] == "STALE"
    clock.advance(2)
    assert [error["extensions"]["code"] for error in await gateway.errors(PAGE)] == ["UPSTREAM_ERROR"]


START = Clock()


async def test_stale_page_without_a_selected_statistic_is_a_miss(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data(PAGE)
    clock.advance(20)
    assert (await outcome(gateway, PAGE.replace("runCount", "errorRate")))[0] == "MISS"


async def test_stale_page_is_served_stale_even_with_fresh_statistics(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data(PAGE)
    clock.advance(10)
    await gateway.data(PAGE.replace("runCount", "errorRate"))
    clock.advance(10)
    # The page is older than its TTL. That its statistic is fresh does not matter.
    assert (await outcome(gateway, PAGE.replace("runCount", "errorRate")))[0] == "STALE"


async def test_stale_session_is_served_and_refreshed_in_the_background(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    [node] = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"]
    query = f'{{ session(id: "{node["id"]}") {{ name totalTokens }} }}'
    first = await gateway.data(query)
    clock.advance(20)
    resume = langsmith.pause()
    for _ in range(3):
        assert await outcome(gateway, query) == ("STALE", 20, 0)
    assert await gateway.data(query) == first
    resume.set()
    await wait_finished(gateway, 3)
    assert (await outcome(gateway, query))[0] == "HIT"
    assert len(take_recorded_params(langsmith)) == 3


async def test_empty_page_is_never_served_stale(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    query = '{ sessions(filter: {name: "nobody"}) { nodes { id } } }'
    await gateway.data(query)
    clock.advance(3)
    assert (await outcome(gateway, query))[0] == "MISS"


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credential_loses_all_its_cached_pages(
    gateway: Gateway, langsmith: Emulator, clock: Clock, status: int
) -> None:
    other = "{ sessions(first: 1, offset: 5) { nodes { name } } }"
    await gateway.data(PAGE)
    await gateway.data(other)
    of_other_key = await gateway.data(PAGE, key="demo-2")
    clock.advance(20)
    langsmith.faults.append(Fault(status=status, times=None))
    # The stale page is served once more, and refreshed in the background. The refresh is refused.
    assert (await outcome(gateway))[0] == "STALE"
    await wait_finished(gateway, 4)
    for query in (PAGE, other):
        (error,) = await gateway.errors(query)
        assert error["extensions"]["code"] in {"UNAUTHENTICATED", "FORBIDDEN"}
    langsmith.faults.clear()
    assert await gateway.data(PAGE, key="demo-2") == of_other_key
    assert 'gateway_cache_lookups_total{outcome="STALE"} 2.0' in (await gateway.client.get("/metrics")).text


async def test_max_age_limits_the_age_of_an_answer(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(PAGE)
    clock.advance(5)
    assert (await outcome(gateway, **{"cache-control": "max-age=6"}))[0] == "HIT"
    assert (await outcome(gateway, **{"cache-control": "max-age=4"}))[0] == "MISS"
    assert (await outcome(gateway, **{"cache-control": "max-age=4"}))[0] == "HIT"
    assert (await outcome(gateway, **{"cache-control": "no-cache"}))[0] == "MISS"
    clock.advance(20)
    assert (await outcome(gateway, **{"cache-control": "max-age=60"}))[0] == "MISS"


async def test_no_cache_bypasses_cached_responses(gateway: Gateway, langsmith: Emulator) -> None:
    for _ in range(3):
        await gateway.post(PAGE, None, **{"cache-control": "no-cache"})
    assert len(take_recorded_params(langsmith)) == 3


async def test_concurrent_no_cache_requests_share_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(PAGE)
    resume = langsmith.pause()
    async with gateway.in_process() as direct:
        requests = [asyncio.create_task(direct.post(PAGE, None, **{"cache-control": "no-cache"})) for _ in range(10)]
        await langsmith.wait_for_requests(2)
        resume.set()
        answers: list[dict[str, Any]] = [(await each).json() for each in requests]
    assert all(answer == answers[0] and "errors" not in answer for answer in answers)
    assert len(take_recorded_params(langsmith)) == 2


async def test_nothing_is_served_stale_while_caching_is_off(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
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
def test_cache_control_is_parsed_into_a_max_age(text: str, age: float | None) -> None:
    assert parse_max_age(text) == age

"""LangSmith is asked no oftener than it allows, by all processes together, and not at all while it says so."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.errors import RateLimitedError
from app.langsmith.rate_limit import UpstreamRateLimit
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from app.resilience.rate import Rate
from app.settings import MEMORY, Settings
from tests.conftest import PATIENCE, Clock, Gateway, Serve
from tests.observability.test_log import lines
from tests.support.raw_upstream import black_hole, raw_upstream
from tests.support.real_redis import RealRedis

HOURLY = Rate(5, 3600)
"""Of which none comes back within a test."""
SHORT = Rate(3, 1)


def page(number: int = 0) -> str:
    """An operation; each number is another page."""
    return f"{{ sessions(first: 1, offset: {number}) {{ nodes {{ name }} }} }}"


async def codes(gateway: Gateway, *numbers: int, key: str = "demo") -> list[str | None]:
    """Of the error of each page, one after the other; None where it is served."""
    found = [await gateway.errors(page(number), key=key) for number in numbers]
    return [errors[0]["extensions"]["code"] if errors else None for errors in found]


async def counted(gateway: Gateway) -> dict[str, float]:
    """The metric, by outcome."""
    text = (await gateway.client.get("/metrics")).text
    samples = [line.split() for line in text.splitlines() if line.startswith("gateway_upstream_budget_total{")]
    return {name.split('"')[1]: float(value) for name, value in samples}


async def test_no_more_requests_reach_langsmith_than_may(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        assert await codes(gateway, *range(7)) == [None] * 5 + ["RATE_LIMITED"] * 2
        assert await counted(gateway) == {"admitted": 5, "refused": 2}
    assert len(langsmith.requests) == 5


async def test_nor_at_once(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        answers = await asyncio.gather(*(codes(gateway, number) for number in range(20)))
    assert sum(answer == [None] for answer in answers) == len(langsmith.requests) == 5


async def test_who_cannot_wait_for_room_is_told_so_at_once(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        await codes(gateway, *range(5))
        async with asyncio.timeout(PATIENCE):
            (error,) = await gateway.errors(page(5))
    assert error["message"] == "LangSmith's rate limit is reached. Try again later."
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 3500 < error["extensions"]["retryAfter"] <= 3600


async def test_who_can_wait_waits_and_is_answered(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=SHORT) as gateway:
        now = asyncio.get_running_loop().time
        began = now()
        answers = await asyncio.gather(*(codes(gateway, number) for number in range(8)))
        assert answers == [[None]] * 8
        # Any second holds three of them.
        assert now() - began >= 2
        outcomes = await counted(gateway)
    assert len(langsmith.requests) == 8
    assert outcomes == {"admitted": 3, "waited": 5}


async def test_of_many_those_wait_for_whom_there_will_be_room(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=Rate(3, 4), upstream_timeout=10) as gateway:
        asking = [asyncio.create_task(codes(gateway, number)) for number in range(30)]
        answers = [code for each in asyncio.as_completed(asking) for code in await each]
    assert answers.count(None) == len(langsmith.requests) == 9
    # Who was refused knew it before anybody had waited.
    assert answers[24:] == [None] * 6


async def test_who_waits_holds_no_slot(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=Rate(1, 3), upstream_concurrency=1) as gateway:
        await codes(gateway, 0)
        waiting = asyncio.create_task(codes(gateway, 1))
        assert await codes(gateway, 0, key="demo-2") == [None]
        assert not waiting.done()
        assert await waiting == [None]


async def test_each_credential_has_its_own(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        for key in ("demo", "demo-2"):
            assert await codes(gateway, *range(6), key=key) == [None] * 5 + ["RATE_LIMITED"]


async def test_pages_that_are_held_cost_nothing_of_it(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        assert await codes(gateway, *[0] * 10, *range(5), 0) == [None] * 16
        assert await codes(gateway, 5, 0) == ["RATE_LIMITED", None]


async def test_each_try_counts(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}, times=3))
    async with serve(upstream_rate=HOURLY, upstream_retries=3) as gateway:
        assert await codes(gateway, 0, 1, 2) == [None, None, "RATE_LIMITED"]
    assert len(langsmith.requests) == 5


async def test_what_is_not_sent_is_not_counted(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    langsmith.faults.append(Fault(status=503, times=10))
    async with serve(upstream_rate=Rate(15, 3600), upstream_retries=0) as gateway:
        # LangSmith is left alone after ten failures.
        assert await codes(gateway, *range(30)) == ["UPSTREAM_ERROR"] * 30
        clock.forward(60)
        assert await codes(gateway, *range(6)) == [None] * 5 + ["RATE_LIMITED"]


async def test_without_a_rate_nothing_is_counted(gateway: Gateway) -> None:
    assert await codes(gateway, *range(20)) == [None] * 20
    assert await counted(gateway) == {}


async def test_processes_with_one_redis_share_it(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    both = {"upstream_rate": HOURLY, "cache_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        answers = await asyncio.gather(*(codes(each, *range(n, n + 6)) for n, each in ((0, one), (100, other))))
        assert sum(answer.count(None) for answer in answers) == len(langsmith.requests) == 5
        assert await codes(one, 200, key="demo-2") == [None]


async def test_processes_with_one_redis_wait_together(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    both = {"upstream_rate": SHORT, "cache_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        now = asyncio.get_running_loop().time
        began = now()
        asking = (codes(each, n) for first, each in ((0, one), (100, other)) for n in range(first, first + 5))
        assert await asyncio.gather(*asking) == [[None]] * 10
        assert now() - began >= 3
    assert len(langsmith.requests) == 10


async def test_without_its_redis_each_counts_for_itself(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    both = {"upstream_rate": HOURLY, "cache_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        assert await codes(one, 0) == [None]
        redis.kill()
        for gateway, first in ((one, 10), (other, 20)):
            assert await codes(gateway, *range(first, first + 6)) == [None] * 5 + ["RATE_LIMITED"]
            assert "p@ss" not in gateway.log.getvalue()
    assert len(langsmith.requests) == 11


async def test_a_redis_that_hangs_costs_a_moment(serve: Serve) -> None:
    async with raw_upstream(black_hole) as hanging:
        url = hanging.url.replace("http://", "redis://")
        async with serve(upstream_rate=HOURLY, cache_url=url) as gateway, asyncio.timeout(15):
            assert await codes(gateway, *range(6)) == [None] * 5 + ["RATE_LIMITED"]


async def test_a_retry_after_stops_everybody_with_that_credential(
    serve: Serve, langsmith: Emulator, redis: RealRedis
) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "600"}))
    async with serve(cache_url=redis.url) as one, serve(cache_url=redis.url) as other:
        assert await codes(one, 0) == ["RATE_LIMITED"]
        for number, gateway in enumerate((one, other), start=1):
            (error,) = await gateway.errors(page(number))
            assert 590 < error["extensions"]["retryAfter"] <= 600
            assert await codes(gateway, number, key="demo-2") == [None]
        assert [line["seconds"] for line in lines(one, "upstream_rate_limit_paused")] == [600]
        assert await counted(one) == {"refused": 1}
    assert len(langsmith.requests) == 3


async def test_a_stop_ends_by_itself(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "2"}))
    async with serve(cache_url=redis.url, upstream_retries=0) as one, serve(cache_url=redis.url) as other:
        now = asyncio.get_running_loop().time
        began = now()
        assert await codes(one, 0) == ["RATE_LIMITED"]
        # There is time until then, so that both wait.
        assert [*await asyncio.gather(codes(one, 1), codes(other, 2))] == [[None], [None]]
        assert now() - began >= 1.9
    with redis.client() as client:
        assert client.keys("*:stopped") == []


async def test_who_met_the_stop_tries_again_after_it(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "1"}))
    async with serve(cache_url=redis.url, upstream_timeout=3) as gateway:
        assert await codes(gateway, 0) == [None]
        assert await counted(gateway) in ({}, {"waited": 1})
    assert len(langsmith.requests) == 2


async def test_a_limit_without_a_time_stops_nobody(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=429))
    async with serve(upstream_retries=0) as gateway:
        assert await codes(gateway, 0, 1) == ["RATE_LIMITED", None]
        assert lines(gateway, "upstream_rate_limit_paused") == []


async def test_what_is_in_redis_ends_and_holds_no_credential(
    serve: Serve, langsmith: Emulator, redis: RealRedis
) -> None:
    async with serve(upstream_rate=HOURLY, cache_url=redis.url) as gateway:
        assert await codes(gateway, 0, key="demo-2") == [None]
        langsmith.faults.append(Fault(status=429, headers={"retry-after": "600"}))
        assert await codes(gateway, 1, key="demo-2") == ["RATE_LIMITED"]
    with redis.client() as client:
        keys = [*client.keys("sessions-gateway:{*}:stopped"), *client.keys("sessions-gateway:budget:*")]
        assert len(keys) == 2
        for key in keys:
            assert b"demo" not in key + (client.dump(key) or b"")
            assert 0 < client.ttl(key) <= 3600


@contextlib.asynccontextmanager
async def budgets(rate: Rate | None, url: str = MEMORY) -> AsyncIterator[tuple[UpstreamRateLimit, UpstreamRateLimit]]:
    """Of two processes."""
    own: Any = {"metrics": Metrics(), "log": create_log("json", "error")}
    links = [
        None if url == MEMORY else RedisConnection(url, use="cache", clock=Clock().monotonic, **own) for _ in range(2)
    ]
    one, other = [UpstreamRateLimit(rate, link, **own) for link in links]
    yield one, other
    for link in filter(None, links):
        await link.aclose()


@pytest.mark.parametrize("place", ["here", "there"])
async def test_it_is_near_when_less_than_a_fifth_is_left(place: str, redis: RealRedis) -> None:
    deadline = asyncio.get_running_loop().time() + 1
    near = []
    async with budgets(Rate(10, 3600), MEMORY if place == "here" else redis.url) as (one, other):
        for _ in range(10):
            await one.acquire("a", deadline)
            near.append(one.is_near_limit("a"))
        assert near == [False] * 8 + [True] * 2
        assert not one.is_near_limit("b")
        assert not other.is_near_limit("a")


async def test_it_is_near_while_stopped() -> None:
    async with budgets(None) as (one, _):
        assert not one.is_near_limit("a")
        await one.pause("a", 600)
        assert one.is_near_limit("a")
        assert not one.is_near_limit("b")


@pytest.mark.parametrize("place", ["here", "there"])
async def test_a_shorter_stop_ends_no_longer_one(place: str, redis: RealRedis) -> None:
    async with budgets(None, redis.url) as (one, other):
        for seconds in (600, 60):
            await one.pause("a", seconds)
        with pytest.raises(RateLimitedError) as refused:
            await (one if place == "here" else other).acquire("a", asyncio.get_running_loop().time() + 100)
    assert (refused.value.retry_after or 0) > 500


async def test_scopes_that_are_not_used_are_forgotten() -> None:
    one = UpstreamRateLimit(Rate(5, 1), None, metrics=Metrics(), log=create_log("json", "error"))
    deadline = asyncio.get_running_loop().time() + 60
    for number in range(10_000):
        await one.acquire(str(number), deadline)
    tracemalloc.start()
    try:
        for number in range(10_000, 30_000):
            await one.acquire(str(number), deadline)
        assert tracemalloc.get_traced_memory()[0] < 16 << 20
    finally:
        tracemalloc.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_the_rate_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().upstream_rate is None
    monkeypatch.setenv("GATEWAY_UPSTREAM_RATE", "900/10s")
    assert Settings.load().upstream_rate == Rate(900, 10)


async def test_near_the_limit_what_is_stale_is_served_and_not_asked_for(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_rate=Rate(10, 3600), cache_stale=60) as gateway:
        assert await codes(gateway, *range(9)) == [None] * 9
        clock.forward(20)
        for _ in range(3):
            explained = await gateway.explain(page(0))
            assert explained["fields"]["sessions"]["cache"] == "STALE"
        assert len(langsmith.requests) == 9
        # What is left is for who has nothing.
        assert await codes(gateway, 9) == [None]

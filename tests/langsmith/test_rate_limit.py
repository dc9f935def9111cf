"""All processes together send no more requests than the rate, and none while LangSmith asks to wait."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.errors import GatewayError, RateLimitedError, UpstreamError
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.rate_limit import RateLimitTransport, UpstreamRateLimit
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from app.resilience.rate import Rate
from app.settings import MEMORY, Settings
from tests.conftest import TIMEOUT_SECONDS, Clock, Gateway, Serve
from tests.langsmith.scripted_transport import RESPONSE, ScriptedTransport, upstream_request
from tests.observability.test_log import lines
from tests.support.raw_upstream import black_hole, raw_upstream
from tests.support.real_redis import RealRedis

HOURLY = Rate(5, 3600)
"""A rate whose window does not move on within a test."""
SHORT = Rate(3, 1)


def page(number: int = 0) -> str:
    """An operation for one page. Each number is another page."""
    return f"{{ sessions(first: 1, offset: {number}) {{ nodes {{ name }} }} }}"


async def codes(gateway: Gateway, *numbers: int, key: str = "demo") -> list[str | None]:
    """The error code of each page, requested one after the other; None for a page without error."""
    found = [await gateway.errors(page(number), key=key) for number in numbers]
    return [errors[0]["extensions"]["code"] if errors else None for errors in found]


async def count_outcomes(gateway: Gateway) -> dict[str, float]:
    """The rate limit's metric, by outcome."""
    text = (await gateway.client.get("/metrics")).text
    samples = [line.split() for line in text.splitlines() if line.startswith("gateway_upstream_budget_total{")]
    return {name.split('"')[1]: float(value) for name, value in samples}


async def test_requests_beyond_the_rate_are_refused_one_by_one(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        assert await codes(gateway, *range(7)) == [None] * 5 + ["RATE_LIMITED"] * 2
        assert await count_outcomes(gateway) == {"admitted": 5, "refused": 2}
    assert len(langsmith.requests) == 5


async def test_requests_beyond_the_rate_are_refused_when_sent_together(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        answers = await asyncio.gather(*(codes(gateway, number) for number in range(20)))
    assert sum(answer == [None] for answer in answers) == len(langsmith.requests) == 5


async def test_request_without_room_before_its_deadline_is_refused_at_once(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        await codes(gateway, *range(5))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            (error,) = await gateway.errors(page(5))
    assert error["message"] == "LangSmith's rate limit is reached. Try again later."
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 3500 < error["extensions"]["retryAfter"] <= 3600


async def test_request_with_room_before_its_deadline_waits_for_it(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=SHORT) as gateway:
        now = asyncio.get_running_loop().time
        began = now()
        answers = await asyncio.gather(*(codes(gateway, number) for number in range(8)))
        assert answers == [[None]] * 8
        # Each second has room for three requests.
        assert now() - began >= 2
        outcomes = await count_outcomes(gateway)
    assert len(langsmith.requests) == 8
    assert outcomes == {"admitted": 3, "waited": 5}


async def test_only_requests_that_will_have_room_wait(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=Rate(3, 4), upstream_timeout=10) as gateway:
        operations = [asyncio.create_task(codes(gateway, number)) for number in range(30)]
        answers = [code for each in asyncio.as_completed(operations) for code in await each]
    assert answers.count(None) == len(langsmith.requests) == 9
    # The refusals come before the first request that waited.
    assert answers[24:] == [None] * 6


async def test_waiting_request_holds_no_place_of_the_concurrency_limit(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_rate=Rate(1, 3), upstream_concurrency=1) as gateway:
        await codes(gateway, 0)
        waiting = asyncio.create_task(codes(gateway, 1))
        assert await codes(gateway, 0, key="demo-2") == [None]
        assert not waiting.done()
        assert await waiting == [None]


async def test_each_credential_has_its_own_upstream_rate(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        for key in ("demo", "demo-2"):
            assert await codes(gateway, *range(6), key=key) == [None] * 5 + ["RATE_LIMITED"]


async def test_cached_page_does_not_count_as_a_request(serve: Serve) -> None:
    async with serve(upstream_rate=HOURLY) as gateway:
        assert await codes(gateway, *[0] * 10, *range(5), 0) == [None] * 16
        assert await codes(gateway, 5, 0) == ["RATE_LIMITED", None]


async def test_each_try_counts_as_a_request(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}, times=3))
    async with serve(upstream_rate=HOURLY, upstream_retries=3) as gateway:
        assert await codes(gateway, 0, 1, 2) == [None, None, "RATE_LIMITED"]
    assert len(langsmith.requests) == 5


async def test_request_that_an_open_circuit_refuses_is_not_counted(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    langsmith.faults.append(Fault(status=503, times=10))
    async with serve(upstream_rate=Rate(15, 3600), upstream_retries=0) as gateway:
        # The circuit opens after ten failures.
        assert await codes(gateway, *range(30)) == ["UPSTREAM_ERROR"] * 30
        clock.advance(60)
        assert await codes(gateway, *range(6)) == [None] * 5 + ["RATE_LIMITED"]


async def test_no_request_is_counted_without_a_rate(gateway: Gateway) -> None:
    assert await codes(gateway, *range(20)) == [None] * 20
    assert await count_outcomes(gateway) == {}


async def test_processes_with_one_redis_share_the_rate(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    both = {"upstream_rate": HOURLY, "cache_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        answers = await asyncio.gather(*(codes(each, *range(n, n + 6)) for n, each in ((0, one), (100, other))))
        assert sum(answer.count(None) for answer in answers) == len(langsmith.requests) == 5
        assert await codes(one, 200, key="demo-2") == [None]


async def test_each_process_counts_for_itself_without_its_redis(
    serve: Serve, langsmith: Emulator, redis: RealRedis
) -> None:
    both = {"upstream_rate": HOURLY, "cache_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        assert await codes(one, 0) == [None]
        redis.kill()
        for gateway, first in ((one, 10), (other, 20)):
            assert await codes(gateway, *range(first, first + 6)) == [None] * 5 + ["RATE_LIMITED"]
            assert "p@ss" not in gateway.log.getvalue()
    assert len(langsmith.requests) == 11


async def test_hanging_redis_delays_requests_only_briefly(serve: Serve) -> None:
    async with raw_upstream(black_hole) as hanging:
        url = hanging.url.replace("http://", "redis://")
        async with serve(upstream_rate=HOURLY, cache_url=url) as gateway, asyncio.timeout(15):
            assert await codes(gateway, *range(6)) == [None] * 5 + ["RATE_LIMITED"]


async def test_retry_after_pauses_the_credential_in_all_processes(
    serve: Serve, langsmith: Emulator, redis: RealRedis
) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "60"}))
    async with serve(cache_url=redis.url) as one, serve(cache_url=redis.url) as other:
        assert await codes(one, 0) == ["RATE_LIMITED"]
        for number, gateway in enumerate((one, other), start=1):
            (error,) = await gateway.errors(page(number))
            assert 50 < error["extensions"]["retryAfter"] <= 60
            assert await codes(gateway, number, key="demo-2") == [None]
        assert [line["seconds"] for line in lines(one, "upstream_rate_limit_paused")] == [60]
        assert await count_outcomes(one) == {"refused": 1}
    assert len(langsmith.requests) == 3


async def test_pause_ends_by_itself(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "2"}))
    async with serve(cache_url=redis.url, upstream_retries=0) as one, serve(cache_url=redis.url) as other:
        now = asyncio.get_running_loop().time
        began = now()
        assert await codes(one, 0) == ["RATE_LIMITED"]
        # The pause ends before the deadline, so both requests wait.
        assert [*await asyncio.gather(codes(one, 1), codes(other, 2))] == [[None], [None]]
        assert now() - began >= 1.9
    with redis.client() as client:
        assert client.keys("*:stopped") == []


async def test_request_that_caused_the_pause_is_tried_again_after_it(
    serve: Serve, langsmith: Emulator, redis: RealRedis
) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "1"}))
    async with serve(cache_url=redis.url, upstream_timeout=3) as gateway:
        assert await codes(gateway, 0) == [None]
        assert await count_outcomes(gateway) in ({}, {"waited": 1})
    assert len(langsmith.requests) == 2


async def test_rate_limit_response_without_retry_after_pauses_nothing(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=429))
    async with serve(upstream_retries=0) as gateway:
        assert await codes(gateway, 0, 1) == ["RATE_LIMITED", None]
        assert lines(gateway, "upstream_rate_limit_paused") == []


async def test_redis_keys_expire_and_hold_no_credential(serve: Serve, langsmith: Emulator, redis: RealRedis) -> None:
    async with serve(upstream_rate=HOURLY, cache_url=redis.url) as gateway:
        assert await codes(gateway, 0, key="demo-2") == [None]
        langsmith.faults.append(Fault(status=429, headers={"retry-after": "60"}))
        assert await codes(gateway, 1, key="demo-2") == ["RATE_LIMITED"]
    with redis.client() as client:
        keys = [*client.keys("sessions-gateway:{*}:stopped"), *client.keys("sessions-gateway:budget:*")]
        assert len(keys) == 2
        for key in keys:
            assert b"demo" not in key + (client.dump(key) or b"")
            assert 0 < client.ttl(key) <= 3600


@contextlib.asynccontextmanager
async def limits_of_two_processes(
    rate: Rate | None, url: str = MEMORY
) -> AsyncIterator[tuple[UpstreamRateLimit, UpstreamRateLimit]]:
    """The limits of two processes, which share the Redis if the URL names one."""
    own: Any = {"metrics": Metrics(), "log": create_log("json", "error")}
    connections = [
        None
        if url == MEMORY
        else RedisConnection(url, use="cache", clock=Clock().monotonic, timeout_seconds=TIMEOUT_SECONDS, **own)
        for _ in range(2)
    ]
    one, other = [UpstreamRateLimit(rate, connection, **own) for connection in connections]
    yield one, other
    for connection in filter(None, connections):
        await connection.aclose()


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_limit_is_near_when_less_than_a_fifth_of_the_quota_is_left(place: str, redis: RealRedis) -> None:
    deadline = asyncio.get_running_loop().time() + 1
    near = []
    async with limits_of_two_processes(Rate(10, 3600), MEMORY if place == "memory" else redis.url) as (one, other):
        for _ in range(10):
            await one.acquire("a", deadline)
            near.append(one.is_near_limit("a"))
        assert near == [False] * 8 + [True] * 2
        assert not one.is_near_limit("b")
        assert not other.is_near_limit("a")


async def test_limit_is_near_while_paused() -> None:
    async with limits_of_two_processes(None) as (one, _):
        assert not one.is_near_limit("a")
        await one.pause("a", 50)
        assert one.is_near_limit("a")
        assert not one.is_near_limit("b")


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_shorter_pause_does_not_end_a_longer_one(place: str, redis: RealRedis) -> None:
    async with limits_of_two_processes(None, redis.url) as (one, other):
        for seconds in (50, 5):
            await one.pause("a", seconds)
        with pytest.raises(RateLimitedError) as refused:
            await (one if place == "memory" else other).acquire("a", asyncio.get_running_loop().time() + 10)
    assert (refused.value.retry_after or 0) > 40


async def test_unused_scopes_are_dropped_from_memory() -> None:
    one = create_limit(Rate(5, 1))
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


def test_upstream_rate_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().upstream_rate is None
    monkeypatch.setenv("GATEWAY_UPSTREAM_RATE", "900/10s")
    assert Settings.load().upstream_rate == Rate(900, 10)


async def test_stale_page_is_served_without_a_refresh_near_the_limit(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_rate=Rate(10, 3600), cache_stale=60) as gateway:
        assert await codes(gateway, *range(9)) == [None] * 9
        clock.advance(20)
        for _ in range(3):
            explained = await gateway.explain(page(0))
            assert explained["fields"]["sessions"]["cache"] == "STALE"
        assert len(langsmith.requests) == 9
        # The rest of the quota is for pages that are not cached.
        assert await codes(gateway, 9) == [None]


async def test_processes_with_one_redis_wait_together(redis: RealRedis) -> None:
    now = asyncio.get_running_loop().time
    async with limits_of_two_processes(SHORT, redis.url) as limits:
        began = now()
        await asyncio.gather(*(limit.acquire("a", began + TIMEOUT_SECONDS) for limit in limits for _ in range(5)))
        # Each second has room for three of the ten requests.
        assert now() - began >= 3


def create_limit(rate: Rate | None) -> UpstreamRateLimit:
    return UpstreamRateLimit(rate, None, metrics=Metrics(), log=create_log("json", "error"))


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_tenants_that_share_a_scope_take_turns(place: str, redis: RealRedis) -> None:
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    admitted: list[str] = []

    async def acquire(tenant: str) -> None:
        await limit.acquire("shared", deadline, tenant=tenant)
        admitted.append(tenant)

    async with limits_of_two_processes(Rate(2, 1), MEMORY if place == "memory" else redis.url) as (limit, _):
        await asyncio.gather(*(acquire("burst") for _ in range(8)), acquire("other"))
    # Two requests have room in each second. In the one after the first, each tenant has one turn; on a busy machine, a
    # request of the burst can come before the other tenant has asked. Without turns, that tenant would be the last.
    assert admitted.index("other") < 6
    assert len(admitted) == 9


async def test_rate_limit_layer_sends_no_request_that_it_refuses() -> None:
    following = ScriptedTransport()
    layer = RateLimitTransport(following, create_limit(Rate(2, 3600)))
    for scope in ("a", "a", "b"):
        assert await layer.send(upstream_request(scope)) == RESPONSE
    with pytest.raises(RateLimitedError):
        await layer.send(upstream_request("a"))
    assert following.scopes == ["a", "a", "b"]


@pytest.mark.parametrize("error", [RateLimitedError("later"), UpstreamError("503")])
async def test_rate_limit_layer_pauses_a_scope_only_for_a_rate_limit_response(error: GatewayError) -> None:
    limit = create_limit(None)
    following = ScriptedTransport(
        FailedAttemptError(error, reason="server", is_transient=True, retry_after=60), RESPONSE
    )
    layer = RateLimitTransport(following, limit)
    with pytest.raises(FailedAttemptError):
        await layer.send(upstream_request("a"))
    assert limit.is_near_limit("a") == isinstance(error, RateLimitedError)
    assert await layer.send(upstream_request("b")) == RESPONSE

"""One process fetches and the others wait; a process that dies delays them by no more than its lease."""

import asyncio
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from app import errors
from app.cache.shared import error_codec
from app.cache.shared.background_writes import BackgroundWrites
from app.cache.shared.lease_values import FetchClaim, Lease
from app.cache.shared.leases import LEASE_SECONDS, Leases
from app.cache.shared.scripts import ACQUIRE_SCRIPT
from app.emulator import Emulator, serving, serving_in_thread
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection, RedisUnavailableError
from tests.bench import virtual_time
from tests.support.real_redis import RealRedis
from tests.test_command_line import SERVE, Server, running

CLAIM = FetchClaim(limit=10, statistics=0b11, required=0b11, began=100)
QUERY = "{ sessions(first: 3) { nodes { id tenantId runCount } } }"


@pytest.fixture
async def leases(redis: RealRedis) -> AsyncIterator[Leases]:
    connection = RedisConnection(
        redis.url, use="cache", metrics=Metrics(), log=create_log("json", "error"), clock=monotonic
    )
    yield Leases(connection, "test:", background := BackgroundWrites())
    await background.aclose()
    await connection.aclose()


async def test_second_process_waits_for_the_lease_of_the_first(leases: Leases) -> None:
    first = await leases.acquire("scope", ["a", "b"], CLAIM)
    second = await leases.acquire("scope", ["b", "c"], CLAIM)
    assert (set(first.acquired), set(first.held_by_others)) == ({"a", "b"}, set())
    assert (set(second.acquired), set(second.held_by_others)) == ({"c"}, {"b"})
    assert second.token > first.token
    waiting = asyncio.create_task(leases.wait_released(second.held_by_others.values(), CLAIM))
    await leases.release(first)
    await waiting
    third = await leases.acquire("scope", ["b"], CLAIM)
    assert third.just_released == {"b"}


class CountedScripts:
    """Redis as far as renewals need it. `is_unavailable`: every script fails at once, as with an open circuit."""

    def __init__(self, *, is_unavailable: bool) -> None:
        self.count = 0
        self._is_unavailable = is_unavailable

    async def script(self, _text: str, _keys: list[str], _args: list[bytes | str | int]) -> object:
        self.count += 1
        if self._is_unavailable:
            raise RedisUnavailableError
        return None


@pytest.mark.parametrize("is_unavailable", [False, True])
def test_a_lease_is_renewed_three_times_a_second_also_while_redis_is_unavailable(*, is_unavailable: bool) -> None:
    scripts = CountedScripts(is_unavailable=is_unavailable)

    async def fetch_slowly() -> None:
        leases = Leases(scripts, "test:", BackgroundWrites())
        async with leases.renewing(Lease("a", 1, {"page": "key"})):
            await asyncio.sleep(10.1 * LEASE_SECONDS)

    virtual_time.run(fetch_slowly())
    assert scripts.count == 30


async def test_larger_claim_gets_a_lease_of_its_own(leases: Leases) -> None:
    await leases.acquire("scope", ["a"], CLAIM)
    more = FetchClaim(limit=11, statistics=0b11, required=0b11, began=0)
    assert set((await leases.acquire("scope", ["a"], more)).acquired) == {"a"}
    # A third process waits for the holder of the larger claim.
    assert set((await leases.acquire("scope", ["a"], more)).held_by_others) == {"a"}
    assert set((await leases.acquire("scope", ["a"], FetchClaim(1, 0b1, 0b1, 0))).held_by_others) == {"a"}
    assert set((await leases.acquire("scope", ["a"], FetchClaim(1, 0b100, 0b100, 0))).acquired) == {"a"}


async def test_all_leases_of_one_attempt_are_renewed_and_released(leases: Leases, redis: RealRedis) -> None:
    await leases.acquire("scope", ["b"], FetchClaim(1, 0b1, 0b1, 100))
    # `a` is free. Of `b`, less is being fetched, so that a second command acquires its lease.
    lease = await leases.acquire("scope", ["a", "b"], CLAIM)
    assert set(lease.acquired) == {"a", "b"}
    keys = [*lease.acquired.values()]
    with redis.client() as client:
        for key in keys:
            client.pexpire(key, 500)
        async with leases.renewing(lease):
            while any(client.pttl(key) <= 500 for key in keys):  # noqa: ASYNC110 - Redis notifies nobody
                await asyncio.sleep(0.05)
        await leases.release(lease)
        assert [client.get(key)[:1] for key in keys] == [b"d", b"d"]


class LosesAnswers:
    """A Redis that runs scripts, and whose connection breaks before the answer."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self.error: BaseException | None = None

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object:
        answer = await self._redis.script(text, keys, args)
        if self.error and text == ACQUIRE_SCRIPT:
            raise self.error
        return answer


@pytest.mark.parametrize("error", [RedisUnavailableError(), asyncio.CancelledError()], ids=["lost", "cancelled"])
async def test_attempt_whose_answer_is_lost_leaves_no_lease(redis: RealRedis, error: BaseException) -> None:
    connection = RedisConnection(
        redis.url, use="cache", metrics=Metrics(), log=create_log("json", "error"), clock=monotonic
    )
    runner, background = LosesAnswers(connection), BackgroundWrites()
    leases = Leases(runner, "test:", background)
    runner.error = error
    with pytest.raises(type(error)):
        await leases.acquire("scope", ["a", "b"], CLAIM)
    runner.error = None
    await background.aclose()
    assert set((await leases.acquire("scope", ["a", "b"], CLAIM)).acquired) == {"a", "b"}
    await connection.aclose()


async def test_lease_that_is_neither_renewed_nor_released_expires_within_a_second(
    leases: Leases, redis: RealRedis
) -> None:
    lease = await leases.acquire("scope", ["a", "b"], CLAIM)
    with redis.client() as client:
        assert all(client.pttl(key) <= 1000 for key in lease.acquired.values())


async def test_failure_is_raised_only_in_processes_that_require_what_the_holder_requires(leases: Leases) -> None:
    first = await leases.acquire("scope", ["a"], FetchClaim(10, statistics=0b11, required=0b10, began=100))
    other_claim = FetchClaim(10, statistics=0b01, required=0b01, began=100)
    second = await leases.acquire("scope", ["a"], other_claim)
    assert set(second.held_by_others) == {"a"}
    await leases.release(first, errors.UpstreamError("Down."))
    await leases.wait_released(second.held_by_others.values(), other_claim)
    with pytest.raises(errors.UpstreamError):
        await leases.wait_released(second.held_by_others.values(), CLAIM)


async def test_holder_that_began_too_early_is_not_waited_for(leases: Leases) -> None:
    await leases.acquire("scope", ["a"], CLAIM)
    assert set((await leases.acquire("scope", ["a"], CLAIM, began_after=99)).held_by_others) == {"a"}
    assert set((await leases.acquire("scope", ["a"], CLAIM, began_after=100)).acquired) == {"a"}
    assert (await leases.acquire("scope", ["a"], CLAIM, began_after=100)).contended == {"a"}


async def test_leases_of_different_scopes_are_independent(leases: Leases) -> None:
    await leases.acquire("scope", ["a"], CLAIM)
    assert not (await leases.acquire("other", ["a"], CLAIM)).held_by_others


@pytest.mark.parametrize(
    "failure",
    [
        errors.BadUserInputError("No.", argument="filter.name"),
        errors.RateLimitedError("Slowly.", retry_after=2.5),
        errors.ForbiddenError("No."),
        errors.UpstreamTimeoutError("Late."),
    ],
    ids=lambda failure: failure.code,
)
async def test_waiting_process_raises_the_error_of_the_holder(leases: Leases, failure: errors.GatewayError) -> None:
    first = await leases.acquire("scope", ["a"], CLAIM)
    second = await leases.acquire("scope", ["a"], CLAIM)
    await leases.release(first, failure)
    with pytest.raises(type(failure)) as raised:
        await leases.wait_released(second.held_by_others.values(), CLAIM)
    assert (str(raised.value), raised.value.extensions) == (str(failure), failure.extensions)
    # A process that did not wait acquires the lease, and fetches.
    assert set((await leases.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}


async def test_lease_released_without_outcome_ends_the_wait(leases: Leases) -> None:
    first = await leases.acquire("scope", ["a"], CLAIM)
    second = await leases.acquire("scope", ["a"], CLAIM)
    await leases.release(first, errors.ForbiddenError("No."), shares_outcome=False)
    await leases.wait_released(second.held_by_others.values(), CLAIM)
    assert not (await leases.acquire("scope", ["a"], CLAIM)).just_released


async def test_lease_is_renewed_while_held_and_expires_otherwise(leases: Leases, redis: RealRedis) -> None:
    lease = await leases.acquire("scope", ["a"], CLAIM)
    (key,) = lease.acquired.values()
    with redis.client() as client:
        client.pexpire(key, 500)
        async with leases.renewing(lease):
            while client.pttl(key) <= 500:  # noqa: ASYNC110 - Redis notifies nobody
                await asyncio.sleep(0.05)
        client.pexpire(key, 1)
        second = await leases.acquire("scope", ["a"], CLAIM)
        while second.held_by_others:
            second = await leases.acquire("scope", ["a"], CLAIM)
    # The first process no longer holds the lease, and cannot release that of the second.
    await leases.release(lease)
    assert (await leases.acquire("scope", ["a"], CLAIM)).held_by_others


async def test_poisoned_lease_is_acquired(leases: Leases, redis: RealRedis) -> None:
    (key,) = (await leases.acquire("scope", ["a"], CLAIM)).acquired.values()
    with redis.client() as client:
        for rubbish in (b"", b"\xff", b"hx 1", b"h1", b"d", b"h" + b"1" * 5000, b"h1 1 10 3 3 100"):
            client.set(key, rubbish)
            assert set((await leases.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}
        client.delete(key)
        client.lpush(key, "x")
        assert set((await leases.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}
    assert str(error_codec.decode(b"\xff")) == "LangSmith could not be reached. Try again shortly."


async def test_waiting_process_fetches_after_the_lease_of_a_killed_one_expired(
    redis: RealRedis, tmp_path: Path
) -> None:
    langsmith = Emulator()
    async with serving(langsmith) as url:
        environment = {"LANGSMITH_ENDPOINT": url, "GATEWAY_CACHE_URL": redis.url}
        with running(*SERVE, cwd=tmp_path, **environment) as one, running(*SERVE, cwd=tmp_path, **environment) as other:
            resume = langsmith.pause()
            killed = asyncio.create_task(asyncio.to_thread(_run_query, one))
            await langsmith.wait_for_requests(1)
            waiting = asyncio.create_task(asyncio.to_thread(_run_query, other))
            with redis.client() as client:
                while _leases_acquired(client) < 2:  # noqa: ASYNC110 - Redis notifies nobody
                    await asyncio.sleep(0.01)
            assert len(langsmith.requests) == 1
            one.process.send_signal(signal.SIGKILL)
            killed_at = monotonic()
            await langsmith.wait_for_requests(2)
            assert monotonic() - killed_at < LEASE_SECONDS + 5
            resume.set()
            body = await waiting
            assert len(body["data"]["sessions"]["nodes"]) == 3
            assert await killed is None


def test_workers_of_one_server_fetch_a_page_once(redis: RealRedis, tmp_path: Path) -> None:
    langsmith = Emulator()
    with serving_in_thread(langsmith) as url, ThreadPoolExecutor(16) as clients:
        environment = {"LANGSMITH_ENDPOINT": url, "GATEWAY_CACHE_URL": redis.url}
        with running(*SERVE, "--workers", "2", cwd=tmp_path, **environment) as server:
            answers = list(clients.map(lambda _: _run_query(server), range(64)))
    assert all(answer == answers[0] and "errors" not in answer for answer in answers)
    assert len(langsmith.requests) == 1


def _leases_acquired(client: Any) -> int:
    return max((int(value or 0) for value in map(client.get, client.keys("*:lease:fence"))), default=0)


def _run_query(server: Server) -> Any:
    """The body of the response; None if the server hung up."""
    try:
        return server.post(QUERY, **{"x-api-key": "demo"}).json()
    except httpx.TransportError:
        return None

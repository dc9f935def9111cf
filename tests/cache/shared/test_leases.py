"""One process asks, the others wait; who dies meanwhile holds nobody up for longer than its lease."""

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
from app.cache.shared.leases import LEASE_SECONDS, FetchClaim, Leases
from app.emulator import Emulator, serving, serving_in_thread
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from tests.support.real_redis import RealRedis
from tests.test_command_line import SERVE, Server, running

CLAIM = FetchClaim(limit=10, statistics=0b11, began=0)
QUERY = "{ sessions(first: 3) { nodes { id tenantId runCount } } }"


@pytest.fixture
async def turns(redis: RealRedis) -> AsyncIterator[Leases]:
    link = RedisConnection(redis.url, use="cache", metrics=Metrics(), log=create_log("json", "error"), clock=monotonic)
    yield Leases(link, "test:")
    await link.aclose()


async def test_the_second_waits_for_the_first(turns: Leases) -> None:
    first = await turns.acquire("scope", ["a", "b"], CLAIM)
    second = await turns.acquire("scope", ["b", "c"], CLAIM)
    assert (set(first.acquired), set(first.held_by_others)) == ({"a", "b"}, set())
    assert (set(second.acquired), set(second.held_by_others)) == ({"c"}, {"b"})
    assert second.token > first.token
    waiting = asyncio.create_task(turns.wait_released(second.held_by_others.values()))
    await turns.release(first)
    await waiting
    third = await turns.acquire("scope", ["b"], CLAIM)
    assert third.just_released == {"b"}


async def test_a_claim_that_is_not_covered_is_nobodys_yet(turns: Leases) -> None:
    await turns.acquire("scope", ["a"], CLAIM)
    more = FetchClaim(limit=11, statistics=0b11, began=0)
    assert set((await turns.acquire("scope", ["a"], more)).acquired) == {"a"}
    # Who wants that much too finds somebody who asks for it.
    assert set((await turns.acquire("scope", ["a"], more)).held_by_others) == {"a"}
    assert set((await turns.acquire("scope", ["a"], FetchClaim(1, 0b1, 0))).held_by_others) == {"a"}
    assert set((await turns.acquire("scope", ["a"], FetchClaim(1, 0b100, 0))).acquired) == {"a"}


async def test_scopes_have_nothing_in_common(turns: Leases) -> None:
    await turns.acquire("scope", ["a"], CLAIM)
    assert not (await turns.acquire("other", ["a"], CLAIM)).held_by_others


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
async def test_who_waits_shares_a_failure(turns: Leases, failure: errors.GatewayError) -> None:
    first = await turns.acquire("scope", ["a"], CLAIM)
    second = await turns.acquire("scope", ["a"], CLAIM)
    await turns.release(first, failure)
    with pytest.raises(type(failure)) as raised:
        await turns.wait_released(second.held_by_others.values())
    assert (str(raised.value), raised.value.extensions) == (str(failure), failure.extensions)
    # Who comes now is not told, and may ask.
    assert set((await turns.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}


async def test_a_turn_that_was_given_up_tells_nothing(turns: Leases) -> None:
    first = await turns.acquire("scope", ["a"], CLAIM)
    second = await turns.acquire("scope", ["a"], CLAIM)
    await turns.release(first, errors.ForbiddenError("No."), shares_outcome=False)
    await turns.wait_released(second.held_by_others.values())
    assert not (await turns.acquire("scope", ["a"], CLAIM)).just_released


async def test_a_turn_lasts_while_it_is_held_and_ends_with_its_lease(turns: Leases, redis: RealRedis) -> None:
    turn = await turns.acquire("scope", ["a"], CLAIM)
    (key,) = turn.acquired.values()
    with redis.client() as client:
        client.pexpire(key, 1500)
        async with turns.renewing(turn):
            while client.pttl(key) <= 1500:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.05)
        client.pexpire(key, 1)
        second = await turns.acquire("scope", ["a"], CLAIM)
        while second.held_by_others:
            second = await turns.acquire("scope", ["a"], CLAIM)
    # It is too late for the first one to end it.
    await turns.release(turn)
    assert (await turns.acquire("scope", ["a"], CLAIM)).held_by_others


async def test_what_is_no_turn_is_no_hindrance(turns: Leases, redis: RealRedis) -> None:
    (key,) = (await turns.acquire("scope", ["a"], CLAIM)).acquired.values()
    with redis.client() as client:
        for rubbish in (b"", b"\xff", b"hx 1", b"h1", b"d"):
            client.set(key, rubbish)
            assert set((await turns.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}
        client.delete(key)
        client.lpush(key, "x")
        assert set((await turns.acquire("scope", ["a"], CLAIM)).acquired) == {"a"}
    assert str(error_codec.decode(b"\xff")) == "LangSmith could not be asked. Try again shortly."


async def test_a_process_that_is_killed_while_it_asks_costs_the_other_its_lease_at_most(
    redis: RealRedis, tmp_path: Path
) -> None:
    langsmith = Emulator()
    async with serving(langsmith) as url:
        own = {"LANGSMITH_ENDPOINT": url, "GATEWAY_CACHE_URL": redis.url}
        with running(*SERVE, cwd=tmp_path, **own) as one, running(*SERVE, cwd=tmp_path, **own) as other:
            gate = langsmith.pause()
            lost = asyncio.create_task(asyncio.to_thread(_asked, one))
            await langsmith.wait_for_requests(1)
            found = asyncio.create_task(asyncio.to_thread(_asked, other))
            with redis.client() as client:
                while _turns_taken(client) < 2:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.01)
            assert len(langsmith.requests) == 1
            one.process.send_signal(signal.SIGKILL)
            killed_at = monotonic()
            await langsmith.wait_for_requests(2)
            assert monotonic() - killed_at < LEASE_SECONDS + 5
            gate.set()
            body = await found
            assert len(body["data"]["sessions"]["nodes"]) == 3
            assert await lost is None


def test_workers_ask_once_for_all(redis: RealRedis, tmp_path: Path) -> None:
    langsmith = Emulator()
    with serving_in_thread(langsmith) as url, ThreadPoolExecutor(16) as clients:
        own = {"LANGSMITH_ENDPOINT": url, "GATEWAY_CACHE_URL": redis.url}
        with running(*SERVE, "--workers", "2", cwd=tmp_path, **own) as server:
            answers = list(clients.map(lambda _: _asked(server), range(64)))
    assert all(answer == answers[0] and "errors" not in answer for answer in answers)
    assert len(langsmith.requests) == 1


def _turns_taken(client: Any) -> int:
    return max((int(value or 0) for value in map(client.get, client.keys("*:lease:fence"))), default=0)


def _asked(server: Server) -> Any:
    """The body of the answer; None where there came none."""
    try:
        return server.post(QUERY, **{"x-api-key": "demo"}).json()
    except httpx.TransportError:
        return None

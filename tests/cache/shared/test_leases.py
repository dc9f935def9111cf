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
from app.cache.shared.leases import LEASE, Claim, Turns
from app.emulator import Emulator, serving, serving_in_thread
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import Link
from tests.support.real_redis import RealRedis
from tests.test_command_line import SERVE, Server, running

CLAIM = Claim(limit=10, statistics=0b11, began=0)
QUERY = "{ sessions(first: 3) { nodes { id tenantId runCount } } }"


@pytest.fixture
async def turns(redis: RealRedis) -> AsyncIterator[Turns]:
    link = Link(redis.url, use="cache", metrics=Metrics(), log=create_log("json", "error"), clock=monotonic)
    yield Turns(link, "test:")
    await link.aclose()


async def test_the_second_waits_for_the_first(turns: Turns) -> None:
    first = await turns.take("scope", ["a", "b"], CLAIM)
    second = await turns.take("scope", ["b", "c"], CLAIM)
    assert (set(first.mine), set(first.others)) == ({"a", "b"}, set())
    assert (set(second.mine), set(second.others)) == ({"c"}, {"b"})
    assert second.token > first.token
    waiting = asyncio.create_task(turns.ends(second.others))
    await turns.end(first)
    await waiting
    third = await turns.take("scope", ["b"], CLAIM)
    assert third.ended == {"b"}


async def test_a_claim_that_is_not_covered_is_nobodys_yet(turns: Turns) -> None:
    await turns.take("scope", ["a"], CLAIM)
    more = Claim(limit=11, statistics=0b11, began=0)
    assert set((await turns.take("scope", ["a"], more)).mine) == {"a"}
    # Who wants that much too finds somebody who asks for it.
    assert set((await turns.take("scope", ["a"], more)).others) == {"a"}
    assert set((await turns.take("scope", ["a"], Claim(1, 0b1, 0))).others) == {"a"}
    assert set((await turns.take("scope", ["a"], Claim(1, 0b100, 0))).mine) == {"a"}


async def test_scopes_have_nothing_in_common(turns: Turns) -> None:
    await turns.take("scope", ["a"], CLAIM)
    assert not (await turns.take("other", ["a"], CLAIM)).others


@pytest.mark.parametrize(
    "failure",
    [
        errors.BadUserInput("No.", argument="filter.name"),
        errors.RateLimited("Slowly.", retry_after=2.5),
        errors.Forbidden("No."),
        errors.UpstreamTimeout("Late."),
    ],
    ids=lambda failure: failure.code,
)
async def test_who_waits_shares_a_failure(turns: Turns, failure: errors.GatewayError) -> None:
    first = await turns.take("scope", ["a"], CLAIM)
    second = await turns.take("scope", ["a"], CLAIM)
    await turns.end(first, failure)
    with pytest.raises(type(failure)) as raised:
        await turns.ends(second.others)
    assert (str(raised.value), raised.value.extensions) == (str(failure), failure.extensions)
    # Who comes now is not told, and may ask.
    assert set((await turns.take("scope", ["a"], CLAIM)).mine) == {"a"}


async def test_a_turn_that_was_given_up_tells_nothing(turns: Turns) -> None:
    first = await turns.take("scope", ["a"], CLAIM)
    second = await turns.take("scope", ["a"], CLAIM)
    await turns.end(first, errors.Forbidden("No."), known=False)
    await turns.ends(second.others)
    assert not (await turns.take("scope", ["a"], CLAIM)).ended


async def test_a_turn_lasts_while_it_is_held_and_ends_with_its_lease(turns: Turns, redis: RealRedis) -> None:
    turn = await turns.take("scope", ["a"], CLAIM)
    (key,) = turn.mine.values()
    with redis.client() as client:
        client.pexpire(key, 1500)
        async with turns.held(turn):
            while client.pttl(key) <= 1500:  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.05)
        client.pexpire(key, 1)
        second = await turns.take("scope", ["a"], CLAIM)
        while second.others:
            second = await turns.take("scope", ["a"], CLAIM)
    # It is too late for the first one to end it.
    await turns.end(turn)
    assert (await turns.take("scope", ["a"], CLAIM)).others


async def test_what_is_no_turn_is_no_hindrance(turns: Turns, redis: RealRedis) -> None:
    (key,) = (await turns.take("scope", ["a"], CLAIM)).mine.values()
    with redis.client() as client:
        for rubbish in (b"", b"\xff", b"hx 1", b"h1", b"d"):
            client.set(key, rubbish)
            assert set((await turns.take("scope", ["a"], CLAIM)).mine) == {"a"}
        client.delete(key)
        client.lpush(key, "x")
        assert set((await turns.take("scope", ["a"], CLAIM)).mine) == {"a"}
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
            await langsmith.arrived(1)
            found = asyncio.create_task(asyncio.to_thread(_asked, other))
            with redis.client() as client:
                while _turns_taken(client) < 2:  # noqa: ASYNC110 - Redis tells nobody
                    await asyncio.sleep(0.01)
            assert len(langsmith.requests) == 1
            one.process.send_signal(signal.SIGKILL)
            killed_at = monotonic()
            await langsmith.arrived(2)
            assert monotonic() - killed_at < LEASE + 5
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
    return max((int(value or 0) for value in map(client.get, client.keys("*:turn:fence"))), default=0)


def _asked(server: Server) -> Any:
    """The body of the answer; None where there came none."""
    try:
        return server.post(QUERY, **{"x-api-key": "demo"}).json()
    except httpx.TransportError:
        return None

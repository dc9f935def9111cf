"""The sliding window counts requests in memory and in a Redis, over the client that it is given."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from limits.aio.storage.redis.redispy import RedispyBridge
from redis.asyncio import Redis

from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from app.redis.sliding_window import SlidingWindow
from app.resilience.clock import TIMER_TOLERANCE_SECONDS
from app.resilience.rate import Rate
from tests.conftest import TIMEOUT_SECONDS
from tests.support.real_redis import RealRedis


@contextlib.asynccontextmanager
async def connected(redis: RealRedis) -> AsyncIterator[RedisConnection]:
    log = create_log("json", "error")
    connection = RedisConnection(
        redis.url, use="test", metrics=Metrics(), log=log, clock=time.monotonic, timeout_seconds=TIMEOUT_SECONDS
    )
    yield connection
    await connection.aclose()


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_full_window_tells_how_long_until_its_oldest_request_leaves(place: str, redis: RealRedis) -> None:
    async with connected(redis) as connection:
        window = SlidingWindow(Rate(3, 3600), connection if place == "redis" else None)
        assert [await window.enter("a", 0) for _ in range(3)] == [0, 0, 0]
        assert 3500 < await window.enter("a", 0) <= 3600
        assert await window.enter("b", 0) == 0


async def test_request_behind_others_waits_for_a_later_place() -> None:
    window = SlidingWindow(Rate(2, 3600))
    for _ in range(2):
        assert await window.enter("a", 0) == 0
    first, third = await window.enter("a", 0), await window.enter("a", 2)
    assert 3500 < first <= 3600
    assert 7100 < third <= 7200
    assert await window.remaining("a") == 0
    assert await window.remaining("b") == 2


async def test_shared_window_counts_over_the_client_of_the_connection(redis: RealRedis) -> None:
    async with connected(redis) as connection:
        await SlidingWindow(Rate(2, 3600), connection).enter("a", 0)
    assert redis.keys() == [b"sessions-gateway:budget:requests/a/2/3600/second"]


async def test_shared_window_refuses_to_start_when_the_library_ignores_its_client(redis: RealRedis) -> None:
    class OwnConnection(RedispyBridge):
        """A later version of the library, say, which always connects by itself."""

        def get_connection(self, *_: object, **__: object) -> Any:
            return own

    own = Redis(port=redis.port)
    async with connected(redis) as connection:
        with pytest.MonkeyPatch.context() as library:
            library.setattr("limits.aio.storage.redis.RedispyBridge", OwnConnection)
            with pytest.raises(TypeError, match="limits library"):
                SlidingWindow(Rate(2, 3600), connection)
    await own.aclose()


@pytest.mark.parametrize("place", ["memory", "redis"])
@pytest.mark.parametrize("step", [-3600, 3600])
async def test_wall_clock_that_is_set_changes_nothing(
    place: str, step: int, redis: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(redis) as connection:
        window = SlidingWindow(Rate(2, 60), connection if place == "redis" else None)
        real = time.time
        for _ in range(2):
            assert await window.enter("a", 0) == 0
        monkeypatch.setattr("time.time", lambda: real() + step)
        assert 50 < await window.enter("a", 0) <= 60
        assert await window.remaining("a") == 0


@pytest.mark.parametrize("entries", [["{future}"] * 2, ["{future}"], ["1", "{future}"], ["inf"] * 2, ["nan"] * 2])
async def test_entries_from_the_future_do_not_refuse_requests(entries: list[str], redis: RealRedis) -> None:
    async with connected(redis) as connection:
        window = SlidingWindow(Rate(2, 60), connection)
        with redis.client() as client:
            client.rpush(
                "sessions-gateway:budget:requests/a/2/60/second",
                *(each.format(future=time.time() + 3600) for each in entries),
            )
        seconds = [await window.enter("a", 0) for _ in range(2)]
        assert seconds[-1] <= TIMER_TOLERANCE_SECONDS
        assert await window.enter("a", 0) <= 60

"""Processes go on while the Redis that they share is stopped, frozen or full, and use it afterwards."""

import asyncio

from app.emulator import Emulator
from tests.cache.shared.pair import PAGE, WIDER, Pair, outcome
from tests.conftest import Clock, take_recorded_params
from tests.observability.test_log import lines


async def test_requests_go_on_without_redis_and_use_it_after_its_restart(
    pair: Pair, langsmith: Emulator, clock: Clock
) -> None:
    first = await pair.one.data(PAGE)
    await pair.wait_written()
    pair.redis.kill()
    for offset in range(4):
        other = PAGE.replace("first: 5", f"first: 5, offset: {offset}")
        assert len((await pair.other.data(other))["sessions"]["nodes"]) == 5
    assert await pair.other.data(PAGE) == first
    assert await pair.one.data(WIDER)
    assert [line["use"] for line in lines(pair.other, "redis_unavailable")] == ["cache"]
    pair.redis.start()
    clock.advance(70)
    take_recorded_params(langsmith)
    await pair.one.data(PAGE)
    await pair.wait_written()
    assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
    assert len(take_recorded_params(langsmith)) == 1
    assert len(lines(pair.other, "redis_available")) == 1


async def test_waiting_process_fetches_if_redis_is_killed_meanwhile(pair: Pair, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    requests = [asyncio.create_task(each.data(PAGE)) for each in (pair.one, pair.other)]
    await pair.wait_lease_attempts(2)
    pair.redis.kill()
    await langsmith.wait_for_requests(2)
    resume.set()
    one, other = await asyncio.gather(*requests)
    assert one == other


async def test_frozen_redis_is_given_up_after_a_few_requests(pair: Pair) -> None:
    pair.redis.freeze()
    try:
        async with asyncio.timeout(5):
            for offset in range(10):
                await pair.one.data(PAGE.replace("first: 5", f"first: 5, offset: {offset}"))
    finally:
        pair.redis.thaw()
    assert len(lines(pair.one, "redis_unavailable")) == 1


async def test_full_redis_is_still_read(pair: Pair, langsmith: Emulator) -> None:
    await pair.one.data(PAGE)
    await pair.wait_written()
    pair.redis.configure(maxmemory=1)
    try:
        assert await outcome(pair.other, PAGE) == ("HIT", 0, 0)
        assert (await outcome(pair.other, WIDER))[0] == "REFILL"
        assert (await outcome(pair.one, WIDER))[0] == "REFILL"
    finally:
        pair.redis.configure(maxmemory=0)

"""Work that several wait for: one outcome for all, cancelled when nobody waits, and never left behind."""

import asyncio

import pytest

from app.errors import UpstreamTimeoutError
from app.resilience.singleflight import SharedTask, gather_or_cancel


def later(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_all_who_wait_get_one_outcome() -> None:
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        return calls

    flight = SharedTask(work())
    assert await asyncio.gather(*(flight.join(later()) for _ in range(5))) == [1] * 5


async def test_all_who_wait_get_one_failure() -> None:
    async def work() -> None:
        raise ValueError

    flight = SharedTask(work())
    outcomes = await asyncio.gather(*(flight.join(later()) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [ValueError] * 3


async def test_when_the_last_one_leaves_it_is_cancelled_and_says_that_it_ended() -> None:
    ended = asyncio.Event()
    flight = SharedTask(asyncio.Event().wait(), on_end=ended.set)
    with pytest.raises(UpstreamTimeoutError):
        await flight.join(later(-1))
    assert not flight.is_joinable
    await ended.wait()


async def test_who_is_out_of_time_leaves_the_others_waiting() -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    flight = SharedTask(work())
    patient = asyncio.ensure_future(flight.join(later()))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamTimeoutError):
        await flight.join(later(-1))
    go.set()
    assert await patient == "done"


async def test_together_ends_the_rest_with_the_first_failure() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await gather_or_cancel(endless(), failing())
    assert ended.is_set()

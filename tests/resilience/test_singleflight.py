"""Several callers share one task: one outcome for all, cancelled when the last caller leaves."""

import asyncio

import pytest

from app.errors import UpstreamTimeoutError
from app.resilience.singleflight import SharedTask, TaskAbandonedError, gather_or_cancel


def deadline_in(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_every_caller_of_a_shared_task_gets_its_one_result() -> None:
    calls = 0

    async def work() -> int:
        nonlocal calls
        calls += 1
        return calls

    shared = SharedTask(work())
    assert await asyncio.gather(*(shared.join(deadline_in()) for _ in range(5))) == [1] * 5


async def test_every_caller_of_a_shared_task_gets_its_exception() -> None:
    async def work() -> None:
        raise ValueError

    shared = SharedTask(work())
    outcomes = await asyncio.gather(*(shared.join(deadline_in()) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [ValueError] * 3


async def test_a_shared_task_is_cancelled_and_calls_on_end_when_the_last_caller_leaves() -> None:
    ended = asyncio.Event()
    shared = SharedTask(asyncio.Event().wait(), on_end=ended.set)
    with pytest.raises(UpstreamTimeoutError):
        await shared.join(deadline_in(-1))
    assert not shared.is_joinable
    await ended.wait()


@pytest.mark.parametrize("stays", [False, True])
async def test_a_result_that_no_caller_receives_is_reported(*, stays: bool) -> None:
    unused: list[str] = []
    callers: list[asyncio.Task[str]] = []
    wait = asyncio.Event()

    async def work() -> str:
        await wait.wait()
        callers[0].cancel()  # in the iteration in which the result comes
        return "result"

    shared = SharedTask(work(), on_unused=unused.append)
    callers += [asyncio.create_task(shared.join(deadline_in())) for _ in range(1 + stays)]
    await asyncio.sleep(0)
    wait.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == ["result"] * stays
    assert unused == ["result"] * (not stays)


async def test_a_caller_that_times_out_leaves_the_shared_task_running_for_the_others() -> None:
    go = asyncio.Event()

    async def work() -> str:
        await go.wait()
        return "done"

    shared = SharedTask(work())
    patient = asyncio.ensure_future(shared.join(deadline_in()))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamTimeoutError):
        await shared.join(deadline_in(-1))
    go.set()
    assert await patient == "done"


async def test_gather_or_cancel_raises_the_first_exception_and_cancels_the_other_coroutines() -> None:
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


async def test_join_after_the_last_caller_has_left_is_told_apart_from_being_cancelled() -> None:
    shared = SharedTask(asyncio.sleep(60))
    leaving = asyncio.create_task(shared.join(deadline_in()))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    for _ in range(3):
        with pytest.raises(TaskAbandonedError):
            await shared.join(deadline_in())
        await asyncio.sleep(0)

"""A coroutine begins at once, and becomes a task where it has to wait."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from app.resilience.eager_task import TaskReference, become_task, begin, reference_to_current_task


def run(work: Coroutine[Any, Any, None], context: contextvars.Context | None = None) -> TaskReference:
    return begin(work, asyncio.get_running_loop(), context or contextvars.copy_context())


async def in_callback(work: Coroutine[Any, Any, None]) -> TaskReference:
    """Begin the work outside of any task, as the protocol's callbacks do."""
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[TaskReference] = loop.create_future()
    loop.call_soon(lambda: begun.set_result(run(work)))
    return await begun


async def test_coroutine_that_does_not_wait_has_ended_when_begin_returns() -> None:
    steps = []

    async def work() -> None:
        steps.append(1)

    assert run(work()).task is None
    assert steps == [1]


async def test_coroutine_that_waits_continues_as_a_task_with_what_it_waited_for() -> None:
    results = []
    futures = [asyncio.get_running_loop().create_future() for _ in range(3)]

    async def work() -> None:
        results.extend([await future for future in futures])

    task = run(work()).task
    assert task is not None
    assert results == []
    for number, future in enumerate(futures):
        await asyncio.sleep(0)
        future.set_result(number)
    await task
    assert results == [0, 1, 2]


async def test_two_coroutines_that_begin_together_wait_for_the_same_future() -> None:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    results = []

    async def work() -> None:
        results.append(await shared)

    tasks = [run(work()).task for _ in range(2)]
    shared.set_result("found")
    await asyncio.gather(*filter(None, tasks))
    assert results == ["found", "found"]


@pytest.mark.parametrize("steps", [0, 1])
async def test_cancelled_task_lets_the_coroutine_clean_up_and_cancels_what_it_waits_for(steps: int) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done = []

    async def work() -> None:
        try:
            await future
        except asyncio.CancelledError:
            done.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    task = run(work()).task
    assert task
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["cancelled", "cleaned up"]
    assert future.cancelled()


async def test_coroutine_is_in_a_task_after_become_task() -> None:
    tasks = []

    async def work() -> None:
        tasks.append(asyncio.current_task())
        await become_task()
        tasks.append(asyncio.current_task())
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    task = (await in_callback(work())).task
    assert task is not None
    await task
    assert tasks == [None, task]


async def test_become_task_does_not_wait_within_a_task() -> None:
    order: list[str] = []
    asyncio.get_running_loop().call_soon(order.append, "next iteration")
    await become_task()
    order.append("after become_task")
    await asyncio.sleep(0)
    assert order == ["after become_task", "next iteration"]


async def test_exception_before_the_first_wait_is_raised_by_begin() -> None:
    async def work() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it has no message
        run(work())


@pytest.mark.parametrize("waits_before", [0, 1, 2])
async def test_exception_after_a_wait_is_the_one_of_the_task(waits_before: int) -> None:
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        for _ in range(waits_before):
            await asyncio.sleep(0)
        await failing

    task = run(work()).task
    assert task is not None
    failing.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await task


async def test_cancellation_of_the_task_reaches_the_coroutine_which_may_continue() -> None:
    steps = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
        await asyncio.sleep(0)
        steps.append("continued")

    task = run(work()).task
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    await task
    assert steps == ["cancelled", "continued"]


async def test_each_coroutine_keeps_its_own_context_before_and_after_it_waits() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="outside")
    seen = []

    async def work(own: str) -> None:
        name.set(own)
        await asyncio.sleep(0)
        seen.append((own, name.get()))
        await asyncio.create_task(child(own))

    async def child(own: str) -> None:
        seen.append((own, name.get()))

    tasks = [run(work(own)).task for own in "ab"]
    assert name.get() == "outside"
    await asyncio.gather(*(task for task in tasks if task))
    assert sorted(seen) == [("a", "a"), ("a", "a"), ("b", "b"), ("b", "b")]


async def test_reference_taken_before_the_first_wait_leads_to_the_task() -> None:
    references = []

    async def work() -> None:
        references.append(reference_to_current_task())
        await asyncio.sleep(0)
        references.append(reference_to_current_task())

    task = (await in_callback(work())).task
    assert task is not None
    await task
    assert [each.task for each in references] == [task, task]

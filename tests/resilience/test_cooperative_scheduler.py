"""CooperativeScheduler: pieces of work that run in different iterations of the event loop."""

import asyncio

from app.resilience.cooperative_scheduler import CooperativeScheduler


async def test_pieces_of_work_that_are_ready_at_the_same_moment_run_in_different_iterations_in_order() -> None:
    scheduler, ran = CooperativeScheduler(), list[tuple[str, int]]()
    iteration = 0

    async def work(name: str) -> None:
        await scheduler.wait_for_slot()
        ran.append((name, iteration))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(name)) for name in "abcd"]
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            iteration += 1
    assert [name for name, _ in ran] == [*"abcd"]
    assert len({at for _, at in ran}) == 4


async def test_slot_is_had_at_once_unless_another_one_was_had_in_the_same_iteration() -> None:
    scheduler, ran = CooperativeScheduler(), list[str]()

    async def other() -> None:
        ran.append("other")

    for name in ("first", "second"):
        task = asyncio.create_task(other())
        await scheduler.wait_for_slot()
        ran.append(name)
        await task
        await asyncio.sleep(0)
    assert ran == ["first", "other", "second", "other"]


async def test_slot_of_a_cancelled_caller_is_passed_on() -> None:
    scheduler = CooperativeScheduler()
    first, leaving, staying = (asyncio.create_task(scheduler.wait_for_slot()) for _ in range(3))
    await first
    leaving.cancel()
    await staying
    assert leaving.cancelled()

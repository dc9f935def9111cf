"""Singleflight: several callers wait for one task and share its outcome, whether a result or an exception."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from app.errors import UpstreamTimeoutError
from app.resilience.eager_task import become_task

T = TypeVar("T")


class TaskAbandonedError(Exception):
    """A shared task was cancelled, because its last caller had left before another one began to wait."""


class SharedTask(Generic[T]):
    """A task that several callers wait for.

    A caller that times out or is cancelled leaves the task running for the others. When the last caller leaves, the
    task is cancelled.
    """

    def __init__(
        self,
        work: Coroutine[object, object, T],
        *,
        on_end: Callable[[], None] = lambda: None,
        on_unused: Callable[[T], None] = lambda _: None,
    ) -> None:
        """Schedule the work, which starts with the next iteration of the event loop.

        `on_end` is called when the task has finished, failed or been cancelled, and `on_unused` with a result that no
        caller received, because the last one left in the moment in which it came.
        """
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_retrieve_exception)
        self._task.add_done_callback(lambda _: on_end())
        self._waiters = 0
        self._is_used = False
        self._on_unused = on_unused

    @property
    def is_joinable(self) -> bool:
        """Whether the task is still running, so that another caller may join it."""
        return not self._task.done() and not self._task.cancelling()

    async def join(self, deadline: float) -> T:
        """Wait for the result until the deadline, a time of the event loop's clock.

        Raises the exception of the work, UpstreamTimeoutError when the deadline has passed, and TaskAbandonedError if
        the task was joinable when the caller looked, but is not any more.
        """
        if self._task.cancelled() or (self._task.cancelling() and not self._task.done()):
            raise TaskAbandonedError
        self._waiters += 1
        try:
            await become_task()
            async with asyncio.timeout_at(deadline):
                # Without the shield, cancelling one caller would cancel the task for all of them.
                result = await asyncio.shield(self._task)
        except TimeoutError as exc:
            raise UpstreamTimeoutError("LangSmith took too long to answer.") from exc
        else:
            self._is_used = True
            return result
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._task.cancel()
                self._report_unused()

    def _report_unused(self) -> None:
        has_result = self._task.done() and not self._task.cancelled() and self._task.exception() is None
        if has_result and not self._is_used:
            self._is_used = True
            self._on_unused(self._task.result())


async def gather_or_cancel(*work: Coroutine[object, object, T]) -> list[T]:
    """Run coroutines concurrently, and return their results in order.

    Raises the first exception, after cancelling the others. A single coroutine runs without a task of its own.
    """
    if len(work) == 1:
        return [await work[0]]
    await become_task()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def run_beside(other: Coroutine[object, object, None], work: Coroutine[object, object, T]) -> T:
    """The result of the work, once other work has ended too, which runs at the same time.

    Raises the first exception of the two, after cancelling the other one.
    """

    async def run() -> None:
        results.append(await work)

    results: list[T] = []
    await gather_or_cancel(run(), other)
    return results[0]


def _retrieve_exception(task: asyncio.Task[object]) -> None:
    """Keep asyncio from logging "exception was never retrieved" if every caller has left before the task failed."""
    if not task.cancelled():
        task.exception()

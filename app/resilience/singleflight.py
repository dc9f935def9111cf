"""Work that several callers wait for together.

One who leaves ends nothing for the others; when the last one has left, the work is cancelled. All share the outcome,
a failure too.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Generic, TypeVar

from app.errors import UpstreamTimeoutError

T = TypeVar("T")


class SharedTask(Generic[T]):
    def __init__(self, work: Coroutine[object, object, T], *, on_end: Callable[[], None] = lambda: None) -> None:
        """The work begins with the next turn of the event loop, not before. `on_end` is called however it ends."""
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(_retrieve)
        self._task.add_done_callback(lambda _: on_end())
        self._waiting = 0

    @property
    def is_joinable(self) -> bool:
        """Whether one may still join."""
        return not self._task.done() and not self._task.cancelling()

    async def join(self, deadline: float) -> T:
        """The outcome. Raises what the work raised, and UpstreamTimeout past the deadline (of the loop's clock)."""
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                # One who leaves must not end the work for the others.
                return await asyncio.shield(self._task)
        except TimeoutError as exc:
            raise UpstreamTimeoutError("LangSmith took too long to answer.") from exc
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()


async def gather_or_cancel(*work: Coroutine[object, object, T]) -> list[T]:
    """The outcomes of work that goes on at the same time. The first failure is raised, and ends the rest."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _retrieve(task: asyncio.Task[object]) -> None:
    """A failure that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()

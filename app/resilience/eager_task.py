"""Eager tasks: a coroutine that begins at once, and becomes a task of asyncio only where it has to wait.

A task begins with the next iteration of the event loop, and costs several microseconds. Most requests find all that
they need in memory, so that they end before they have to wait. Python 3.12 has eager tasks too; these also run on
Python 3.11, and cost less if the coroutine does not wait.

Until it has become a task, nobody can cancel the coroutine, and `asyncio.current_task()` is None. So `become_task` must
be awaited before whatever needs a task: `asyncio.timeout`, `asyncio.TaskGroup`, and anyio.
"""

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Final


class TaskReference:
    """A coroutine's task. `task` is None until it has become one."""

    __slots__ = ("task",)

    def __init__(self, task: asyncio.Task[Any] | None = None) -> None:
        self.task = task


_BEGUN: Final[ContextVar[TaskReference]] = ContextVar("begun")


def begin(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context) -> TaskReference:
    """Run a coroutine in this context until it ends or has to wait. If it has to wait, the rest of it is a task.

    To be called from a callback of the event loop: inside of a task, the coroutine would take that one for its own.
    Raises what the coroutine raises before it has to wait.
    """
    reference = TaskReference()
    context.run(_BEGUN.set, reference)
    try:
        future = context.run(work.send, None)
    except StopIteration:
        return reference
    reference.task = loop.create_task(work if future is None else _Rest(work, future), context=context)
    return reference


@types.coroutine
def become_task() -> Generator[None, None, None]:
    """Let the rest of the coroutine run in a task, if it does not yet."""
    if asyncio.current_task() is None:
        yield


def reference_to_current_task() -> TaskReference:
    """A reference to the caller's task, which is filled in later if the caller is no task yet."""
    task = asyncio.current_task()
    return _BEGUN.get() if task is None else TaskReference(task)


class _Rest(Coroutine[Any, Any, None]):
    """The rest of a coroutine that waits for a future already, for a task to continue.

    A task that is cancelled before its first step cancels the future, and the coroutine receives the CancelledError, as
    if the task had begun with it.
    """

    def __init__(self, work: Coroutine[Any, Any, None], future: asyncio.Future[Any]) -> None:
        self._work = work
        self._future: asyncio.Future[Any] | None = future
        # Tells a task that a coroutine waits for this future by `await`. Until there is a task, others may wait for it.
        _set_blocking(future, is_blocking=False)

    def send(self, value: Any) -> Any:
        future, self._future = self._future, None
        if future is None:
            return self._work.send(value)
        _set_blocking(future, is_blocking=True)
        return future

    def throw(self, *args: Any) -> Any:
        future, self._future = self._future, None
        if future is not None:
            future.cancel()
        return self._work.throw(*args)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise TypeError("Only a task continues a coroutine that has begun.")


def _set_blocking(future: Any, *, is_blocking: bool) -> None:
    future._asyncio_future_blocking = is_blocking  # noqa: SLF001 - the protocol of asyncio's tasks with their futures

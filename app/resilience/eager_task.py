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

    Raises what the coroutine raises before it has to wait.
    """
    reference = TaskReference()
    context.run(_BEGUN.set, reference)
    try:
        future = context.run(work.send, None)
    except StopIteration:
        return reference
    reference.task = loop.create_task(work if future is None else _wait_and_continue(work, future), context=context)
    return reference


@types.coroutine
def become_task() -> Generator[None, None, None]:
    """Let the rest of the coroutine run in a task, if it does not yet."""
    if asyncio.current_task() is None:
        yield


def reference_to_current_task() -> TaskReference:
    """A reference to the task of the coroutine that calls this, which may become one later."""
    task = asyncio.current_task()
    return _BEGUN.get() if task is None else TaskReference(task)


async def _wait_and_continue(work: Coroutine[Any, Any, None], future: Any) -> None:
    await _pass_on(work, future)


@types.coroutine
def _pass_on(work: Coroutine[Any, Any, None], future: Any) -> Generator[Any, Any, None]:
    """Let the task wait for each future that the coroutine waits for, beginning with this one."""
    while True:
        try:
            yield future
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:  # noqa: BLE001 - a cancellation, for the coroutine to handle
            resume: Any = work.throw
            argument: BaseException | None = exc
        else:
            resume, argument = work.send, None
        try:
            future = resume(argument)
        except StopIteration:
            return

"""Client disconnects: an operation is cancelled when its client closes the connection."""

import asyncio
import contextlib
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive

from app.http.errors import ClientDisconnectedError
from app.resilience.eager_task import TaskReference, reference_to_current_task


class DisconnectWatcher:
    """Async context manager that cancels its body when the client disconnects, and then raises ClientDisconnectedError.

    Watching costs a task, so it begins only with `start`, which the operation calls before it waits for LangSmith.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._operation = TaskReference()
        self._watcher: asyncio.Task[None] | None = None
        self._is_disconnected = False

    def start(self) -> None:
        """Begin to watch; later calls have no effect."""
        self._watcher = self._watcher or asyncio.create_task(self._watch())

    async def __aenter__(self) -> Self:
        self._operation = reference_to_current_task()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._is_disconnected and isinstance(exc, asyncio.CancelledError):
                # The cancellation came from `_watch` and ends here; a cancellation from elsewhere goes on.
                self._task.uncancel()
                raise ClientDisconnectedError from None
        finally:
            if self._watcher and not self._watcher.done():
                self._watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._watcher

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_disconnected = True
        self._task.cancel()

    @property
    def _task(self) -> asyncio.Task[Any]:
        """The operation's task. It has become one, because it waits."""
        if self._operation.task is None:
            raise RuntimeError("The operation has not begun to wait.")
        return self._operation.task

"""Writes to Redis that no caller waits for, and that a caller's cancellation does not end."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from app.redis.connection import RedisUnavailableError


class BackgroundWrites:
    """Runs writes as tasks of their own. They are left undone while Redis is unavailable."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, write: Coroutine[Any, Any, None]) -> None:
        """Starts a write."""
        task = asyncio.create_task(_ignore_unavailable(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Waits until everything is written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _ignore_unavailable(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(RedisUnavailableError):
        await work

"""A disconnected client cancels its operation; a cancellation from elsewhere stays a cancellation."""

import asyncio
from typing import Any

import pytest

from app.http.disconnects import DisconnectWatcher
from app.http.errors import ClientDisconnectedError


class Client:
    """The client's end of an ASGI `receive`: it reports a body chunk, and a disconnect after `disconnect`."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request"})

    async def receive(self) -> dict[str, Any]:
        return await self.messages.get()

    def disconnect(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


async def test_disconnect_cancels_the_operation_and_raises_client_disconnected_error() -> None:
    client = Client()
    client.disconnect()

    async def operation() -> None:
        async with DisconnectWatcher(client.receive) as watcher:
            watcher.start()
            watcher.start()
            await asyncio.Event().wait()

    with pytest.raises(ClientDisconnectedError):
        await operation()
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


async def test_disconnect_is_ignored_before_the_watcher_is_started() -> None:
    client = Client()
    client.disconnect()
    async with DisconnectWatcher(client.receive):
        await asyncio.sleep(0)
    assert client.messages.qsize() == 2


async def test_cancellation_of_the_operation_by_another_task_is_not_a_disconnect() -> None:
    client, started = Client(), asyncio.Event()

    async def operation() -> None:
        async with DisconnectWatcher(client.receive) as watcher:
            watcher.start()
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(operation())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()

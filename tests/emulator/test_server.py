"""The emulator on a socket, in this event loop or in a thread."""

import asyncio
import gc
import threading

import httpx
import pytest

from app.emulator import Emulator, serving, serving_in_thread
from tests.conftest import TIMEOUT_SECONDS, create_http_client


async def test_serving_stops_with_open_connections_and_paused_requests(langsmith: Emulator) -> None:
    async with create_http_client("", key="demo") as client:
        async with asyncio.timeout(TIMEOUT_SECONDS), serving(langsmith) as url:
            await client.get(f"{url}/sessions?limit=1")
            langsmith.pause()
            task = asyncio.create_task(client.get(f"{url}/sessions"))
            await langsmith.wait_for_requests(2)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await task
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{url}/sessions")
    gc.collect()


def test_a_thread_serves_the_emulator_and_ends_with_the_context(langsmith: Emulator) -> None:
    with (
        serving_in_thread(langsmith) as url,
        httpx.Client(base_url=url, headers={"X-API-Key": "demo-2"}, trust_env=False, verify=False) as client,
    ):
        assert len(client.get("/api/v1/sessions").json()) == 60
    assert "emulator" not in {thread.name for thread in threading.enumerate()}

"""The emulator on a real socket of 127.0.0.1, in the running loop or in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from .traffic import Traffic


@asynccontextmanager
async def serving(emulator: Traffic) -> AsyncIterator[str]:
    """Serve in the running loop; on leaving, every connection ends at once, answered or not."""
    server = _Server(emulator)
    url = await server.start()
    try:
        yield url
    finally:
        await server.stop()


@contextmanager
def serving_in_thread(emulator: Traffic) -> Iterator[str]:
    """Serve from a daemon thread, for a process whose own loop starts later."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        leaving = asyncio.Event()
        async with serving(emulator) as url:
            started.set_result((url, asyncio.get_running_loop(), leaving))
            await leaving.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="emulator", daemon=True)
    thread.start()
    url, loop, leaving = started.result()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(leaving.set)
        thread.join()


class _Server:
    """uvicorn without its main loop and its signal handlers, whose ticks would cost each test 0.2 s."""

    def __init__(self, emulator: Traffic) -> None:
        self._emulator = emulator
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                host="127.0.0.1",
                port=0,
                interface="asgi3",
                lifespan="off",
                proxy_headers=False,
                log_config=None,
                log_level="warning",
                access_log=False,
                date_header=False,
                server_header=False,
                timeout_keep_alive=600,
            )
        )

    async def start(self) -> str:
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        # A socket handed over would lack TCP_NODELAY, and each answer would wait 40 ms for an acknowledgement.
        await self._server.startup()
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        state = self._server.server_state
        for server in self._server.servers:
            server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        # Held requests notice that their client is gone, and end by themselves.
        while state.connections or state.tasks:  # noqa: ASYNC110 (uvicorn tells nobody when the last one is gone)
            await asyncio.sleep(0)
        for server in self._server.servers:
            await server.wait_closed()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        def hang_up() -> None:
            for connection in self._server.server_state.connections:
                if connection.transport.get_extra_info("peername") == scope["client"]:
                    connection.transport.abort()

        scope["extensions"] = {**scope.get("extensions", {}), "hang_up": hang_up}
        await self._emulator.app(scope, receive, send)

"""The emulator on a real socket of 127.0.0.1, in the running loop or in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from .traffic import Traffic


@asynccontextmanager
async def serving(emulator: Traffic) -> AsyncIterator[str]:
    """Serve in the running loop; on leaving, every connection ends at once, answered or not."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), "hang_up": lambda: server.hang_up(scope["client"])}
        await emulator.app(scope, receive, send)

    server = _Server(answer)
    async with server.running() as url:
        yield url


@asynccontextmanager
async def serving_app(app: ASGIApp, state: Mapping[str, Any] | None = None, **options: Any) -> AsyncIterator[str]:
    """Serve any app in that way. `state`: what its lifespan gave; `options`: uvicorn's."""
    async with _Server(app, state, **options).running() as url:
        yield url


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

    def __init__(self, app: ASGIApp, state: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._state = dict(state or {})
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                **{
                    "host": "127.0.0.1",
                    "port": 0,
                    "interface": "asgi3",
                    "lifespan": "off",
                    "proxy_headers": False,
                    "log_config": None,
                    "log_level": "warning",
                    "access_log": False,
                    "date_header": False,
                    "server_header": False,
                    "timeout_keep_alive": 600,
                    **options,
                },
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        try:
            yield await self._start()
        finally:
            await self._stop()

    def hang_up(self, client: object) -> None:
        """On the connection from that address."""
        for connection in self._server.server_state.connections:
            if connection.transport.get_extra_info("peername") == client:
                connection.transport.abort()

    async def _start(self) -> str:
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        self._server.lifespan.state.update(self._state)
        # A socket handed over would lack TCP_NODELAY, and each answer would wait 40 ms for an acknowledgement.
        await self._server.startup()
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        state = self._server.server_state
        for server in self._server.servers:
            server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        # Held requests notice that their client is gone, and end by themselves.
        while state.connections or state.tasks:
            await (asyncio.wait(state.tasks) if state.tasks else asyncio.sleep(0))
        for server in self._server.servers:
            await server.wait_closed()

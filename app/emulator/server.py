"""Serves the emulator on a socket of 127.0.0.1: in the running event loop, or in a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.emulator.fault_injection import FaultInjectingApp


@asynccontextmanager
async def serving(emulator: FaultInjectingApp) -> AsyncIterator[str]:
    """Serve in the running event loop, and yield the URL. On exit, every connection is closed at once."""

    async def app_with_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), "disconnect": lambda: server.disconnect(scope["client"])}
        await emulator(scope, receive, send)

    server = _Server(app_with_disconnect)
    async with server.running() as url:
        yield url


@asynccontextmanager
async def serving_app(app: ASGIApp, state: Mapping[str, Any] | None = None, **options: Any) -> AsyncIterator[str]:
    """Serve any ASGI app in the same way. `state` is what its lifespan yielded; `options` go to uvicorn."""
    async with _Server(app, state, **options).running() as url:
        yield url


@contextmanager
def serving_in_thread(emulator: FaultInjectingApp) -> Iterator[str]:
    """Serve in a daemon thread with an event loop of its own, and yield the URL."""
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stopping = asyncio.Event()
        async with serving(emulator) as url:
            started.set_result((url, asyncio.get_running_loop(), stopping))
            await stopping.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as exc:
            if started.done():
                raise
            started.set_exception(exc)

    thread = threading.Thread(target=run, name="emulator", daemon=True)
    thread.start()
    url, loop, stopping = started.result()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


class _Server:
    """uvicorn without its signal handlers and its main loop, which would take up to 0.2 s of each test to stop."""

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

    def disconnect(self, client: object) -> None:
        """Abort the connection from a client's address."""
        for connection in self._server.server_state.connections:
            if connection.transport.get_extra_info("peername") == client:
                connection.transport.abort()

    async def _start(self) -> str:
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        self._server.lifespan.state.update(self._state)
        # uvicorn creates the socket. A socket that is passed in would lack TCP_NODELAY, so that each response would
        # wait 40 ms for an acknowledgement.
        await self._server.startup()
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        state = self._server.server_state
        for server in self._server.servers:
            server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        # Paused requests notice that their client has disconnected, and end.
        while state.connections or state.tasks:
            await (asyncio.wait(state.tasks) if state.tasks else asyncio.sleep(0))
        for server in self._server.servers:
            await server.wait_closed()

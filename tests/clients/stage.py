"""Runs a Node program that controls the LangSmith behind its gateway, and its own connections to the gateway.

The controls are an HTTP server: `POST /hold` and so on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from app.emulator import Emulator, serving
from app.emulator.fault_injection import has_statistics
from app.emulator.server import serving_app
from tests.conftest import Clock, running_gateway
from tests.support.breakable_proxy import BreakableProxy

NEW_PROJECT = "made-between-two-polls"


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[tuple[str, str, str]]:
    """Start everything, and yield the arguments for the program.

    These are the URL of the gateway, that of the controls, and that of another gateway in front of the same LangSmith,
    which shares no cache with the first one, and tells which answers are right.
    """
    clock = Clock()
    langsmith = Emulator(clock=clock.now)
    async with (
        serving(langsmith) as url,
        running_gateway(url, clock) as gateway,
        running_gateway(url, clock) as reference,
        BreakableProxy(str(gateway.client.base_url)).serving() as proxy,
        serving_app(_controls(langsmith, clock, proxy)) as controls,
    ):
        yield f"{proxy.url}/graphql", controls, str(reference.client.base_url.join("/graphql"))


def _controls(langsmith: Emulator, clock: Clock, proxy: BreakableProxy) -> ASGIApp:
    release = asyncio.Event()

    async def hold() -> None:
        """Hold back the answers to requests for statistics that arrive from now on."""
        nonlocal release
        langsmith.requests.clear()
        release = langsmith.pause_statistics()

    async def wait_for_held() -> None:
        """Wait until such a request has arrived."""
        while not any(map(has_statistics, langsmith.requests)):
            await langsmith.wait_for_requests(len(langsmith.requests) + 1)

    async def let_go() -> None:
        release.set()

    async def break_connections() -> None:
        await proxy.break_connections()

    async def pass_time() -> None:
        """Let all caches expire, and add a project, which becomes the first of the list."""
        clock.advance(60)
        langsmith.add_project("demo", NEW_PROJECT)

    actions: Mapping[str, Callable[[], Awaitable[None]]] = {
        "/hold": hold,
        "/wait-for-held": wait_for_held,
        "/release": let_go,
        "/break-connections": break_connections,
        "/pass-time": pass_time,
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await actions[scope["path"]]()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    return app

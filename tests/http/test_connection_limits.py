"""One client cannot make the process keep much, or keep it for long: pipelines, silence, slow requests, connections."""

import asyncio
import contextlib
import gc
import io
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.emulator.server import serving_app
from app.http.connection_limits import ConnectionLimits
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.conftest import TIMEOUT_SECONDS, Gateway, create_http_client
from tests.support.raw_client import Connection, connect, executions, request

HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
LARGE: Final = b'{"query": "{ sessions(first: 100) { nodes { id name extra description runFacets } } }"}'
SERVED_AT_ONCE: Final = 64
"""Upper bound of the requests of one connection that are in memory."""

ServeWithin = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def serve_within(upstream_url: str) -> ServeWithin:
    """A function that starts a gateway with the given limits on connections."""

    @contextlib.asynccontextmanager
    async def serve(*, keep_alive: float = 600, **limits: float) -> AsyncIterator[Gateway]:
        protocol = type("LimitedProtocol", (GatewayProtocol,), {"limits": ConnectionLimits(**limits)})  # type: ignore[arg-type]  # max_connections is an int
        log = io.StringIO()
        app = create_app(Settings.load(langsmith_endpoint=upstream_url), log=create_log("json", "debug", log))
        async with (
            app.router.lifespan_context(app) as state,
            serving_app(app, state, http=protocol, ws="none", timeout_keep_alive=keep_alive) as url,
            create_http_client(url) as client,
        ):
            yield Gateway(client, app, log)

    return serve


def cycles_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects())


async def end_of(connection: Connection) -> bytes:
    """What the gateway sends until it closes the connection."""
    return await asyncio.wait_for(connection.reader.read(), TIMEOUT_SECONDS)


async def test_pipelined_requests_in_memory_are_bounded_and_all_are_answered(gateway: Gateway) -> None:
    count = 3000
    async with connect(gateway) as connection:
        before = cycles_in_memory()
        sending = asyncio.create_task(connection.send(HEALTH * count))
        most = 0
        for number in range(count):
            assert (await connection.read_response()).status == b"HTTP/1.1 200 OK"
            if number % 300 == 0:
                most = max(most, cycles_in_memory() - before)
        await sending
    assert 0 < most <= SERVED_AT_ONCE


async def test_pipelined_responses_are_not_made_for_a_client_that_does_not_read(gateway: Gateway) -> None:
    async with connect(gateway) as connection, connect(gateway) as other:
        size = len((await connection.request(request(LARGE))).body)
        count = 32 * 1024 * 1024 // size
        sending = asyncio.create_task(connection.send(request(LARGE) * count))
        for _ in range(300):
            await other.request(HEALTH)
        first = await executions(gateway)
        for _ in range(300):
            await other.request(HEALTH)
        assert await executions(gateway) == first
        assert first["kept"] < count
        for _ in range(count):
            assert len((await connection.read_response()).body) == size
        await sending
    assert sum((await executions(gateway)).values()) == count + 1


async def test_disconnect_of_pipelining_clients_frees_their_requests_without_an_error_in_the_log(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    before = cycles_in_memory()
    for _ in range(20):
        async with connect(gateway) as connection:
            connection.writer.write((request(LARGE) + HEALTH) * 200)
            await connection.read_response()
            connection.writer.transport.abort()
    async with connect(gateway) as connection:
        for _ in range(50):
            await connection.request(HEALTH)
    assert cycles_in_memory() - before <= SERVED_AT_ONCE
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Traceback" not in gateway.log.getvalue()


@pytest.mark.parametrize("sent", [b"", b"\r\n", HEALTH], ids=["nothing", "an empty line", "one request"])
async def test_idle_connection_is_closed_without_a_response(serve_within: ServeWithin, sent: bytes) -> None:
    async with serve_within(keep_alive=0.1) as gateway, connect(gateway) as connection:
        await connection.send(sent)
        if sent == HEALTH:
            await connection.read_response()
        assert await end_of(connection) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n",
        HEALTH + b"GET /",
        request()[:-5],
        request(key=b"nobody")[:-5],
        request(b"{}", b"X: a", target=b"/nope")[:-1],
    ],
    ids=["a letter", "a head", "a second head", "a body", "a refused body", "a body that nobody reads"],
)
async def test_request_that_does_not_arrive_in_time_is_refused_and_the_connection_closed(
    serve_within: ServeWithin, sent: bytes
) -> None:
    async with serve_within(request_seconds=0.1) as gateway, connect(gateway) as connection:
        await connection.send(sent)
        answer = await end_of(connection)
    assert (b"HTTP/1.1 408 " if b"/nope" not in sent else b"HTTP/1.1 404 ") in answer


async def test_slow_request_is_refused_although_its_bytes_keep_arriving(serve_within: ServeWithin) -> None:
    async with serve_within(request_seconds=0.1, keep_alive=0.3) as gateway, connect(gateway) as connection:
        await connection.send(HEALTH[:-2])
        answer = asyncio.create_task(end_of(connection))
        with contextlib.suppress(ConnectionError):
            while not answer.done():
                await connection.send(b"X: a\r\n")
                await asyncio.sleep(0.01)
        assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_time_in_which_a_request_waits_for_other_responses_does_not_count(serve_within: ServeWithin) -> None:
    """A client that reads slowly cannot send the rest of its last request before it has read."""
    async with serve_within(request_seconds=0.1) as gateway, connect(gateway) as connection:
        size = len((await connection.request(request(LARGE))).body)
        count = 32 * 1024 * 1024 // size
        sending = asyncio.create_task(connection.send(request(LARGE) * count + HEALTH[:-2]))
        async with connect(gateway) as slow:
            await slow.send(HEALTH[:-2])
            assert (await end_of(slow)).startswith(b"HTTP/1.1 408 ")  # more time than a request has
        for _ in range(count):
            assert (await connection.read_response()).status == b"HTTP/1.1 200 OK"
        await sending
        assert (await connection.request(b"\r\n")).status == b"HTTP/1.1 200 OK"


async def test_client_that_reads_nothing_is_disconnected(serve_within: ServeWithin) -> None:
    async with serve_within(stalled_seconds=0.1) as gateway, connect(gateway) as connection:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012 - sends until it cannot
            while True:
                await asyncio.wait_for(connection.send(request(LARGE) * 100), TIMEOUT_SECONDS)


async def test_new_connection_takes_the_place_of_the_longest_idle_one(serve_within: ServeWithin) -> None:
    async with serve_within(max_connections=3) as gateway, contextlib.AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(connect(gateway)) for _ in range(3)]
        for connection in (second, third, first):
            await connection.request(HEALTH)
        fourth = await stack.enter_async_context(connect(gateway))
        assert (await fourth.request(HEALTH)).status == b"HTTP/1.1 200 OK"
        assert await end_of(second) == b""
        for connection in (third, first, fourth):
            assert (await connection.request(HEALTH)).status == b"HTTP/1.1 200 OK"


async def test_new_connection_is_refused_with_503_when_all_others_are_in_use(serve_within: ServeWithin) -> None:
    async with serve_within(max_connections=2) as gateway, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(connect(gateway)) for _ in range(2)]
        for connection in busy:
            assert (await connection.request(HEALTH)).status == b"HTTP/1.1 200 OK"
            await connection.send(request()[:-5])
        await asyncio.sleep(0)
        refused = await stack.enter_async_context(connect(gateway))
        assert (await end_of(refused)).startswith(b"HTTP/1.1 503 ")
        for connection in busy:
            assert (await connection.request(request()[-5:])).status == b"HTTP/1.1 200 OK"

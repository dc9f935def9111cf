"""On SIGTERM the process reports "not ready", completes operations in flight, and then ends; a second one ends it."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest
import uvicorn

from app.emulator import Emulator, serving_in_thread
from app.http.graceful_shutdown import stop_listening
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.support.raw_client import Connection, request
from tests.test_command_line import (
    DEMO,
    SERVE,
    STOPPED,
    UVICORN,
    Server,
    is_clean,
    iter_until,
    process,
    running,
)

WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


class SlowLangSmith:
    """A LangSmith that accepts one request and answers it only when released."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.arrived = Event()
        self.released = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def answer_one_request(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            connection.recv(65536)
            self.arrived.set()
            self.released.wait(STOPPED)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")


@pytest.fixture
def slow(pool: ThreadPoolExecutor) -> Iterator[SlowLangSmith]:
    slow = SlowLangSmith()
    answering = pool.submit(slow.answer_one_request)
    yield slow
    slow.released.set()
    answering.result(STOPPED)
    slow.socket.close()


def wait_until_draining(server: Server) -> None:
    """Wait until the server has handled the signal: it reports "not ready" or refuses connections."""
    with contextlib.suppress(httpx.TransportError):
        while httpx.get(server.url.replace("/graphql", "/readyz"), trust_env=False).status_code == 200:
            pass


def start_operation(server: Server, pool: ThreadPoolExecutor, slow: SlowLangSmith) -> Future[httpx.Response]:
    """The future response of an operation that waits for LangSmith."""
    answer = pool.submit(server.post, "{ sessions(first: 1) { nodes { id } } }", **{"x-api-key": "demo"})
    assert slow.arrived.wait(STOPPED)
    return answer


def test_first_sigterm_fails_the_readiness_probe_while_requests_are_still_served(tmp_path: Path) -> None:
    with running(*DEMO, cwd=tmp_path) as server:
        ready = server.url.replace("/graphql", "/readyz")
        with httpx.Client(trust_env=False) as client:
            assert client.get(ready).status_code == 200
            server.process.send_signal(signal.SIGTERM)
            while (response := client.get(ready)).status_code == 200:
                pass
            assert (response.status_code, response.json()) == (503, {"status": "stopping"})
            assert client.post(server.url, json={"query": "{ __typename }"}).json() == {"data": {"__typename": "Query"}}
        out, err = server.process.communicate(timeout=STOPPED)
    assert server.process.returncode == 0
    assert is_clean(out + err)


@WORKERS
def test_operation_in_flight_completes_after_sigterm(
    tmp_path: Path, pool: ThreadPoolExecutor, slow: SlowLangSmith, workers: str
) -> None:
    with running(*SERVE, "--workers", workers, cwd=tmp_path, LANGSMITH_ENDPOINT=slow.url) as server:
        answer = start_operation(server, pool, slow)
        server.process.send_signal(signal.SIGTERM)
        assert not answer.done()
        slow.released.set()
        assert answer.result(STOPPED).json() == {"data": {"sessions": {"nodes": []}}}
        out, err = server.process.communicate(timeout=STOPPED)
    assert server.process.returncode == 0
    assert is_clean(out + err)


@WORKERS
def test_second_sigterm_ends_the_process_without_waiting_for_operations(
    tmp_path: Path, pool: ThreadPoolExecutor, slow: SlowLangSmith, workers: str
) -> None:
    with running(*SERVE, "--workers", workers, cwd=tmp_path, LANGSMITH_ENDPOINT=slow.url) as server:
        answer = start_operation(server, pool, slow)
        server.process.send_signal(signal.SIGTERM)
        wait_until_draining(server)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        out, err = server.process.communicate(timeout=STOPPED)
        assert time.monotonic() - began < 10
        assert "Traceback" not in out + err
        answer.exception(STOPPED)  # the operation has ended, with a response or without


def test_gateway_stops_cleanly_with_its_upstream_connections_open(tmp_path: Path) -> None:
    with serving_in_thread(Emulator()) as url, running(*SERVE, cwd=tmp_path, LANGSMITH_ENDPOINT=url) as server:
        assert server.tenants(**{"x-api-key": "demo"})
        code, printed = server.stopped(signal.SIGTERM)
    assert code == 0
    assert is_clean(printed)


QUERY = b'{"query": "{ sessions(first: 2) { nodes { id name } } }"}'
KEPT = {
    "a replay": request(QUERY),
    "an operation": b"GET /graphql?query={__typename} HTTP/1.1\r\nHost: gateway\r\nX-API-Key: demo\r\n\r\n",
    "an error": request(b"{"),
    "a page": b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a probe": b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "no such page": b"GET /nope HTTP/1.1\r\nHost: gateway\r\n\r\n",
}


async def ask_until_closed(port: int, sent: bytes, is_warm: asyncio.Event) -> int:
    """Repeat a request on one connection until a response says that it is the last. Returns how many were lost."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection, answers = Connection(reader, writer), 0
    try:
        while True:
            answer = await connection.request(sent)
            answers += 1
            if answers == 5:
                is_warm.set()
            if answer.headers.get(b"connection") == b"close":
                assert await reader.read() == b""
                return 0
    except (ConnectionError, asyncio.IncompleteReadError):
        is_warm.set()
        return 1
    finally:
        writer.close()


@pytest.mark.parametrize(
    "command",
    [DEMO, (*DEMO, "--workers", "2"), (*UVICORN, "--no-access-log")],
    ids=["one process", "two workers", "uvicorn"],
)
async def test_no_request_on_a_kept_connection_is_lost_after_sigterm(
    tmp_path: Path, upstream_url: str, command: tuple[str, ...]
) -> None:
    # Nobody reads what the server prints before it ends, so it logs nothing of the operations.
    variables = {"GATEWAY_LOG_LEVEL": "error", "LANGSMITH_ENDPOINT": upstream_url}
    with running(*command, cwd=tmp_path, **variables) as server:
        port = httpx.URL(server.url).port or 0
        clients = [(sent, asyncio.Event()) for sent in KEPT.values() for _ in range(8)]
        async with asyncio.timeout(STOPPED):
            asking = [asyncio.create_task(ask_until_closed(port, *each)) for each in clients]
            for _, is_warm in clients:
                await is_warm.wait()
            server.process.send_signal(signal.SIGTERM)
            assert sum(await asyncio.gather(*asking)) == 0
        out, err = server.process.communicate(timeout=STOPPED)
    assert "Traceback" not in out + err


@pytest.mark.parametrize("command", [DEMO, (*DEMO, "--workers", "2")], ids=["one process", "two workers"])
@pytest.mark.parametrize("milliseconds", [0, 2, 5, 300])
def test_sigterm_after_the_start_line_ends_the_process(
    tmp_path: Path, command: tuple[str, ...], milliseconds: int
) -> None:
    with process(command, tmp_path) as started:
        assert started.stderr
        try:
            list(iter_until("to stop", started.stderr))
            Event().wait(milliseconds / 1000)  # a moment of the start; each has to have the same outcome
            started.send_signal(signal.SIGTERM)
            out, err = started.communicate(timeout=STOPPED)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
    assert started.returncode == 0
    assert is_clean(out + err)


async def test_pipelined_requests_that_were_received_are_answered_after_sigterm(
    tmp_path: Path, pool: ThreadPoolExecutor, slow: SlowLangSmith
) -> None:
    with running(*SERVE, cwd=tmp_path, LANGSMITH_ENDPOINT=slow.url) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        connection = Connection(reader, writer)
        probes = [KEPT[name] for name in ("a probe", "no such page")] * 40
        await connection.send(request(QUERY) + b"".join(probes))
        assert await asyncio.to_thread(slow.arrived.wait, STOPPED)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_until_draining, server)
        slow.released.set()
        answers = [await asyncio.wait_for(connection.read_response(), STOPPED) for _ in range(1 + len(probes))]
        assert await reader.read() == b""
        writer.close()
        server.process.communicate(timeout=STOPPED)
    assert [b"connection" in answer.headers for answer in answers] == [False] * len(probes) + [True]
    assert [answer.status[9:12] for answer in answers] == [b"200", *[b"200", b"404"] * 40]


async def test_connections_that_wait_to_be_accepted_are_served_before_the_port_is_closed(upstream_url: str) -> None:
    app = create_app(Settings.load(langsmith_endpoint=upstream_url), log=create_log("json", "debug", io.StringIO()))
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=GatewayProtocol, ws="none", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    address = server.servers[0].sockets[0].getsockname()
    waiting = [socket.create_connection(address) for _ in range(20)]
    for each in waiting:
        each.sendall(KEPT["a probe"])
    await stop_listening(server)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    for each in waiting:
        with each:
            assert await asyncio.to_thread(each.recv, 15) == b"HTTP/1.1 200 OK"
    server.should_exit = True
    await serving

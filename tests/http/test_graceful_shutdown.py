"""On SIGTERM the process reports "not ready", completes operations in flight, and then ends; a second one ends it."""

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from app.emulator import Emulator, serving_in_thread
from tests.test_command_line import DEMO, SERVE, STOPPED, Server, is_clean, running

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
        server.process.communicate(timeout=STOPPED)
        assert time.monotonic() - began < 10
        answer.exception(STOPPED)  # the operation has ended, with a response or without


def test_gateway_stops_cleanly_with_its_upstream_connections_open(tmp_path: Path) -> None:
    with serving_in_thread(Emulator()) as url, running(*SERVE, cwd=tmp_path, LANGSMITH_ENDPOINT=url) as server:
        assert server.tenants(**{"x-api-key": "demo"})
        code, printed = server.stopped(signal.SIGTERM)
    assert code == 0
    assert is_clean(printed)

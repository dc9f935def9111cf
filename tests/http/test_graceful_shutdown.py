"""How the process ends: it says so first, finishes what is under way, and hurries when it is told twice."""

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


class Slow:
    """A LangSmith that takes one connection after another and answers when it is told to."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.arrived = Event()
        self.released = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def answer_one(self) -> None:
        connection, _ = self.socket.accept()
        with connection:
            connection.recv(65536)
            self.arrived.set()
            self.released.wait(STOPPED)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")


@pytest.fixture
def slow(pool: ThreadPoolExecutor) -> Iterator[Slow]:
    slow = Slow()
    answering = pool.submit(slow.answer_one)
    yield slow
    slow.released.set()
    answering.result(STOPPED)
    slow.socket.close()


def until_it_is_leaving(server: Server) -> None:
    """It has heard the signal, and says so or takes no more connections."""
    with contextlib.suppress(httpx.TransportError):
        while httpx.get(server.url.replace("/graphql", "/readyz"), trust_env=False).status_code == 200:
            pass


def asked(server: Server, pool: ThreadPoolExecutor, slow: Slow) -> Future[httpx.Response]:
    """An operation under way."""
    answer = pool.submit(server.post, "{ sessions(first: 1) { nodes { id } } }", **{"x-api-key": "demo"})
    assert slow.arrived.wait(STOPPED)
    return answer


def test_it_says_that_it_is_going_and_serves_a_little_longer(tmp_path: Path) -> None:
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
def test_what_is_under_way_ends_well(tmp_path: Path, pool: ThreadPoolExecutor, slow: Slow, workers: str) -> None:
    with running(*SERVE, "--workers", workers, cwd=tmp_path, LANGSMITH_ENDPOINT=slow.url) as server:
        answer = asked(server, pool, slow)
        server.process.send_signal(signal.SIGTERM)
        assert not answer.done()
        slow.released.set()
        assert answer.result(STOPPED).json() == {"data": {"sessions": {"nodes": []}}}
        out, err = server.process.communicate(timeout=STOPPED)
    assert server.process.returncode == 0
    assert is_clean(out + err)


@WORKERS
def test_a_second_signal_ends_it_at_once(tmp_path: Path, pool: ThreadPoolExecutor, slow: Slow, workers: str) -> None:
    with running(*SERVE, "--workers", workers, cwd=tmp_path, LANGSMITH_ENDPOINT=slow.url) as server:
        answer = asked(server, pool, slow)
        server.process.send_signal(signal.SIGTERM)
        until_it_is_leaving(server)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate(timeout=STOPPED)
        assert time.monotonic() - began < 10
        answer.exception(STOPPED)  # it is over, one way or the other


def test_the_embedded_langsmith_may_end_first(tmp_path: Path) -> None:
    with serving_in_thread(Emulator()) as url, running(*SERVE, cwd=tmp_path, LANGSMITH_ENDPOINT=url) as server:
        assert server.tenants(**{"x-api-key": "demo"})
        code, printed = server.stopped(signal.SIGTERM)
    assert code == 0
    assert is_clean(printed)

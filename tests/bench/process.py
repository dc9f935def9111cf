"""Processes on a core of their own, what they cost, and their end."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PEER_CORE: Final = 0
LOAD_CORE: Final = 1
HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json", "X-API-Key": "bench"}
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class StartError(Exception):
    """Why a process did not come up, with the last lines that it wrote."""


@dataclass(frozen=True)
class Command:
    """What to run; where it answers GraphQL; what it finds in its environment."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    path: str = "/graphql"


@dataclass
class Running:
    """A process that answers; `ready` is how many seconds that took."""

    process: subprocess.Popen[bytes]
    port: int
    path: str
    log: Path
    ready: float = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.origin + self.path

    def post(self, body: str, *, timeout: float = 30) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", self.path, body, HEADERS)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used, all threads together."""
        return sum(_cpu(pid) for pid in _family(self.process.pid))

    def rss(self) -> int:
        """Bytes of memory of it and its children."""
        return sum(_rss(pid) for pid in _family(self.process.pid))

    def last_lines(self, count: int = 15) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-count:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(argv: Sequence[str], core: int) -> list[str]:
    """The command on one core, ended by the kernel should this process die without ending it."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", str(core), *argv]


@contextmanager
def running(command: Command, port: int, log: Path, *, core: int, within: float = 60) -> Iterator[Running]:
    """Started, and ready: it has answered a GraphQL request with 200."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "LANGSMITH_"))}
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(command.argv, core),
            env={**env, **command.env},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Running(process, port, command.path, log)
    try:
        _await(started, began + within)
        started.ready = time.perf_counter() - began
        yield started
    finally:
        _end(process)


def _await(started: Running, deadline: float) -> None:
    while True:
        if started.process.poll() is not None:
            raise StartError(f"ended with {started.process.returncode}:\n{started.last_lines()}")
        if time.perf_counter() > deadline:
            raise StartError(f"did not answer in time:\n{started.last_lines()}")
        with suppress(OSError, http.client.HTTPException):
            status, _ = started.post('{"query": "{ __typename }"}', timeout=5)
            if status == http.client.OK:
                return
        time.sleep(0.005)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def _cpu(pid: int) -> float:
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    # utime, stime, and those of children that have ended.
    return sum(map(int, numbers[11:15])) * _TICK


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0

"""Runs processes on a core of their own, measures their CPU time and memory, and stops them."""

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
    """A process did not start. The message has the reason and the last lines of its output."""


@dataclass(frozen=True)
class Command:
    """A command with its environment and working directory, and the path at which it serves GraphQL."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    path: str = "/graphql"


@dataclass
class Running:
    """A running server. `ready` is the time in seconds from its start to its first answer."""

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
        """Seconds of CPU time that the process and its children have used, in all threads."""
        return sum(_cpu(pid) for pid in _process_tree(self.process.pid))

    def rss(self) -> int:
        """Resident memory of the process and its children in bytes."""
        return sum(_rss(pid) for pid in _process_tree(self.process.pid))

    def last_lines(self, count: int = 15) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-count:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(argv: Sequence[str], core: int) -> list[str]:
    """The command, pinned to one core. The kernel kills it if the benchmark dies without stopping it."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", str(core), *argv]


@contextmanager
def running(command: Command, port: int, log: Path, *, core: int, within: float = 60) -> Iterator[Running]:
    """Start a server, wait until it answers a GraphQL request with 200, and stop it at the end of the block.

    Raises StartError if the process ends, or does not answer `within` so many seconds.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "LANGSMITH_"))}
    started_at = time.perf_counter()
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
    server = Running(process, port, command.path, log)
    try:
        _wait_until_ready(server, started_at + within)
        server.ready = time.perf_counter() - started_at
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: Running, deadline: float) -> None:
    while True:
        if server.process.poll() is not None:
            raise StartError(f"exited with {server.process.returncode}:\n{server.last_lines()}")
        if time.perf_counter() > deadline:
            raise StartError(f"did not answer in time:\n{server.last_lines()}")
        with suppress(OSError, http.client.HTTPException):
            status, _ = server.post('{"query": "{ __typename }"}', timeout=5)
            if status == http.client.OK:
                return
        time.sleep(0.005)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
            break
    # Children may outlive the process that was told to stop.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _process_tree(pid: int) -> list[int]:
    pids = [pid]
    # The list grows while it is read, so that children of children are visited too.
    for parent in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                pids.extend(int(child) for child in (task / "children").read_text().split())
    return pids


def _cpu(pid: int) -> float:
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    # utime, stime, cutime and cstime; the last two belong to children that have ended.
    return sum(map(int, numbers[11:15])) * _TICK


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0

"""Several workers: their supervisor may be killed, replaces them, and says why one ended."""

import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.command_line.metrics_directory import has_room
from tests.support.paths import ROOT
from tests.test_command_line import DEMO, SERVE, STOPPED, Server, ended, is_clean, running

# Each test starts three processes or more, some of them one after another.
pytestmark = pytest.mark.timeout(180)
LOG = {"GATEWAY_LOG_FORMAT": "json"}
WORKERS = (*DEMO, "--workers", "2")
FULL_DISK = """
import shutil
from collections import namedtuple
shutil.disk_usage = lambda path: namedtuple("Usage", "total used free")(1 << 20, 1 << 20, 0)
from app.__main__ import main
main(["serve", "--demo", "--port", "0", "--workers", "2"])
"""


def workers_of(server: Server) -> set[int]:
    """Process ids of the workers. The supervisor has a resource tracker as a child too."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 4 * STOPPED
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def is_answered(server: Server) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return server.post("{ __typename }").status_code == 200
    return False


def lines_of(printed: str, event: str) -> list[dict[str, str]]:
    logged = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [line for line in logged if line["event"] == event]


def test_workers_end_with_a_supervisor_that_was_killed_and_release_the_port(tmp_path: Path) -> None:
    with running(*WORKERS, cwd=tmp_path, TMPDIR=str(tmp_path)) as server:
        wait_until(lambda: is_answered(server))
        workers = workers_of(server)
        assert len(workers) == 2
        server.process.kill()
        wait_until(lambda: not any(map(is_running, workers)))
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", int(server.url.split(":")[2].split("/")[0])))
            listener.listen()
        wait_until(lambda: not list(tmp_path.glob("sessions-gateway-*")))


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_stopped_supervisor_removes_the_directory_of_the_metrics(tmp_path: Path, by: signal.Signals) -> None:
    with running(*WORKERS, cwd=tmp_path, TMPDIR=str(tmp_path)) as server:
        wait_until(lambda: is_answered(server))
        assert len(list(tmp_path.glob("sessions-gateway-*"))) == 1
        code, _ = server.stopped(by=by)
    assert code == 0
    assert list(tmp_path.glob("sessions-gateway-*")) == []


def test_sighup_replaces_all_workers_with_the_settings_of_the_changed_env_file(tmp_path: Path) -> None:
    with running(*WORKERS, cwd=tmp_path) as server:
        wait_until(lambda: is_answered(server) and len(workers_of(server)) == 2)
        before = workers_of(server)
        (tmp_path / ".env").write_text("GATEWAY_INTROSPECTION=false\n")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: before.isdisjoint(workers_of(server)) and len(workers_of(server)) == 2)
        for _ in range(8):
            assert "errors" in server.post("{ __schema { queryType { name } } }").json()
        code, printed = server.stopped(by=signal.SIGTERM)
    assert code == 0
    assert is_clean(re.sub("outcome=[A-Z_]+", "", printed))


def test_replaced_worker_is_logged_with_the_reason(tmp_path: Path) -> None:
    with running(*WORKERS, cwd=tmp_path, GATEWAY_LOG_FORMAT="console") as server:
        wait_until(lambda: is_answered(server) and len(workers_of(server)) == 2)
        killed = min(before := workers_of(server))
        os.kill(killed, signal.SIGBUS)
        wait_until(lambda: len(workers_of(server) - before) == 1)
        _, printed = server.stopped(by=signal.SIGTERM)
    [line] = [line for line in printed.splitlines() if "worker_replaced" in line]
    assert "SIGBUS" in line
    assert f"worker={killed}" in re.sub(r"\x1b\[\d+m", "", line)


def test_workers_count_for_themselves_with_one_warning_if_the_disk_is_full(tmp_path: Path) -> None:
    with running("-c", FULL_DISK, cwd=tmp_path, **LOG, TMPDIR=str(tmp_path)) as server:
        wait_until(lambda: is_answered(server) and len(workers_of(server)) == 2)
        os.kill(min(before := workers_of(server)), signal.SIGKILL)
        wait_until(lambda: len(workers_of(server) - before) == 1)
        assert "gateway_operations_total" in server.metrics()
        _, printed = server.stopped(by=signal.SIGTERM)
    printed = server.printed_first + printed
    assert [line["reason"] for line in lines_of(printed, "metrics_per_worker")] == ["No space left on device"]
    assert list(tmp_path.glob("sessions-gateway-*")) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_directory_for_metrics_that_cannot_be_used_is_reported_in_one_line(tmp_path: Path, workers: str) -> None:
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file" / "metrics")
    code, out, err = ended(*SERVE, "--workers", workers, cwd=tmp_path, PROMETHEUS_MULTIPROC_DIR=directory)
    assert (code, out) == (2, "")
    assert err == "PROMETHEUS_MULTIPROC_DIR: the directory cannot be used: Not a directory.\n"


def test_worker_that_cannot_start_ends_the_supervisor_with_an_exit_status(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os.environ['GATEWAY_CACHE_TTL'] = 'soon'\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", str(ROOT))])
    code, _, err = ended(*SERVE, "--workers", "2", cwd=tmp_path, PYTHONPATH=path)
    assert code == 3
    assert "GATEWAY_CACHE_TTL: input should be a valid number" in err


@pytest.mark.parametrize(
    ("free_bytes", "workers", "expected"), [(1 << 20, 1, True), (1 << 20, 2, False), (0, 1, False)]
)
def test_room_for_metrics_is_a_megabyte_for_each_worker(free_bytes: int, workers: int, expected: bool) -> None:
    assert has_room(free_bytes, workers) is expected

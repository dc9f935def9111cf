"""The command line in other processes, with real ports and real signals."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from click.testing import CliRunner

from app import __version__
from app.__main__ import main
from tests.support.paths import SCHEMA_FILE

SERVE = ("-m", "app", "serve", "--port", "0")
DEMO = (*SERVE, "--demo")
UVICORN = ("-m", "uvicorn", "app.main:app", "--port", "0")
TENANTS = "{ sessions(first: 2) { nodes { tenantId } } }"
STOPPED = 30
"""Seconds after which a process that does not end fails the test."""


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    printed_first: str = ""
    """What it printed up to the line with the URL; a warning may come before or after that line."""

    def post(self, query: str, **headers: str) -> httpx.Response:
        return httpx.post(self.url, json={"query": query}, headers=headers, trust_env=False, timeout=STOPPED)

    def metrics(self) -> str:
        return httpx.get(self.url.replace("graphql", "metrics"), trust_env=False, timeout=STOPPED).text

    def tenants(self, **headers: str) -> set[str]:
        """Tenant ids of the sessions that these headers give access to."""
        data: dict[str, Any] = self.post(TENANTS, **headers).json()["data"]
        return {node["tenantId"] for node in data["sessions"]["nodes"]}

    def stopped(self, by: signal.Signals) -> tuple[int, str]:
        """Stop the process, and return its exit status and what it printed after it had started."""
        self.process.send_signal(by)
        # `communicate` would lose the lines that are in the buffer of `stderr` since its first lines were read.
        assert self.process.stdout
        assert self.process.stderr
        readers = ThreadPoolExecutor(2)
        rest = [readers.submit(each.read) for each in (self.process.stdout, self.process.stderr)]
        readers.shutdown(wait=False)
        printed = "".join(each.result(STOPPED) for each in rest)
        return self.process.wait(STOPPED), printed


def environment(**variables: str) -> dict[str, str]:
    """The environment of the test run, without settings of the gateway."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("GATEWAY_", "LANGSMITH_"))
    }
    return inherited | variables


def process(arguments: tuple[str, ...], cwd: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def announced(lines: IO[str]) -> tuple[str, str]:
    """URL of the GraphQL endpoint, from the first lines that a server prints, and these lines."""
    printed = ""
    for line in lines:
        printed += line
        if found := re.search(r"http://[\w.:\[\]]+", line):
            return found[0] + "/graphql", printed
    raise AssertionError(printed)


@contextlib.contextmanager
def running(*arguments: str, cwd: Path, **variables: str) -> Iterator[Server]:
    with process(arguments, cwd, **variables) as started:
        assert started.stderr is not None
        try:
            yield Server(started, *announced(started.stderr))
        finally:
            # Killing the group kills the workers too, which would outlive their supervisor.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


def printed_at_start(*arguments: str, cwd: Path, **variables: str) -> str:
    """What a server prints to standard error, if it is stopped as soon as it has said how."""
    with process(arguments, cwd, **variables) as started:
        assert started.stderr
        try:
            printed = "".join(iter_until("to stop", started.stderr))
            started.terminate()
            return printed + started.stderr.read()
        finally:
            started.kill()


def accept_interrupts() -> None:
    """Let SIGINT end a process that is about to start, also if the tests run in the background of a shell.

    A shell lets the commands that it starts with `&` ignore the signal, and whatever they start inherits that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def iter_until(text: str, lines: IO[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if text in line:
            return


def ended(*arguments: str, cwd: Path, **variables: str) -> tuple[int, str, str]:
    with process(arguments, cwd, **variables) as started:
        out, err = started.communicate(timeout=STOPPED)
        return started.returncode, out, err


def is_clean(printed: str) -> bool:
    return not re.search("traceback|error|exception|warning", printed, re.IGNORECASE)


def test_demo_serves_both_workspaces_without_settings_and_exits_with_0_on_sigterm(tmp_path: Path) -> None:
    # Settings in `.env` for another upstream and another way to authenticate do not affect the demo.
    (tmp_path / ".env").write_text(
        "LANGSMITH_ENDPOINT=http://127.0.0.1:9\nGATEWAY_AUTH=server\nGATEWAY_LOG_FORMAT=json\n"
    )
    with running(*DEMO, cwd=tmp_path, LANGSMITH_API_KEY="other") as server:
        default = server.tenants()
        assert len(default) == 1
        assert default == server.tenants(**{"x-api-key": "demo"})
        assert default.isdisjoint(server.tenants(**{"x-api-key": "demo-2"}))
        (error,) = server.post(TENANTS, **{"x-api-key": "other"}).json()["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        code, printed = server.stopped(by=signal.SIGTERM)
    assert code == 0
    assert is_clean(printed.replace("UNAUTHENTICATED", ""))
    assert printed.count('"event":"operation"') == 4


def test_two_workers_of_a_demo_add_up_their_metrics_and_exit_with_0_on_sigint(tmp_path: Path) -> None:
    with running(*DEMO, "--workers", "2", cwd=tmp_path) as server:
        with ThreadPoolExecutor(8) as clients:
            tenants = list(clients.map(lambda _: server.tenants(), range(24)))
        assert len(set.union(*tenants)) == 1
        # Either worker shows the total of both.
        for _ in range(8):
            assert 'gateway_operations_total{outcome="ok"} 24.0\n' in server.metrics()
        code, printed = server.stopped(by=signal.SIGINT)
    assert code == 0
    assert is_clean(printed)


def test_an_interrupted_command_ends_with_one_line_and_status_130(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "app", "check", "-")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        preexec_fn=accept_interrupts,  # noqa: PLW1509, as no thread of the tests runs now
    ) as started:
        assert started.stdin
        started.stdin.write(b" " * 1_000_000)  # more than the pipe holds, so the command is reading
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=STOPPED)
    assert (started.returncode, out, err) == (130, b"", b"Interrupted.\n")


def test_uvicorn_serves_the_app_with_settings_from_the_environment(tmp_path: Path) -> None:
    with running(*UVICORN, cwd=tmp_path, GATEWAY_INTROSPECTION="false", GATEWAY_MAX_ALIASES="1") as server:
        assert server.post("{ a: __typename }").json() == {"data": {"a": "Query"}}
        for query in ("{ __schema { queryType { name } } }", "{ a: __typename b: __typename }"):
            assert "data" not in server.post(query).json()
        _, printed = server.stopped(by=signal.SIGINT)
    assert is_clean(re.sub("outcome=[A-Z_]+", "", printed))


def test_a_bad_setting_stops_the_start_with_one_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_CACHE_TTL=soon\n")
    with ThreadPoolExecutor() as pool:
        commands = [pool.submit(ended, *command, cwd=tmp_path) for command in ((*SERVE, "--workers", "2"), UVICORN)]
    for command in commands:
        code, out, err = command.result()
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith("GATEWAY_CACHE_TTL: input should be a valid number")


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CliRunner]:
    """Runs commands that end before they serve anything, in this process."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    yield CliRunner()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("options", [[], ["--demo"], ["--workers", "2"], ["--demo", "--workers", "2"]])
def test_serve_refuses_an_unknown_setting_with_any_options(in_process: CliRunner, options: list[str]) -> None:
    printed = in_process.invoke(main, ["serve", "--port", "0", *options], env={"GATEWAY_CACHE_TTLS": "1"})
    assert printed.exit_code == 2
    assert printed.stdout == ""
    assert printed.stderr == (
        "GATEWAY_CACHE_TTLS: there is no such setting. Did you mean GATEWAY_CACHE_TTL? "
        "`sessions-gateway settings` lists them all.\n"
    )


def test_serve_reports_a_port_in_use(in_process: CliRunner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        printed = in_process.invoke(main, ["serve", "--port", str(port)])
    assert printed.exit_code == 1
    reason = f"Cannot listen on 127.0.0.1, port {port}: Address already in use. Choose another one with --port."
    assert printed.output == f"Error: {reason}\n"


def test_schema_prints_the_committed_schema_file() -> None:
    printed = CliRunner().invoke(main, ["schema"])
    assert printed.exit_code == 0
    assert printed.stdout == SCHEMA_FILE.read_text()
    assert printed.stderr == ""


def test_help_lists_commands_and_options() -> None:
    for arguments in (["--help"], ["-h"]):
        printed = CliRunner().invoke(main, arguments)
        assert printed.exit_code == 0
        assert "serve" in printed.output
        assert "schema" in printed.output
        assert "doctor" in printed.output
    printed = CliRunner().invoke(main, ["serve", "--help"])
    for option in ("--demo", "--own-key", "--host", "--port", "--workers"):
        assert option in printed.output
    assert CliRunner().invoke(main, ["--version"]).output.endswith(f"{__version__}\n")


SLOW_TO_IMPORT = {
    "strawberry",
    "graphql",
    "fastapi",
    "starlette",
    "uvicorn",
    "redis",
    "opentelemetry",
    "httpx",
    "limits",
}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["serve", "--help"], ["check", "--help"], ["doctor", "--help"], ["settings"]],
)
def test_command_that_serves_nothing_imports_no_large_library(tmp_path: Path, arguments: list[str]) -> None:
    program = (
        "import sys, contextlib\nfrom app.__main__ import main\n"
        f"with contextlib.suppress(SystemExit): main({arguments})\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    code, out, err = ended("-c", program, cwd=tmp_path)
    assert (code, bool(out)) == (0, True)
    loaded = {name.partition(".")[0] for name in err.split()}
    assert "click" in loaded
    assert loaded & SLOW_TO_IMPORT == set()


def test_a_gateway_imports_the_libraries_of_rate_limits_and_the_embedded_langsmith_only_if_they_are_used(
    tmp_path: Path,
) -> None:
    program = "import sys, app.main, app.command_line.serve; app.main.app; print(*sys.modules)"
    for settings, expected in (
        ({}, set()),
        ({"GATEWAY_CLIENT_RATE": "10/s"}, {"throttled"}),
        ({"GATEWAY_UPSTREAM_RATE": "10/s"}, {"limits"}),
    ):
        code, out, _ = ended("-c", program, cwd=tmp_path, **settings)
        assert code == 0
        assert {"throttled", "limits", "app.emulator"} & set(out.split()) == expected


async def test_demo_logs_nothing_about_fields_of_its_own(tmp_path: Path) -> None:
    with running(*DEMO, cwd=tmp_path) as server:
        assert len(server.tenants()) == 1
        _, printed = server.stopped(by=signal.SIGTERM)
    assert "operation" in printed
    assert "unknown_field" not in printed


@pytest.mark.parametrize("arguments", [["nope"], ["serve", "--port", "x"], ["serve", "--workers", "0"], ["serve", "a"]])
def test_an_invalid_argument_prints_the_usage(arguments: list[str]) -> None:
    printed = CliRunner().invoke(main, arguments)
    assert printed.exit_code == 2
    assert "Usage:" in printed.stderr

"""The command line: `sessions-gateway serve`, `schema` and `check`; `python -m app` is the same."""

import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from app import __version__
from app.check import CheckedOperation, CheckInputError, Report, check, sources_at
from app.emulator import Emulator, serving_in_thread
from app.errors import SettingsError
from app.http.uvicorn_protocol import Protocol
from app.main import DEMO_ENDPOINT, create_configured, create_demo
from app.observability.metrics import DIRECTORY
from app.schema.query import create_schema
from app.settings import Settings

_GRACE: Final = 25
"""Seconds that operations under way have to end; who stops a container kills it after 30."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A GraphQL gateway in front of LangSmith's tracing projects and experiments."""


@main.command()
@click.option(
    "--demo", is_flag=True, help="Serve an embedded LangSmith with made-up data: needs no key and no network."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes to serve with.")
def serve(*, demo: bool, host: str, port: int, workers: int) -> None:
    """Serve the gateway."""
    # uvicorn ends with the signal that stopped it, and whoever sent it takes that for a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        _demo() if demo else nullcontext(create_configured) as create,
        _listening(host, port) as listening,
        nullcontext() if workers == 1 or DIRECTORY in os.environ else _counting_together(),
    ):
        # Made here even if workers make their own: a bad setting is told once.
        app = create()
        config = uvicorn.Config(
            app if workers == 1 else f"{create.__module__}:{create.__name__}",
            factory=workers > 1,
            workers=workers,
            http=Protocol,
            ws="none",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=_GRACE,
        )
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}/graphql"
        click.echo(f"GraphQL at {url}" + (", over made-up data" if demo else ""), err=True)
        with suppress(KeyboardInterrupt):
            if workers == 1:
                uvicorn.Server(config).run([listening])
            else:
                _Workers(config, [listening]).run()


@main.command()
def schema() -> None:
    """Print the schema in GraphQL's own language (SDL)."""
    click.echo(create_schema().as_str())


@main.command("check")
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option("--variables", type=click.File(encoding="utf-8-sig"), help="JSON: by operation, its variables.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_documents(*, patterns: tuple[str, ...], variables: IO[str] | None, as_json: bool) -> None:
    """Check operations, and tell what each asks of LangSmith at most.

    PATTERN is a path, '-', or such as 'src/**/*.graphql' (quoted). The limits are those of the environment and `.env`.
    Ends with 1 if there are errors, and with 2 if there is nothing to check. Needs no key and no network.
    """
    try:
        sources = sources_at(patterns, sys.stdin.buffer.read)
        report = check(sources, Settings.load(), _by_operation(variables))
    except CheckInputError as exc:
        raise click.UsageError(str(exc)) from None
    except SettingsError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from None
    click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False) if as_json else "\n".join(_told(report)))
    raise SystemExit(1 if report.errors else 0)


def _by_operation(variables: IO[str] | None) -> dict[str, dict[str, Any]]:
    try:
        given = json.load(variables) if variables else {}
    except ValueError as exc:
        raise click.UsageError(f"--variables: it is not JSON in UTF-8: {exc}.") from None
    if not isinstance(given, dict) or not all(isinstance(each, dict) for each in given.values()):
        raise click.UsageError('--variables: it must be as {"Projects": {"first": 50}}.')
    return given


def _told(report: Report) -> Iterator[str]:
    titles = [f"{each.kind} {each.name or '(anonymous)'}" for each in report.operations]
    widths = [max(map(len, column), default=0) for column in (titles, [str(each.place) for each in report.operations])]
    for title, each in zip(titles, report.operations, strict=True):
        cost = "not run" if each.cost is None else f"cost {each.cost} of {report.max_cost}"
        yield f"{click.style(title.ljust(widths[0]), bold=True)}  {str(each.place).ljust(widths[1])}  {cost}"
        for asked, times in Counter(map(str, each.requests)).items():
            yield f"  {asked}" + (f"  ({times} times)" if times > 1 else "")
        yield from (f"  {click.style(line, dim=True)}" for line in _unknown(each))
    if report.operations:
        yield ""
    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        yield f"{finding.place}: {click.style(finding.severity, fg=colour)}: {finding}"
    requests = sum(len(each.requests) for each in report.operations)
    counts = ((len(titles), "operation"), (requests, "request"), (report.errors, "error"), (report.warnings, "warning"))
    yield ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts)


def _unknown(operation: CheckedOperation) -> Iterator[str]:
    if operation.assumed:
        values = (
            f"any ${name}" if value == f"<${name}>" else f"${name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in operation.assumed.items()
        )
        yield f"assumed: {', '.join(values)}"
    if operation.variables.left_out:
        yield f"left out: {', '.join(f'${name}' for name in operation.variables.left_out)}"


class _Workers(Multiprocess):
    """uvicorn's, which hears no second signal while it waits for its workers to end."""

    def join_all(self) -> None:
        while running := [each.process for each in self.processes if each.process.is_alive()]:
            if {signal.SIGINT, signal.SIGTERM}.intersection(self.signal_queue):
                for process in running:
                    process.kill()
            running[0].join(timeout=0.1)


@contextmanager
def _demo() -> Iterator[Callable[[], Any]]:
    """Runs the embedded LangSmith in this process; workers, which are other processes, find it by the environment."""
    with serving_in_thread(Emulator()) as url:
        os.environ[DEMO_ENDPOINT] = url
        yield create_demo


@contextmanager
def _counting_together() -> Iterator[None]:
    """Workers count in files; this process, which counts nothing, has decided that when it began."""
    try:
        directory = TemporaryDirectory(prefix="sessions-gateway-", ignore_cleanup_errors=True)
    except OSError as exc:
        raise click.ClickException(f"Workers count together in a temporary directory: {exc.strerror}.") from None
    with directory as path:
        os.environ[DIRECTORY] = path
        try:
            yield
        finally:
            del os.environ[DIRECTORY]


def _listening(host: str, port: int) -> socket.socket:
    """Taken here rather than by uvicorn, so that the port that is printed is the one that answers."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Those that are accepted inherit it: asyncio sets it for sockets of its own only.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as exc:
        listening.close()
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {exc.strerror}.") from None
    return listening


if __name__ == "__main__":
    main(prog_name="sessions-gateway")

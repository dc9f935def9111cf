"""The command line: `sessions-gateway serve`, `schema` and `check`. `python -m app` is the same."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from app import __version__
from app.check import CheckInputError, check, read_sources, text_lines
from app.emulator import Emulator, serving_in_thread
from app.errors import SettingsError
from app.http.protocol_selection import select_http_protocol
from app.main import DEMO_ENDPOINT, create_configured, create_demo
from app.observability.metrics import MULTIPROCESS_DIRECTORY
from app.schema.query import create_schema
from app.settings import Settings

_SHUTDOWN_SECONDS: Final = 25
"""Time for operations in flight to finish. It is below the 30 seconds after which Kubernetes kills a container."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """A GraphQL gateway in front of LangSmith's tracing projects and experiments."""


@main.command()
@click.option(
    "--demo", is_flag=True, help="Serve generated data from an embedded LangSmith. Needs no API key and no network."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 chooses a free one.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Number of worker processes."
)
def serve(*, demo: bool, host: str, port: int, workers: int) -> None:
    """Start the gateway. It is configured by environment variables and `.env`."""
    # uvicorn raises the signal that stopped it again, and an exit by signal looks like a crash. Exit with 0 instead.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        _embedded_langsmith() if demo else nullcontext(create_configured) as create,
        _listen(host, port) as listener,
        nullcontext() if workers == 1 or MULTIPROCESS_DIRECTORY in os.environ else _metrics_directory(),
    ):
        # With several workers, each creates an app of its own. This one checks the settings, so that a bad setting is
        # reported once, by this process.
        app = create()
        config = uvicorn.Config(
            app if workers == 1 else f"{create.__module__}:{create.__name__}",
            factory=workers > 1,
            workers=workers,
            http=select_http_protocol(app.log),
            ws="none",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        shown_host = f"[{host}]" if ":" in host else host
        url = f"http://{shown_host}:{listener.getsockname()[1]}/graphql"
        click.echo(f"GraphQL at {url}" + (", with generated data" if demo else ""), err=True)
        with suppress(KeyboardInterrupt):
            if workers == 1:
                uvicorn.Server(config).run([listener])
            else:
                _Workers(config, [listener]).run()


@main.command()
def schema() -> None:
    """Print the GraphQL schema in the schema definition language (SDL)."""
    click.echo(create_schema().as_str())


@main.command("check")
@click.argument("patterns", nargs=-1, required=True, metavar="PATTERN...")
@click.option(
    "--variables",
    type=click.File(encoding="utf-8-sig"),
    help='JSON file with variables by operation name: {"Projects": {"first": 50}}.',
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check_documents(*, patterns: tuple[str, ...], variables: IO[str] | None, as_json: bool) -> None:
    """Validate GraphQL operations, and show which requests each sends to LangSmith with an empty cache.

    PATTERN is a path, a quoted glob pattern such as 'src/**/*.graphql', or - for the standard input. The limits are
    read from environment variables and `.env`, as for `serve`. Needs no API key and no network.

    The exit status is 0 if there are no errors, 1 if there are errors, and 2 if the check could not run.
    """
    try:
        sources = read_sources(patterns, sys.stdin.buffer.read)
        report = check(sources, Settings.load(), _read_variables(variables))
    except CheckInputError as exc:
        raise click.UsageError(str(exc)) from None
    except SettingsError as exc:
        click.echo(exc, err=True)
        raise SystemExit(2) from None
    click.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False) if as_json else "\n".join(text_lines(report)))
    raise SystemExit(1 if report.error_count else 0)


def _read_variables(file: IO[str] | None) -> dict[str, dict[str, Any]]:
    """Variables by operation name."""
    try:
        variables = json.load(file) if file else {}
    except ValueError as exc:
        raise click.UsageError(f"--variables: the file is not JSON in UTF-8: {exc}.") from None
    if not isinstance(variables, dict) or not all(isinstance(each, dict) for each in variables.values()):
        raise click.UsageError('--variables: the file must look like {"Projects": {"first": 50}}.')
    return variables


class _Workers(Multiprocess):
    """uvicorn's supervisor of worker processes, which a second signal stops without waiting for the workers.

    uvicorn's own version ignores signals while it waits for its workers to finish.
    """

    def join_all(self) -> None:
        while running := [each.process for each in self.processes if each.process.is_alive()]:
            if {signal.SIGINT, signal.SIGTERM}.intersection(self.signal_queue):
                for process in running:
                    process.kill()
            running[0].join(timeout=0.1)


@contextmanager
def _embedded_langsmith() -> Iterator[Callable[[], Any]]:
    """Run the embedded LangSmith in this process, and yield the factory of the demo app.

    Worker processes learn its URL from the environment.
    """
    with serving_in_thread(Emulator()) as url:
        os.environ[DEMO_ENDPOINT] = url
        yield create_demo


@contextmanager
def _metrics_directory() -> Iterator[None]:
    """Give the workers a temporary directory to add up their metrics in.

    Only processes that start with the variable set use it, so it does not affect this process, which serves nothing.
    """
    try:
        directory = TemporaryDirectory(prefix="sessions-gateway-", ignore_cleanup_errors=True)
    except OSError as exc:
        raise click.ClickException(
            f"Cannot create a temporary directory for the metrics of the workers: {exc.strerror}."
        ) from None
    with directory as path:
        os.environ[MULTIPROCESS_DIRECTORY] = path
        try:
            yield
        finally:
            del os.environ[MULTIPROCESS_DIRECTORY]


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. It is bound here, before uvicorn starts, so that the printed port is the real one."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit TCP_NODELAY. asyncio sets it only on sockets that it has created itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as exc:
        listener.close()
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {exc.strerror}.") from None
    return listener


if __name__ == "__main__":
    main(prog_name="sessions-gateway")

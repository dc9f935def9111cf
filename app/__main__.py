"""The command line: `sessions-gateway serve`, `sessions-gateway schema`; `python -m app` is the same."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import uvicorn

from app import __version__
from app.emulator import Emulator, serving_in_thread
from app.main import DEMO_ENDPOINT
from app.schema import create_schema
from app.settings import Settings, SettingsError


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
    try:
        Settings.load()
    except SettingsError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - there is no log yet
        raise SystemExit(2) from None
    with _demo() if demo else _as_configured() as factory:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"GraphQL at http://{shown}:{port}/graphql" + (", over made-up data" if demo else ""), err=True)
        uvicorn.run(
            factory,
            factory=True,
            host=host,
            port=port,
            workers=workers,
            access_log=False,
            server_header=False,
            log_level="warning",
            loop="auto",
            http="auto",
        )


@main.command()
def schema() -> None:
    """Print the schema in GraphQL's own language (SDL)."""
    click.echo(create_schema().as_str())


@contextmanager
def _as_configured() -> Iterator[str]:
    yield "app.main:create_configured"


@contextmanager
def _demo() -> Iterator[str]:
    """Runs the embedded LangSmith in this process; workers, which are other processes, find it by the environment."""
    with serving_in_thread(Emulator()) as url:
        os.environ[DEMO_ENDPOINT] = url
        yield "app.main:create_demo"


if __name__ == "__main__":
    main(prog_name="sessions-gateway")

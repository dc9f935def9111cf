"""The command line: `sessions-gateway serve`, `sessions-gateway schema`; `python -m app` is the same."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from app import __version__
from app.emulator import Emulator, serving_in_thread
from app.main import DEMO_ENDPOINT, create_configured, create_demo
from app.protocol import Protocol
from app.schema import create_schema

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
    with _demo() if demo else nullcontext(create_configured) as create, _listening(host, port) as listening:
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

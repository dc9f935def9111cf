"""`sessions-gateway serve`: the listening socket, the process or processes that serve it, and the exit status."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app.command_line.announcement import announcement
from app.command_line.metrics_directory import metrics_directory
from app.command_line.own_key import own_key_environment, with_loopback_hosts_only
from app.command_line.workers import HEALTH_CHECK_SECONDS, Workers, end_with_supervisor
from app.http.protocol_selection import select_http_protocol
from app.http.server import GatewayApp
from app.main import DEMO_ENDPOINT, create_app_from_environment, create_demo
from app.settings import Settings

SHUTDOWN_SECONDS: Final = 25
"""Time for operations in flight to finish. It is below the 30 seconds after which Kubernetes kills a container."""


def serve(*, demo: bool, own_key: bool, host: str, port: int, workers: int) -> None:
    """Serve until a signal comes.

    Args:
        demo: whether to serve the embedded LangSmith.
        own_key: whether to serve everyone on this machine with the gateway's key.
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        workers: number of processes.

    Raises SettingsError for wrong settings, ClickException if the socket cannot be used, and SystemExit.
    """
    # An exit by signal looks like a crash. Exit with 0 instead.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        _embedded_langsmith() if demo else nullcontext(),
        own_key_environment(host) if own_key else nullcontext(),
        _listen(host, port) as listener,
    ):
        # With several workers, each creates an app of its own. This one checks the settings, so that a bad setting is
        # reported once, by this process.
        app = _create_app()
        config = uvicorn.Config(
            app if workers == 1 else f"{__name__}:{create_worker_app.__name__}",
            factory=workers > 1,
            workers=workers,
            http=select_http_protocol(app.log),
            ws="none",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_worker_healthcheck=HEALTH_CHECK_SECONDS,
        )
        settings = None if demo else Settings.load()
        lines = announcement(host, listener.getsockname()[1], settings, workers)
        serve_until_signal = _serve_in_workers if workers > 1 else _serve_here
        with suppress(KeyboardInterrupt):
            if not serve_until_signal(config, listener, app, lambda: click.echo("\n".join(lines), err=True)):
                raise SystemExit(STARTUP_FAILURE)


def create_worker_app() -> GatewayApp:
    """The app of a worker process, which ends when the supervisor does."""
    end_with_supervisor()
    return _create_app()


def _create_app() -> GatewayApp:
    app = create_demo() if DEMO_ENDPOINT in os.environ else create_app_from_environment()
    app.asgi_app = with_loopback_hosts_only(app.asgi_app)
    return app


def _serve_here(
    config: uvicorn.Config, listener: socket.socket, _app: GatewayApp, announce: Callable[[], None]
) -> bool:
    """Serve in this process. Returns whether the app could start.

    `announce`: called when a signal ends the server properly. Before, it raises an exception, which is lost if it comes
    while the event loop starts.
    """
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    announce()
    server.run([listener])
    return server.started


def _serve_in_workers(
    config: uvicorn.Config, listener: socket.socket, app: GatewayApp, announce: Callable[[], None]
) -> bool:
    """Serve in worker processes. Returns whether the app could start. `announce`: as for `_serve_here`."""
    with metrics_directory(app.log) as metrics:
        workers = Workers(config, listener, app.log, metrics)
        announce()
        workers.run()
    return not workers.failed_to_start


@contextmanager
def _embedded_langsmith() -> Iterator[None]:
    """Run the embedded LangSmith in this process. The factory of the app learns its URL from the environment."""
    from app.emulator import Emulator, serving_in_thread  # noqa: PLC0415 - only the demo needs it

    emulator = Emulator()
    with serving_in_thread(emulator) as url:
        os.environ[DEMO_ENDPOINT] = url
        try:
            yield
        finally:
            del os.environ[DEMO_ENDPOINT]


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
        hint = " Choose another one with --port." if exc.errno == errno.EADDRINUSE else ""
        raise click.ClickException(f"Cannot listen on {host}, port {port}: {exc.strerror}.{hint}") from None
    return listener

"""Graceful shutdown, in which no client loses a request.

After SIGTERM, the process reports "not ready", and its answers say `Connection: close`, so that clients send their next
request elsewhere. New connections are accepted for one more second, until a load balancer has seen the failing
readiness probe. Then the listening sockets are closed, requests in flight are completed, and idle connections are
closed when their keep-alive time is over, as at any other time. A second SIGTERM ends the process at once.

SIGINT does the same without the second, and closes idle connections at once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import uvicorn

DRAIN_SECONDS: Final = 1.0
"""Time between the first SIGTERM and the server's own shutdown."""
GRACEFUL_SHUTDOWN: Final = "graceful_shutdown"
"""Key in the application's state (what its lifespan yields) under which the protocol finds the GracefulShutdown."""
CONNECTION: Final = "connection"
"""Key in a request's `scope["state"]` of a weak reference to its connection, which has `may_close_after_response`."""

SignalHandler = Callable[[int, FrameType | None], Any]


class GracefulShutdown:
    """Whether the process is about to end. `closes_idle`: whether it does not wait for idle connections."""

    __slots__ = ("closes_idle", "has_begun")

    def __init__(self) -> None:
        self.has_begun = False
        self.closes_idle = False

    def closes(self, state: dict[str, Any]) -> bool:
        """Whether the response that starts now is to be the last one of its connection.

        `state`: the request's `scope["state"]`. Requests that are pipelined behind this one are answered too.
        """
        if not self.has_begun:
            return False
        connection = state[CONNECTION]() if CONNECTION in state else None
        return connection is None or connection.may_close_after_response


@contextlib.contextmanager
def draining(shutdown: GracefulShutdown, *, seconds: float = DRAIN_SECONDS) -> Iterator[None]:
    """Begin `shutdown` with the first signal, and delay the server's own handler of SIGTERM.

    Without a handler of a server, or outside the main thread, signals are left alone.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    server_handler = before[signal.SIGTERM]
    if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
        yield
        return
    logging.getLogger("uvicorn.error").addFilter(is_no_cancellation)
    handler = _SignalHandler(shutdown, server_handler, seconds)
    for number in before:
        signal.signal(number, handler)
    handler.repeat_early_signal()
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def is_no_cancellation(record: logging.LogRecord) -> bool:
    """Filter of uvicorn's log, which would show a traceback for whatever is cancelled when the process ends."""
    exc = record.exc_info[1] if record.exc_info else None
    return not isinstance(exc, asyncio.CancelledError) and not record.getMessage().rstrip().endswith("CancelledError")


class _SignalHandler:
    """Handler of SIGTERM and SIGINT. `server_handler`: the server's own, which ends the server."""

    def __init__(self, shutdown: GracefulShutdown, server_handler: SignalHandler, seconds: float) -> None:
        self._shutdown = shutdown
        self._server_handler = server_handler
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._has_sigterm = False
        self._finishing: asyncio.Task[None] | None = None

    @property
    def _server(self) -> uvicorn.Server | None:
        """uvicorn's server, whose method is the handler; None for another server."""
        server = getattr(self._server_handler, "__self__", None)
        return server if isinstance(server, uvicorn.Server) else None

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        self._shutdown.has_begun = True
        if self._has_sigterm:
            self._server_handler(number, frame)
            self._server_handler(signal.SIGINT, frame)  # after SIGINT, uvicorn does not wait for requests in flight
        elif number == signal.SIGTERM:
            self._has_sigterm = True
            self._loop.call_soon_threadsafe(self._loop.call_later, self._seconds, self._start_finishing)
        else:
            self._shutdown.closes_idle = True
            self._server_handler(number, frame)

    def repeat_early_signal(self) -> None:
        """Handle a signal that came while the app was loaded. The server has noted it to end without serving."""
        if self._server and self._server.should_exit:
            self._server.should_exit = False
            self(signal.SIGTERM)

    def _start_finishing(self) -> None:
        self._finishing = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        if self._server:
            await stop_listening(self._server)
        self._server_handler(signal.SIGTERM, None)


async def stop_listening(server: uvicorn.Server) -> None:
    """Close the listening sockets. Connections that wait there to be accepted are served, instead of being reset."""
    loop = asyncio.get_running_loop()
    waiting: list[socket.socket] = []
    for each in server.servers:
        for listener in each.sockets:
            waiting += _accept_waiting(listener.fileno())
        each.close()

    def create_protocol() -> asyncio.Protocol:
        create: Callable[..., asyncio.Protocol] = server.config.http_protocol_class
        return create(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)

    connecting = [loop.connect_accepted_socket(create_protocol, each, ssl=server.config.ssl) for each in waiting]
    await asyncio.gather(*connecting, return_exceptions=True)


def _accept_waiting(listening_fd: int) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(listening_fd)) as listener:
        listener.setblocking(False)
        with contextlib.suppress(OSError):
            while True:
                yield listener.accept()[0]

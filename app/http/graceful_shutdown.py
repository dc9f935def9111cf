"""Graceful shutdown on SIGTERM: the process first reports "not ready", and stops accepting traffic a little later.

The delay lets a load balancer see the failing readiness probe. A second SIGTERM ends the process at once.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

DRAIN_SECONDS: Final = 1.0
"""Time between the first SIGTERM and the server's own shutdown."""


@contextlib.contextmanager
def draining(start_draining: Callable[[], None], *, seconds: float = DRAIN_SECONDS) -> Iterator[None]:
    """Delay the server's handler of SIGTERM; `start_draining` is called with the first signal.

    Without a handler of a server, or outside the main thread, signals are left alone.
    """
    server_handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
        yield
        return
    loop = asyncio.get_running_loop()
    is_draining = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_draining
        if is_draining:
            server_handler(number, frame)
            server_handler(signal.SIGINT, frame)  # after SIGINT, uvicorn does not wait for requests in flight
        else:
            is_draining = True
            start_draining()
            loop.call_soon_threadsafe(loop.call_later, seconds, server_handler, number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, server_handler)

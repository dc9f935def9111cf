"""SIGTERM in two steps: first the process says that it takes no more traffic, a little later it takes none.

In between a load balancer has seen it. A second signal ends the process at once.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

SECONDS: Final = 1.0
"""Between the two."""


@contextlib.contextmanager
def draining(begin: Callable[[], None], *, seconds: float = SECONDS) -> Iterator[None]:
    """Goes before the handler that the server has set. `begin` is called with the first signal."""
    stop = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(stop):
        yield  # no server of ours runs here
        return
    loop = asyncio.get_running_loop()
    is_draining = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_draining
        if is_draining:
            stop(number, frame)
            stop(signal.SIGINT, frame)  # uvicorn waits for nothing after that
        else:
            is_draining = True
            begin()
            loop.call_soon_threadsafe(loop.call_later, seconds, stop, number, frame)

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, stop)

"""Virtual time: an event loop whose clock jumps to the next timer as soon as no callback is ready."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_START: Final = 1000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without I/O. Waiting for something that only a socket could deliver is an error."""

    def __init__(self) -> None:
        self._now = _START
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, without waiting for its timers, and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Deadlock: every task waits, and no timer is set.")
        self._loop.advance(max(timeout, 0.0))
        return []

"""Time that nobody waits for: an event loop whose clock goes on to the next timer when nothing is left to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_BEGINNING: Final = 1000.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """Without I/O: what nothing but a socket could wake is an error."""

    def __init__(self) -> None:
        self._now = _BEGINNING
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._now

    def go_on(self, seconds: float) -> None:
        self._now += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """Its outcome, in no time but that of its own steps."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everybody waits for something that will never come.")
        self._loop.go_on(max(timeout, 0.0))
        return []

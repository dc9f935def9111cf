"""CooperativeScheduler: pieces of work that each take milliseconds run in different iterations of the event loop."""

import asyncio
from collections import deque


class CooperativeScheduler:
    """Hands out one slot per iteration of the event loop, in the order in which they were asked for.

    Many answers can arrive in the same iteration. If each is worked on in a slot, other clients are served between two
    of them. A slot is had at once, unless another one was had in the same iteration.
    """

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def wait_for_slot(self) -> None:
        """Wait for a slot, which lasts until the caller awaits something else."""
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._pass_on)
            return
        slot = loop.create_future()
        self._waiting.append(slot)
        await slot

    def _pass_on(self) -> None:
        while self._waiting:
            slot = self._waiting.popleft()
            if not slot.done():  # it is done if its caller was cancelled
                slot.set_result(None)
                asyncio.get_running_loop().call_soon(self._pass_on)
                return
        self._is_taken = False

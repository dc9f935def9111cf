"""FirstAnswerGate: until an operation has its first answer, only a few of its requests to LangSmith are sent.

LangSmith refuses a credential at every request. The first refusal decides for the rest of the operation, which is not
sent: one operation with a made-up key could otherwise cause a hundred requests. The gateway's own key is not made up:
if LangSmith denies it what one root field asks for, the others are still read.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from app.errors import ForbiddenError, GatewayError, UnauthenticatedError, UpstreamTimeoutError
from app.resilience.eager_task import become_task

T = TypeVar("T")

MAX_BEFORE_ANSWER: Final = 8
"""Reads that begin before the first one has ended. An ordinary dashboard has fewer, and never waits."""
_REFUSALS: Final = (UnauthenticatedError, ForbiddenError)


class FirstAnswerGate:
    """All reads of one operation pass through it. Each must cause at most one request while the gate is closed.

    `is_gateways_own`: whether the credential is the gateway's own, so that a denied access does not decide.
    """

    def __init__(self, *, is_gateways_own: bool = False) -> None:
        self._decisive = UnauthenticatedError if is_gateways_own else _REFUSALS
        self._begun = 0
        self._refusal: GatewayError | None = None
        self._answered = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether every read may begin at once."""
        return self._refusal is None and self._answered.is_set()

    async def read(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """The result of the work, which begins when the gate lets it. Raises its error, or the refusal before it.

        `deadline`: time of the event loop's clock until which the work waits to begin; then UpstreamTimeoutError.
        """
        if self.is_open:
            return await work
        try:
            await self._wait_for_turn(deadline)
            return await self._run(work)
        finally:
            work.close()  # without effect, unless the work never began

    async def _wait_for_turn(self, deadline: float) -> None:
        if self._begun >= MAX_BEFORE_ANSWER:
            await become_task()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._answered.wait()
            except TimeoutError as exc:
                raise UpstreamTimeoutError("LangSmith took too long to answer.") from exc
        if self._refusal:
            raise self._refusal
        self._begun += 1

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except self._decisive as exc:
            # After a success, a refusal says nothing about the other requests.
            if not self._answered.is_set():
                self._refusal = exc
            raise
        finally:
            self._answered.set()

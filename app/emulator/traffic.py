"""What tests see of the requests, and may do to them: watch, delay, hold, and spoil.

A request is recorded when it arrives, and takes its fault then; it is answered after
the latency, and after the gate that was up on its arrival. A client that hangs up in
the meantime is counted, and gets no answer.
"""

import asyncio
import gzip
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(kw_only=True)
class Recorded:
    """One request; `status` is None until it is answered, and stays None when nobody waits for it."""

    path: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    method: str = "GET"
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with an answer; each part that is given replaces that part of the right one.

    `rewrite` gets the decoded body of a right answer and returns, or changes, what is
    sent instead. `hang_up` ends the connection: before the answer, or within `body`
    when there is one. It lasts for `times` requests, or for ever (None).
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    rewrite: Callable[[Any], Any] | None = None
    hang_up: bool = False
    times: int | None = 1


@dataclass(frozen=True)
class Answer:
    """An answer before it is sent: JSON, unless its headers say otherwise."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Traffic(ABC):
    """The knobs, around an `answer` that subclasses give."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.faults: list[Fault] = []
        self.latency = 0.0
        """Seconds before each answer."""
        self.hold: asyncio.Event | None = None
        self.cancelled = 0
        """How many clients hung up before their answer."""
        self._change = asyncio.Condition()

    @abstractmethod
    def answer(self, request: Recorded) -> Answer:
        """The right answer to a request."""

    @property
    def app(self) -> ASGIApp:
        return self

    def pause(self) -> asyncio.Event:
        """Hold every request from now on, until the event is set."""
        self.hold = asyncio.Event()
        return self.hold

    async def arrived(self, count: int) -> None:
        """Wait until `count` requests in all have been recorded."""
        async with self._change:
            await self._change.wait_for(lambda: len(self.requests) >= count)

    async def hung_up(self, count: int) -> None:
        """Wait until `count` clients in all have hung up."""
        async with self._change:
            await self._change.wait_for(lambda: self.cancelled >= count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The emulator speaks HTTP, not {scope['type']}.")
        request, fault, gate = self._record(scope), self._fault(), self.hold
        await self._notify()
        if not await _unless_disconnected(self._wait(gate), receive):
            self.cancelled += 1
            await self._notify()
            return
        answer = self._spoiled(request, fault) if fault else self.answer(request)
        if fault and fault.hang_up:
            await _hang_up(scope, receive, send, answer if fault.body else None)
            return
        if "gzip" in request.headers.get("accept-encoding", "") and (fault is None or fault.body is None):
            answer = _compressed(answer)
        request.status = answer.status
        await send(_start(answer, length=len(answer.body)))
        await send({"type": "http.response.body", "body": answer.body})

    def _record(self, scope: Scope) -> Recorded:
        request = Recorded(
            path=scope["path"],
            params=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
            method=scope["method"],
        )
        self.requests.append(request)
        return request

    def _fault(self) -> Fault | None:
        if not self.faults:
            return None
        fault = self.faults[0]
        if fault.times is not None:
            self.faults[:1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
        return fault

    async def _notify(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def _wait(self, gate: asyncio.Event | None) -> None:
        if self.latency:
            await asyncio.sleep(self.latency)
        if gate is not None:
            await gate.wait()

    def _spoiled(self, request: Recorded, fault: Fault) -> Answer:
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            body = fault.body
            if body is None:
                body = orjson.dumps({"detail": HTTPStatus(status).phrase})
            return Answer(status, body, fault.headers)
        answer = self.answer(request)
        body = answer.body
        if fault.rewrite is not None and answer.status == HTTPStatus.OK:
            rows = orjson.loads(body)
            rewritten = fault.rewrite(rows)
            body = orjson.dumps(rows if rewritten is None else rewritten)
        return Answer(answer.status, body, {**answer.headers, **fault.headers})


async def _unless_disconnected(waiting: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Whether the wait was over before the client hung up."""
    tasks = asyncio.create_task(waiting), asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: Scope, receive: Receive, send: Send, answer: Answer | None) -> None:
    if answer is not None:
        await send(_start(answer, length=len(answer.body) + 1))
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    scope["extensions"]["hang_up"]()
    await _disconnect(receive)


def _compressed(answer: Answer) -> Answer:
    if len(answer.body) < 1000:
        return answer
    headers = {**answer.headers, "content-encoding": "gzip", "vary": "Accept-Encoding"}
    return Answer(answer.status, gzip.compress(answer.body, compresslevel=1, mtime=0), headers)


def _start(answer: Answer, *, length: int) -> dict[str, Any]:
    headers = {"content-type": "application/json", "content-length": str(length)}
    headers |= {name.lower(): value for name, value in answer.headers.items()}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": answer.status, "headers": encoded}

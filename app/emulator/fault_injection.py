"""An ASGI app that tests control: it records requests, delays or pauses them, and injects faults into responses.

A request is recorded when it arrives, and takes the next fault at that time. It is answered after `latency` seconds,
and after the pause that applied on its arrival has ended. A client that disconnects before is counted, and gets
no response.
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
from starlette.types import Receive, Scope, Send


@dataclass(kw_only=True)
class RecordedRequest:
    """A request. `status` is None until it is answered, and stays None if the client disconnects before."""

    path: str
    params: list[tuple[str, str]]
    headers: dict[str, str]
    method: str = "GET"
    status: int | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault to inject. Each part that is given replaces that part of the correct response.

    Args:
        status: HTTP status.
        body: Raw body.
        headers: Additional headers.
        rewrite: Changes the decoded JSON body of a successful response in place, or returns a new one.
        hang_up: Close the connection: before the response, or in the middle of `body` if it is given.
        times: Number of requests that get the fault; None for all.
        path: Only requests whose path begins with this text get the fault.
    """

    status: int | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    rewrite: Callable[[Any], Any] | None = None
    hang_up: bool = False
    times: int | None = 1
    path: str = ""


@dataclass(frozen=True)
class Response:
    """A response before it is sent. Its content type is JSON, unless `headers` contain another."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class FaultInjectingApp(ABC):
    """The controls of the emulator, around the `respond` method of a subclass.

    Attributes:
        requests: Every request so far. Tests may clear the list.
        faults: Faults to inject. Requests get the first one for their path, until it has been injected `times` times.
        latency: Seconds before each response.
        disconnects: Number of clients that disconnected before their response.
    """

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.disconnects = 0
        self._pause: asyncio.Event | None = None
        self._is_paused: Callable[[RecordedRequest], bool] = lambda _: True
        self._change = asyncio.Condition()

    @abstractmethod
    def respond(self, request: RecordedRequest) -> Response:
        """The correct response to a request."""

    @abstractmethod
    def error_response(self, request: RecordedRequest, status: int) -> Response:
        """The response to a request that a fault gives an error status, and no body."""

    @abstractmethod
    def latency_of(self, request: RecordedRequest) -> float:
        """Seconds before the response to a request."""

    def pause(self, applies: Callable[[RecordedRequest], bool] = lambda _: True) -> asyncio.Event:
        """Pause the requests that arrive from now on, all or those to which it applies, until the event is set."""
        self._pause, self._is_paused = asyncio.Event(), applies
        return self._pause

    async def wait_for_requests(self, count: int) -> None:
        """Wait until `requests` has at least `count` requests."""
        async with self._change:
            await self._change.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_disconnects(self, count: int) -> None:
        """Wait until at least `count` clients have disconnected before their response."""
        async with self._change:
            await self._change.wait_for(lambda: self.disconnects >= count)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"The emulator supports HTTP, not {scope['type']}.")
        request, fault = self._record(scope), self._take_fault(scope["path"])
        pause = self._pause if self._is_paused(request) else None
        await self._notify()
        if not await _finishes_before_disconnect(_delay(self.latency_of(request), pause), receive):
            self.disconnects += 1
            await self._notify()
            return
        response = self._faulty_response(request, fault) if fault else self.respond(request)
        if fault and fault.hang_up:
            await _hang_up(scope, receive, send, response if fault.body else None)
            return
        if "gzip" in request.headers.get("accept-encoding", "") and (fault is None or fault.body is None):
            response = _compress(response)
        request.status = response.status
        await send(_response_start(response, length=len(response.body)))
        await send({"type": "http.response.body", "body": response.body})

    def _record(self, scope: Scope) -> RecordedRequest:
        request = RecordedRequest(
            path=scope["path"],
            params=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
            method=scope["method"],
        )
        self.requests.append(request)
        return request

    def _take_fault(self, path: str) -> Fault | None:
        for index, fault in enumerate(self.faults):
            if path.startswith(fault.path):
                if fault.times is not None:
                    self.faults[index : index + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                return fault
        return None

    async def _notify(self) -> None:
        async with self._change:
            self._change.notify_all()

    def _faulty_response(self, request: RecordedRequest, fault: Fault) -> Response:
        if fault.status is not None or fault.body is not None:
            status = fault.status or 200
            if fault.body is not None:
                return Response(status, fault.body, fault.headers)
            response = self.error_response(request, status)
            return Response(status, response.body, {**response.headers, **fault.headers})
        response = self.respond(request)
        body = response.body
        if fault.rewrite is not None and response.status == HTTPStatus.OK:
            rows = orjson.loads(body)
            rewritten = fault.rewrite(rows)
            body = orjson.dumps(rows if rewritten is None else rewritten)
        return Response(response.status, body, {**response.headers, **fault.headers})


async def _finishes_before_disconnect(delay: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Whether the delay ended before the client disconnected."""
    tasks = asyncio.create_task(delay), asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return not tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _delay(seconds: float, pause: asyncio.Event | None) -> None:
    if seconds:
        await asyncio.sleep(seconds)
    if pause is not None:
        await pause.wait()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(scope: Scope, receive: Receive, send: Send, response: Response | None) -> None:
    if response is not None:
        # The announced length is one byte more than the body, so the client cannot take the body for complete.
        await send(_response_start(response, length=len(response.body) + 1))
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
    scope["extensions"]["disconnect"]()
    await _wait_for_disconnect(receive)


def _compress(response: Response) -> Response:
    if len(response.body) < 1000:
        return response
    headers = {**response.headers, "content-encoding": "gzip", "vary": "Accept-Encoding"}
    return Response(response.status, gzip.compress(response.body, compresslevel=1, mtime=0), headers)


def _response_start(response: Response, *, length: int) -> dict[str, Any]:
    headers = {"content-type": "application/json", "content-length": str(length)}
    headers |= {name.lower(): value for name, value in response.headers.items()}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": response.status, "headers": encoded}


def has_statistics(request: RecordedRequest) -> bool:
    """Whether the request asks for statistics, which LangSmith takes longer to compute."""
    return any(name == "include_stats" and value.lower() == "true" for name, value in request.params)

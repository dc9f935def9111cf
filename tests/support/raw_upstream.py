"""An upstream that answers over real sockets with the bytes that a test scripts.

Each request meets the next act of the script, and the last act repeats.
"""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

Act = Callable[["Connection"], Awaitable[None]]

JSON_HEADERS = {"content-type": "application/json"}
GZIP_HEADERS = {**JSON_HEADERS, "content-encoding": "gzip"}


@dataclass(frozen=True)
class Request:
    """A request as it arrived. `headers`: in their order, with names in lower case."""

    target: str
    headers: list[tuple[str, str]]

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    def header(self, name: str) -> list[str]:
        """All values of this header."""
        return [value for each, value in self.headers if each == name]


class Connection:
    """The connection of one request, while an act answers it."""

    def __init__(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def until_closed(self) -> None:
        """Wait until the gateway closes the connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset (RST) instead of FIN."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *[0] * 7]))
        self._writer.transport.abort()


class RawUpstream:
    """The upstream, with counts of what it met.

    connections: number of connections that were opened.
    in_flight, most_in_flight: number of requests that are being answered, now and at most.
    """

    def __init__(self, *acts: Act, greeting: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        """`greeting`: sent on each new connection, before it is asked for anything. `tls`: serve https."""
        self.acts = list(acts)
        self._greeting = greeting
        self._tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._change = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds. It is checked when a request arrives and when one ends."""
        async with self._change:
            await self._change.wait_for(condition)

    async def wait_for_requests(self, count: int) -> None:
        await self.until(lambda: len(self.requests) >= count)

    async def idle(self) -> None:
        await self.until(lambda: self.in_flight == 0)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["RawUpstream"]:
        # A wave of clients connects at the same moment.
        server = await asyncio.start_server(self._serve_connection, "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            writer.write(self._greeting)
            while not writer.is_closing() and (request := await _read_request(reader)):
                await self._answer(Connection(request, reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, connection: Connection) -> None:
        self.requests.append(connection.request)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        await self._notify()
        try:
            await act(connection)
        finally:
            self.in_flight -= 1
            await self._notify()

    async def _notify(self) -> None:
        async with self._change:
            self._change.notify_all()


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Request(first.split(" ")[1], headers)


def response(
    body: bytes = b"[]",
    *,
    status: int | str = 200,
    headers: Mapping[str, str] = JSON_HEADERS,
    length: int | None = None,
) -> bytes:
    """The bytes of a response. `length`: value of Content-Length; None for the length of the body."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def row(number: int = 1, **values: Any) -> dict[str, Any]:
    return {"id": str(UUID(int=number)), "tenant_id": str(UUID(int=7)), "name": f"session {number}", **values}


def listed(*rows: object) -> bytes:
    """The bytes of a successful response with these rows."""
    return response(json.dumps(rows).encode())


def says(data: bytes, *, then: Callable[[Connection], None] | None = None) -> Act:
    """The act that sends these bytes. `then`: what follows; without it, the connection stays open."""

    async def act(connection: Connection) -> None:
        await connection.send(data)
        if then:
            then(connection)

    return act


async def black_hole(connection: Connection) -> None:
    """The act that never answers."""
    await connection.until_closed()


async def closes(connection: Connection) -> None:
    connection.close()


async def resets(connection: Connection) -> None:
    connection.reset()


@contextlib.asynccontextmanager
async def raw_upstream(
    *acts: Act | bytes, greeting: bytes = b"", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawUpstream]:
    scripted = [says(act) if isinstance(act, bytes) else act for act in acts]
    async with RawUpstream(*scripted, greeting=greeting, tls=tls).serving() as upstream:
        yield upstream

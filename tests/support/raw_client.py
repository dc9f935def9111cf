"""A client that writes bytes to a connection and reads the responses from it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.conftest import Gateway

BODY = b'{"query": "query Few { sessions(first: 3) { nodes { id name } } }"}'
_VARYING_HEADERS = {b"x-request-id", b"cache-control", b"date"}


def request(body: bytes = BODY, *headers: bytes, key: bytes = b"demo", target: bytes = b"/graphql") -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % target,
        b"Host: gateway",
        b"X-API-Key: " + key,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class RawResponse:
    status: bytes
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def unvarying(self) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """The response without the headers that differ between two responses to the same request."""
        return self.status, {k: v for k, v in self.headers.items() if k not in _VARYING_HEADERS}, self.body


@dataclass
class Connection:
    """A client connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_response(self) -> RawResponse:
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *fields = head.strip().split(b"\r\n")
        headers = dict(field.split(b": ", 1) for field in fields)
        assert len(headers) == len(fields), head
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return RawResponse(status, headers, body)

    async def request(self, data: bytes) -> RawResponse:
        await self.send(data)
        return await self.read_response()


@contextlib.asynccontextmanager
async def connect(gateway: Gateway) -> AsyncIterator[Connection]:
    url = gateway.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):  # the gateway may have aborted the connection
            await writer.wait_closed()


async def executions(gateway: Gateway) -> dict[str, int]:
    text = (await gateway.client.get("/metrics")).text
    return {by: int(float(n)) for by, n in re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text)}

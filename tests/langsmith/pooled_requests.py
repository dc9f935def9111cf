"""A connection pool in front of the raw upstream, and requests through it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx
import trustme

from app.langsmith.connection_pool import ConnectionPool
from app.langsmith.http_message import HttpRequest, HttpUrl, encode_head
from tests.conftest import TIMEOUT_SECONDS
from tests.support.raw_upstream import (
    Act,
    Connection,
    listed,
    response,
    row,
)

PUBLIC_AUTHORITIES = ssl.create_default_context()


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context of a server on 127.0.0.1, and that of a client which trusts its certificate."""
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@contextlib.asynccontextmanager
async def pool(
    max_idle: int = 8, max_idle_seconds: float = 15.0, tls: ssl.SSLContext = PUBLIC_AUTHORITIES
) -> AsyncIterator[ConnectionPool]:
    connections = ConnectionPool(tls, max_idle=max_idle, max_idle_seconds=max_idle_seconds)
    try:
        yield connections
    finally:
        await connections.aclose()


async def get(connections: ConnectionPool, url: str, key: str = "a", **timeouts: float) -> httpx.Response:
    """The response, read in full."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        answer = await connections.get(request_for(url, key, **timeouts))
        try:
            body = b"".join([piece async for piece in answer.stream])
        finally:
            answer.stream.close()
    return httpx.Response(answer.status, headers={**answer.headers}, content=body)


def request_for(url: str, key: str = "a", **timeouts: float) -> HttpRequest:
    """A request for this URL. `timeouts`: seconds for `connect` and `read`."""
    target = HttpUrl.of(httpx.URL(url))
    head = encode_head(target.raw_path, [(b"host", target.host), (b"x-api-key", key.encode())])
    return HttpRequest(target.origin, head, timeouts.get("connect"), timeouts.get("read"))


async def names_of(connections: ConnectionPool, url: str) -> list[str]:
    return [each["name"] for each in (await get(connections, url)).json()]


def echoes_key() -> Act:
    """Answers each request with a row that is named by the request's key."""

    async def act(connection: Connection) -> None:
        await connection.send(listed(row(name=connection.request.header("x-api-key")[0])))

    return act


STRAY = {
    "408 as a server sends it on an idle connection": response(b"", status=408),
    "an empty list": response(b"[]"),
    "another tenant's rows": listed(row(name="stray")),
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "400 whose connection closes late": response(b"", status=400, headers={"connection": "close"}),
    "a line break": b"\r\n",
    "a single byte": b"H",
    "something else than HTTP": b"\0SSH-2.0",
    "an upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
}
"""What a server may send without being asked."""

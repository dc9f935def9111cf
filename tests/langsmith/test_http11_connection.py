"""No response reaches a request that it does not belong to, whatever the server does with its connections."""

import asyncio
import gzip
import json

import httpx
import pytest

from app.langsmith.http11_connection import MAX_HEAD_BYTES
from tests.conftest import TIMEOUT_SECONDS
from tests.langsmith.pooled_requests import STRAY, echoes_key, get, pool, request_for
from tests.support.raw_upstream import (
    Connection,
    listed,
    raw_upstream,
    response,
    row,
    says,
)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
async def test_bytes_on_an_idle_connection_reach_no_request(stray: bytes) -> None:
    sent = asyncio.Event()

    async def answers_and_then_sends_more(connection: Connection) -> None:
        await connection.send(listed(row(name=connection.request.header("x-api-key")[0])))
        await sent.wait()
        await connection.send(stray)

    async with raw_upstream(answers_and_then_sends_more, echoes_key()) as upstream, pool() as connections:
        assert (await get(connections, upstream.url, "first")).json()[0]["name"] == "first"
        sent.set()
        await upstream.idle()
        # Now the stray bytes are in the kernel, or have closed the connection already.
        for key in ("second", "third", "fourth"):
            answer = await get(connections, upstream.url, key)
            assert (answer.status_code, answer.json()[0]["name"]) == (200, key)
        assert upstream.connections == 2


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
async def test_bytes_behind_a_response_reach_no_request(stray: bytes) -> None:
    async def answers_twice(connection: Connection) -> None:
        await connection.send(listed(row(name=connection.request.header("x-api-key")[0])) + stray)

    async with raw_upstream(answers_twice, echoes_key()) as upstream, pool() as connections:
        for key in ("first", "second", "third"):
            answer = await get(connections, upstream.url, key)
            assert (answer.status_code, answer.json()[0]["name"]) == (200, key)
        # An empty line before a response is allowed; everything else makes the connection useless.
        assert upstream.connections == (1 if stray == b"\r\n" else 2)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
async def test_bytes_behind_the_last_response_of_a_connection_reach_no_request(stray: bytes) -> None:
    last = response(json.dumps([row(name="first")]).encode(), headers={"connection": "close"})
    async with raw_upstream(last + stray, echoes_key()) as upstream, pool() as connections:
        for key in ("first", "second"):
            assert (await get(connections, upstream.url, key)).json()[0]["name"] == key


async def test_bytes_on_a_new_connection_reach_no_request() -> None:
    stray = listed(row(name="stray"))
    async with raw_upstream(echoes_key(), greeting=stray) as upstream, pool() as connections:
        for _ in range(5):
            with pytest.raises(httpx.TransportError):
                await get(connections, upstream.url)


@pytest.mark.parametrize("status", [301, 304, 400, 408, 500, 502, 503])
async def test_a_status_that_a_proxy_may_send_on_its_own_closes_the_connection(status: int) -> None:
    stray = b"HTTP/1.1 304 Said\r\n\r\n" if status == 304 else response(b"", status=status)
    async with raw_upstream(stray, echoes_key()) as upstream, pool() as connections:
        assert (await get(connections, upstream.url)).status_code == status
        assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"
        assert upstream.connections == 2


@pytest.mark.parametrize("status", [200, 401, 403, 404, 422, 429])
async def test_a_status_of_the_application_keeps_the_connection(status: int) -> None:
    async with raw_upstream(response(b"{}", status=status)) as upstream, pool() as connections:
        for _ in range(3):
            assert (await get(connections, upstream.url)).status_code == status
        assert upstream.connections == 1


async def test_connection_close_is_obeyed() -> None:
    closing = response(b"[]", headers={"connection": "close"})
    async with raw_upstream(closing) as upstream, pool() as connections:
        for _ in range(3):
            assert (await get(connections, upstream.url)).json() == []
        assert upstream.connections == 3


BODIES = {
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n",
    "chunked, with trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\nx-api-key: b\r\n\r\n"
    ),
    "after 103": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + response(b"[1]"),
    "reason that is not UTF-8": b"HTTP/1.1 200 \xff\xfe\r\ncontent-length: 3\r\n\r\n[1]",
    "an upgrade is offered": response(b"[1]", headers={"upgrade": "h2c", "connection": "upgrade"}),
    "gzip": response(gzip.compress(b"[1]"), headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("data", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
async def test_a_body_arrives_in_every_framing(data: bytes, bytewise: bool) -> None:
    async def act(connection: Connection) -> None:
        for piece in [data[n : n + 1] for n in range(len(data))] if bytewise else [data]:
            await connection.send(piece)

    async with raw_upstream(act) as upstream, pool() as connections:
        for _ in range(2):
            answer = await get(connections, upstream.url)
            assert answer.json() == [1]
            assert "x-api-key" not in answer.headers
            assert "link" not in answer.headers
        assert upstream.connections == 1


async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    act = says(b"HTTP/1.1 200 OK\r\n\r\n[1]", then=Connection.close)
    async with raw_upstream(act) as upstream, pool() as connections:
        for _ in range(2):
            assert (await get(connections, upstream.url)).json() == [1]
        assert upstream.connections == 2


BROKEN = {
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n[1]",
        httpx.RemoteProtocolError,
    ),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        httpx.RemoteProtocolError,
    ),
    "an upgrade": (b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", httpx.RemoteProtocolError),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES, httpx.RemoteProtocolError),
    "one endless header": (b"HTTP/1.1 200 OK\r\na: " + b"b" * 3 * MAX_HEAD_BYTES, httpx.RemoteProtocolError),
    "one endless trailer": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\na: " + b"b" * 40 * MAX_HEAD_BYTES,
        httpx.RemoteProtocolError,
    ),
    "endless interim responses": (b"HTTP/1.1 103 Early Hints\r\n\r\n" * MAX_HEAD_BYTES, httpx.RemoteProtocolError),
    "a body cut short": (response(b"[1]", length=30), httpx.ReadError),
    "chunks cut short": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1]", httpx.ReadError),
    "a head cut short": (b"HTTP/1.1 200 OK\r\ncontent-le", httpx.ReadError),
}


@pytest.mark.parametrize(("data", "error"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_response_is_an_error_and_closes_the_connection(
    data: bytes, error: type[httpx.TransportError]
) -> None:
    async with raw_upstream(says(data, then=Connection.close), echoes_key()) as upstream, pool() as connections:
        with pytest.raises(error):
            await get(connections, upstream.url)
        assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"


async def test_a_large_body_is_read_no_faster_than_its_reader() -> None:
    body = json.dumps("x" * 40_000_000).encode()
    sent = asyncio.Event()

    async def act(connection: Connection) -> None:
        await connection.send(response(body))
        sent.set()

    async with raw_upstream(act) as upstream, pool() as connections:
        answer = await connections.get(request_for(upstream.url))
        for _ in range(2000):  # The event loop reads whatever it may.
            await asyncio.sleep(0)
        assert not sent.is_set()
        assert b"".join([piece async for piece in answer.stream]) == body
        await asyncio.wait_for(sent.wait(), TIMEOUT_SECONDS)
        answer.stream.close()


async def test_tiny_chunks_of_a_body_reach_its_reader_in_few_pieces() -> None:
    """Each piece takes dozens of bytes of memory, so that a body of tiny ones would exceed its bound many times."""
    count = 100_000

    async def act(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await connection.send(b"2\r\nab\r\n" * count + b"0\r\n\r\n")

    async with raw_upstream(act) as upstream, pool() as connections:
        answer = await connections.get(request_for(upstream.url))
        pieces = [piece async for piece in answer.stream]
        assert b"".join(pieces) == b"ab" * count
        assert len(pieces) < count / 100
        answer.stream.close()

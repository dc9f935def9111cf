"""Responses whose end is open to interpretation are refused, and their connection carries no further request."""

import asyncio
import contextlib

import httpx
import pytest

from app.langsmith.connection_pool import ConnectionPool
from app.langsmith.http11_connection import MAX_HEAD_BYTES, Http11Connection
from tests.langsmith.pooled_requests import PUBLIC_AUTHORITIES, echoes_key, get, names_of, pool
from tests.support.raw_upstream import Connection, listed, raw_upstream, response, row

STOLEN = listed(row(name="stolen"))
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKS = b"3\r\n[1]\r\n0\r\n\r\n"


def of_length(*values: str) -> bytes:
    """A response with these lengths, whose body begins with three bytes and goes on as a response of its own."""
    return OK + b"".join(f"content-length:{value}\r\n".encode() for value in values) + b"\r\n[1]" + STOLEN


def chunked(body: bytes, coding: bytes = b"chunked") -> bytes:
    return OK + b"transfer-encoding: " + coding + b"\r\n\r\n" + body + STOLEN


REFUSED = {
    "a length with a plus": of_length(" +3"),
    "a length below zero": of_length(" -3"),
    "a hexadecimal length": of_length(" 0x3"),
    "a length with a fraction": of_length(" 3.0"),
    "a length with a space in it": of_length(" 3 3"),
    "a list of equal lengths": of_length(" 3, 3"),
    "a list of lengths": of_length(" 3, 4"),
    "no length": of_length(""),
    "a length beyond 64 bits": of_length(f" {2**64 + 3}"),
    "two equal lengths": of_length(" 3", " 3"),
    "two lengths": of_length(" 3", " 4"),
    "a length and chunks": OK
    + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"
    + STOLEN,
    "chunks and a length": OK
    + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\n[1]\r\n0\r\n\r\n"
    + STOLEN,
    "a space before the colon": OK + b"content-length : 3\r\n\r\n[1]" + STOLEN,
    "a folded header": OK + b"x-a: b\r\n content-length: 3\r\n\r\n[1]" + STOLEN,
    "a header that begins with a space": OK + b" content-length: 3\r\n\r\n[1]" + STOLEN,
    "a NUL in a header": OK + b"content-length: 3\r\nx-a: b\0c\r\n\r\n[1]" + STOLEN,
    "a chunk with a plus": chunked(b"+3\r\n[1]\r\n0\r\n\r\n"),
    "a chunk below zero": chunked(b"-3\r\n[1]\r\n0\r\n\r\n"),
    "a chunk with a prefix": chunked(b"0x3\r\n[1]\r\n0\r\n\r\n"),
    "a chunk that is longer than its size": chunked(b"2\r\n[1]\r\n0\r\n\r\n"),
    "a chunk beyond 64 bits": chunked(b"10000000000000003\r\n[1]\r\n0\r\n\r\n"),
    "a chunk without a size": chunked(b"\r\n[1]\r\n0\r\n\r\n"),
    "a coding behind chunked": chunked(CHUNKS, b"chunked, gzip"),
    "another coding": chunked(CHUNKS, b"xchunked"),
    "HTTP/0.9": b"[1]" + STOLEN,
    "a version without a number": b"HTTP/x.1 200 OK\r\ncontent-length: 3\r\n\r\n[1]" + STOLEN,
    "a status below 100": b"HTTP/1.1 099 Odd\r\ncontent-length: 3\r\n\r\n[1]" + STOLEN,
    "a status without digits": b"HTTP/1.1 OK\r\ncontent-length: 3\r\n\r\n[1]" + STOLEN,
    "an endless chunk extension": OK + b"transfer-encoding: chunked\r\n\r\n3;" + b"a" * 40 * MAX_HEAD_BYTES,
    "an endless status line": b"HTTP/1.1 200 " + b"O" * 40 * MAX_HEAD_BYTES,
    "endless trailers": OK + b"transfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES,
    "an endless interim response": b"HTTP/1.1 103 Early Hints\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES,
    "endless 100": b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD_BYTES,
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + STOLEN,
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "in pieces"])
async def test_ambiguous_response_is_refused_and_its_connection_given_up(data: bytes, bytewise: bool) -> None:
    async def act(connection: Connection) -> None:
        step = 7 if bytewise and len(data) < 2000 else len(data)
        for start in range(0, len(data), step):
            await connection.send(data[start : start + step])
            await asyncio.sleep(0)
        await connection.until_closed()

    async with raw_upstream(act, echoes_key()) as upstream, pool() as connections:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(connections, upstream.url, read=5)
        for key in ("second", "third"):
            assert (await get(connections, upstream.url, key)).json()[0]["name"] == key
        assert upstream.connections == 2


BODILESS = {
    "204": b"HTTP/1.1 204 No Content\r\ncontent-length: %d\r\n\r\n",
    "204 without a length": b"HTTP/1.1 204 No Content\r\nx-length: %d\r\n\r\n",
    "205": b"HTTP/1.1 205 Reset Content\r\nx-length: %d\r\ncontent-length: 0\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: %d\r\n\r\n",
    "200 of no length": b"HTTP/1.1 200 OK\r\nx-length: %d\r\ncontent-length: 0\r\n\r\n",
    "200 without chunks": b"HTTP/1.1 200 OK\r\nx-length: %d\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "206": b"HTTP/1.1 206 Partial Content\r\nx-length: %d\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("head", BODILESS.values(), ids=BODILESS.keys())
async def test_body_that_follows_a_response_without_one_answers_no_later_request(head: bytes) -> None:
    async def sends_the_body_with_the_next_request(connection: Connection) -> None:
        await connection.send(head % len(STOLEN))

    async def sends_the_body_late(connection: Connection) -> None:
        await connection.send(STOLEN if upstream.connections == 1 else listed(row(name="own")))

    async with (
        raw_upstream(sends_the_body_with_the_next_request, sends_the_body_late) as upstream,
        pool() as connections,
    ):
        await get(connections, upstream.url)
        assert await names_of(connections, upstream.url) == ["own"]


@pytest.mark.parametrize(
    "behind", [b"\0", b"0\r\n\r\n", b"x: y\r\n\r\n", STOLEN], ids=["NUL", "a chunk", "a trailer", "200"]
)
async def test_bytes_behind_the_last_chunk_answer_no_later_request(behind: bytes) -> None:
    first = OK + b"transfer-encoding: chunked\r\n\r\n" + CHUNKS + behind
    async with raw_upstream(first, echoes_key()) as upstream, pool() as connections:
        assert (await get(connections, upstream.url)).json() == [1]
        for key in ("second", "third"):
            assert (await get(connections, upstream.url, key)).json()[0]["name"] == key
        assert upstream.connections == 2


async def test_end_of_a_closed_connection_that_comes_late_costs_no_later_request() -> None:
    closing = response(b"[1]", headers={"connection": "close"})

    async def closes_late(connection: Connection) -> None:
        await connection.send(closing)
        await connection.until_closed()

    async with raw_upstream(closes_late, echoes_key()) as upstream, pool() as connections:
        assert (await get(connections, upstream.url)).json() == [1]
        assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"
        assert upstream.connections == 2


async def test_response_before_the_request_was_sent_is_refused() -> None:
    """The server answers to the beginning of a request that does not fit into the buffers of the sockets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STOLEN)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1)
    async with server, pool() as connections:
        with pytest.raises(httpx.TransportError):
            await get(connections, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "a" * 20_000_000)


async def test_cancelled_request_whose_response_is_complete_leaves_its_connection_to_the_next() -> None:
    class Handover(ConnectionPool):
        """Cancels the first request in the moment in which its connection goes to the second one."""

        def __init__(self) -> None:
            super().__init__(PUBLIC_AUTHORITIES, max_idle=8)
            self.requests: list[asyncio.Task[httpx.Response]] = []

        def on_idle(self, connection: Http11Connection) -> None:
            super().on_idle(connection)
            if len(self.requests) == 1:
                self.requests.append(asyncio.create_task(get(self, upstream.url, "second")))
                self.requests[0].cancel()

    async with raw_upstream(echoes_key()) as upstream:
        connections = Handover()
        connections.requests.append(asyncio.create_task(get(connections, upstream.url, "first")))
        await asyncio.wait(connections.requests)
        first, second = connections.requests
        assert (await second).json()[0]["name"] == "second"
        assert first.cancelled()
        assert upstream.connections == 1
        await connections.aclose()

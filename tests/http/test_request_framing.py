"""Bytes of a connection become requests in one way only: upgrades, trailers, long heads and `Host`."""

import asyncio
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.params import MAX_URL_BYTES
from app.http.request_head import MAX_HEADERS_BYTES
from tests.conftest import TIMEOUT_SECONDS, Gateway
from tests.support.raw_client import BODY, Connection, RawResponse, connect, request

HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
H2C: Final = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk")
WEB_SOCKET: Final = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
LIST: Final = b"query=" + b"{sessions(first:2){nodes{id}}}"


def get(*headers: bytes, target: bytes = b"/graphql?" + LIST, key: bytes = b"demo") -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: gateway", b"X-API-Key: " + key, *headers, b"", b""])


def chunked(body: bytes = BODY, *headers: bytes, trailers: bytes = b"") -> bytes:
    """A POST in two chunks and with trailers. Without further `headers` it has no credential."""
    lines = [b"POST /graphql HTTP/1.1", b"Host: gateway", b"Content-Type: application/json", *headers]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""]) + chunks + b"0\r\n" + trailers + b"\r\n"


KEY: Final = b"X-API-Key: demo"
TRAILERS: Final = b"X-API-Key: demo-2\r\nX-Tenant-Id: other\r\nContent-Type: text/plain\r\n"
UNSERVED: Final = {
    "h2c": (request(BODY, *H2C), request()),
    "h2c with chunks": (chunked(BODY, KEY, *H2C), request()),
    "h2c by GET": (get(*H2C), get()),
    "web socket": (get(*WEB_SOCKET), get()),
    "web socket by POST": (request(BODY, *WEB_SOCKET), request()),
    "unknown protocol": (request(BODY, b"Connection: upgrade", b"Upgrade: foo/2, websocket"), request()),
    "h2c with trailers": (chunked(BODY, KEY, *H2C, trailers=TRAILERS), request()),
    "trailers": (chunked(BODY, KEY, trailers=TRAILERS), request()),
    "a body that looks like a request": (request(HEALTH, *H2C), request(HEALTH)),
}
"""Requests with an upgrade or with trailers, and the request without them that has the same answer."""


async def exchange(gateway: Gateway, *parts: bytes) -> list[RawResponse]:
    """Send the parts, each in a packet of its own, and a last request. Return the responses up to the last one's."""
    async with connect(gateway) as connection:
        for part in parts:
            await connection.send(part)
            await asyncio.sleep(0)
        await connection.send(b"GET /last HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        answers: list[RawResponse] = []
        while not answers or answers[-1].headers.get(b"connection") != b"close":
            answers.append(await asyncio.wait_for(connection.read_response(), TIMEOUT_SECONDS))
        assert await connection.reader.read() == b""
    return answers


@settings(max_examples=80, derandomize=True)
@given(data=st.data(), names=st.lists(st.sampled_from(sorted(UNSERVED)), min_size=1, max_size=3))
async def test_upgrades_and_trailers_are_ignored_wherever_the_packets_end(
    gateway: Gateway, data: Any, names: list[str]
) -> None:
    expected = [(await exchange(gateway, UNSERVED[name][1]))[0].unvarying for name in names]
    stream = b"".join(UNSERVED[name][0] for name in names)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    answers = await exchange(gateway, *parts)
    assert [answer.unvarying for answer in answers[:-1]] == expected
    assert answers[-1].status == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize("name", sorted(UNSERVED))
async def test_upgrades_and_trailers_are_ignored_in_each_repetition(gateway: Gateway, name: str) -> None:
    ignored, plain = UNSERVED[name]
    for _ in range(4):
        answers = await exchange(gateway, ignored)
        assert answers[0].unvarying == (await exchange(gateway, plain))[0].unvarying


async def test_credential_in_a_trailer_is_not_accepted(gateway: Gateway) -> None:
    for _ in range(4):
        answer, _last = await exchange(gateway, chunked(trailers=b"X-API-Key: demo\r\n"))
        assert b"UNAUTHENTICATED" in answer.body


async def test_tunnel_is_refused(connection: Connection) -> None:
    answer = await connection.request(b"CONNECT gateway:443 HTTP/1.1\r\nHost: gateway:443\r\n\r\n")
    assert (answer.status, answer.headers[b"connection"]) == (b"HTTP/1.1 405 Method Not Allowed", b"close")
    assert await connection.reader.read() == b""


LONG: Final = {
    "many headers": get(*[b"X-%d: a" % n for n in range(4000)]),
    "a long header": get(b"X: " + b"a" * MAX_HEADERS_BYTES),
    "a long header name": get(b"X" * MAX_HEADERS_BYTES + b": a"),
    "trailers": chunked(BODY, KEY, trailers=b"X: a\r\n" * 6000),
    "a long trailer": chunked(BODY, KEY, trailers=b"X: %b\r\n" % (b"a" * MAX_HEADERS_BYTES)),
    "a long extension of a chunk": chunked(BODY, KEY).replace(b"0\r\n\r\n", b"0;%b\r\n\r\n" % (b"a" * 50_000)),
    "a long upgrade": request(BODY, *H2C, b"X: " + b"a" * MAX_HEADERS_BYTES),
    "a long URL": get(target=b"/graphql?query=" + b"a" * MAX_URL_BYTES),
    "a long URL of a page": get(target=b"/" + b"a" * MAX_URL_BYTES),
    "a long URL of a POST": request(target=b"/graphql?" + b"a" * MAX_URL_BYTES),
}
"""Requests whose head or trailers are too long."""
TOO_LONG: Final = {True: b"HTTP/1.1 414 ", False: b"HTTP/1.1 431 "}
"""Begin of the status line for a long URL, and for other parts of a head. Versions of Python differ in the rest."""


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("packet_bytes", [500, 100_000])
async def test_long_head_is_refused_and_closes_the_connection(
    connection: Connection, name: str, packet_bytes: int
) -> None:
    for start in range(0, len(LONG[name]), packet_bytes):
        await connection.send(LONG[name][start : start + packet_bytes])
    answer = await asyncio.wait_for(connection.read_response(), TIMEOUT_SECONDS)
    assert answer.status.startswith(TOO_LONG["URL" in name])
    assert answer.headers[b"connection"] == b"close"
    assert b"BAD_USER_INPUT" in answer.body
    assert await connection.reader.read() == b""


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"GET /", b"a" * 1000),
        (get()[:-2], b"X-Header: a\r\n" * 100),
        (get()[:-2] + b"X-Header: ", b"a" * 1000),
        (chunked(BODY, KEY)[:-2], b"X-Trailer: a\r\n" * 100),
        (b"", b"\r\n" * 500),
    ],
    ids=["URL", "headers", "header", "trailers", "empty lines"],
)
async def test_endless_head_is_refused_while_it_arrives(connection: Connection, start: bytes, endless: bytes) -> None:
    await connection.send(start)
    for _ in range(100):
        await connection.send(endless)
    answer = await asyncio.wait_for(connection.read_response(), TIMEOUT_SECONDS)
    assert answer.status.startswith(TOO_LONG[start == b"GET /"])
    assert await connection.reader.read() == b""


async def test_head_within_the_limits_is_served(connection: Connection) -> None:
    head = get(b"X: " + b"a" * (MAX_HEADERS_BYTES - 100), target=b"/healthz?" + b"a" * (MAX_URL_BYTES - 9))
    assert (await connection.request(head)).status == b"HTTP/1.1 200 OK"
    trailers = chunked(BODY, KEY, trailers=b"X: %b\r\n" % (b"a" * (MAX_HEADERS_BYTES - 100)))
    assert (await connection.request(trailers)).status == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nHost: gateway\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nhost: other\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.0\r\nHost: gateway\r\nHost: other\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", b"200 OK"),
    ],
)
async def test_request_needs_exactly_one_host(connection: Connection, head: bytes, status: bytes) -> None:
    assert (await connection.request(head)).status == b"HTTP/1.1 " + status


@pytest.mark.parametrize("bad", [b"GET /healthz HTTP/1.1\r\n\r\n", b"no request\r\n\r\n", LONG["a long header"]])
async def test_refusal_follows_the_answers_to_the_requests_before_it(connection: Connection, bad: bytes) -> None:
    """A refusal that overtakes an answer would be taken for that answer."""
    await connection.send(request() + get() + bad + HEALTH)
    answers = [await asyncio.wait_for(connection.read_response(), TIMEOUT_SECONDS) for _ in range(3)]
    assert [answer.status for answer in answers[:2]] == [b"HTTP/1.1 200 OK"] * 2
    assert answers[2].status.startswith((b"HTTP/1.1 400 ", TOO_LONG[False]))
    assert await connection.reader.read() == b""


async def test_broken_chunk_is_refused_as_the_answer_to_its_own_request(connection: Connection) -> None:
    await connection.send(get() + chunked(BODY, KEY).removesuffix(b"0\r\n\r\n") + b"no chunk\r\n")
    answers = [await asyncio.wait_for(connection.read_response(), TIMEOUT_SECONDS) for _ in range(2)]
    assert [answer.status for answer in answers] == [b"HTTP/1.1 200 OK", b"HTTP/1.1 400 Bad Request"]
    assert await connection.reader.read() == b""

"""Requests that two programs could read differently are refused, and those that everybody reads the same are served."""

import asyncio
import re
from typing import Final

import pytest

from tests.conftest import TIMEOUT_SECONDS, Gateway
from tests.support.raw_client import BODY, connect

POST: Final = b"POST /graphql HTTP/1.1\r\nHost: gateway\r\nX-API-Key: demo\r\nContent-Type: application/json\r\n"
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
LENGTH: Final = b"Content-Length: %d\r\n" % len(BODY)
CHUNKS: Final = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
AFTER: Final = b"GET /after HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"


def post(*headers: bytes, body: bytes = CHUNKS) -> bytes:
    return POST + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def health(*, start: bytes = b"GET /healthz HTTP/1.1", host: bytes = b"Host: gateway\r\n") -> bytes:
    return start + b"\r\n" + host + b"\r\n"


REFUSED: Final = {
    "length and chunks": post(LENGTH.strip(), b"Transfer-Encoding: chunked"),
    "chunks and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "two transfer codings in lines": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "two transfer codings in a list": post(b"Transfer-Encoding: chunked, chunked"),
    "identity": post(b"Transfer-Encoding: identity", LENGTH.strip(), body=BODY),
    "identity after chunked": post(b"Transfer-Encoding: chunked, identity"),
    "a compressed body": post(b"Transfer-Encoding: gzip, chunked"),
    "an unknown transfer coding": post(b"Transfer-Encoding: xchunked"),
    "a quoted transfer coding": post(b'Transfer-Encoding: "chunked"'),
    "a vertical tab before a transfer coding": post(b"Transfer-Encoding:\x0bchunked"),
    "chunks in HTTP/1.0": post(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a space before the colon of a coding": post(b"Transfer-Encoding : chunked"),
    "a space before the colon of a length": post(b"Content-Length : %d" % len(BODY), body=BODY),
    "a space before a name": post(b" " + LENGTH.strip(), body=BODY),
    "a folded coding": post(b"Transfer-Encoding:\r\n chunked"),
    "a folded header": post(b"X: a\r\n b", LENGTH.strip(), body=BODY),
    "bare line feeds": post(LENGTH.strip(), body=BODY).replace(b"\r\n", b"\n"),
    "a bare line feed": post(b"X: a\n" + LENGTH.strip(), body=BODY),
    "a bare line feed at the end of the head": POST + LENGTH + b"\n" + BODY,
    "a bare carriage return": post(b"X: a\rContent-Length: 3", LENGTH.strip(), body=BODY),
    "two carriage returns": post(b"X: a\r", LENGTH.strip(), body=BODY),
    "two equal lengths": post(LENGTH.strip(), LENGTH.strip(), body=BODY),
    "two lengths": post(LENGTH.strip(), b"Content-Length: 3", body=BODY),
    "a list of lengths": post(b"Content-Length: 67, 67", body=BODY),
    "a positive length": post(b"Content-Length: +67", body=BODY),
    "a negative length": post(b"Content-Length: -67", body=BODY),
    "a hexadecimal length": post(b"Content-Length: 0x43", body=BODY),
    "a length with an underscore": post(b"Content-Length: 6_7", body=BODY),
    "a length with a space": post(b"Content-Length: 6 7", body=BODY),
    "an empty length": post(b"Content-Length:", body=BODY),
    "a huge length": post(b"Content-Length: 99999999999999999999999", body=BODY),
    "a positive size of a chunk": chunked(b"+" + CHUNKS),
    "a negative size of a chunk": chunked(b"-" + CHUNKS),
    "a prefix of a size of a chunk": chunked(b"0x" + CHUNKS),
    "an underscore in a size of a chunk": chunked(b"0_" + CHUNKS),
    "a space after a size of a chunk": chunked(CHUNKS.replace(b"\r\n", b" \r\n", 1)),
    "a space before a size of a chunk": chunked(b" " + CHUNKS),
    "no size of a chunk": chunked(b"\r\n" + CHUNKS),
    "a huge size of a chunk": chunked(b"fffffffffffffffff\r\n" + BODY),
    "line feeds around chunks": chunked(CHUNKS.replace(b"\r\n", b"\n")),
    "no line end after a chunk": chunked(CHUNKS.replace(b"}\r\n", b"}")),
    "a line feed in an extension of a chunk": chunked(CHUNKS.replace(b"\r\n", b";a\nb\r\n", 1)),
    "a carriage return in an extension of a chunk": chunked(CHUNKS.replace(b"\r\n", b";a\rb\r\n", 1)),
    "a huge extension of a chunk": chunked(CHUNKS.replace(b"\r\n", b";%b\r\n" % (b"a" * 60_000), 1)),
    "many extensions of chunks": chunked(b"".join(b"1;%b\r\n%c\r\n" % (b"a" * 1000, each) for each in BODY)),
    "a NUL in a value": post(b"X: a\x00b", LENGTH.strip(), body=BODY),
    "a NUL in a name": post(b"X\x00: a", LENGTH.strip(), body=BODY),
    "a NUL in the URL": health(start=b"GET /heal\x00thz HTTP/1.1"),
    "a control character in a value": post(b"X: a\x01b", LENGTH.strip(), body=BODY),
    "a name without a value": post(b"Xyz", LENGTH.strip(), body=BODY),
    "a value without a name": post(b": a", LENGTH.strip(), body=BODY),
    "a byte beyond ASCII in the URL": health(start=b"GET /heal\xffthz HTTP/1.1"),
    "a URL of another host": health(start=b"GET http://other/healthz HTTP/1.1"),
    "a URL with a user": health(start=b"GET http://gateway@other/healthz HTTP/1.1"),
    "a URL of another protocol": health(start=b"GET ftp://gateway/healthz HTTP/1.1"),
    "a URL without a path": health(start=b"GET http://gateway HTTP/1.1"),
    "a path without a slash": health(start=b"GET healthz HTTP/1.1"),
    "a fragment": health(start=b"GET /healthz#x HTTP/1.1"),
    "a space in the URL": health(start=b"GET /healthz HTTP/1.1 HTTP/1.1"),
    "a tab after the method": health(start=b"GET\t/healthz HTTP/1.1"),
    "a tunnel": health(start=b"CONNECT gateway:80 HTTP/1.1"),
    "a host with a space": health(host=b"Host: a b\r\n"),
    "a list of hosts": health(host=b"Host: a, b\r\n"),
    "a host with a user": health(host=b"Host: a@b\r\n"),
    "a host with a path": health(host=b"Host: a/b\r\n"),
    "two hosts": health(host=b"Host: a\r\nHost: b\r\n"),
    "no host": health(host=b""),
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/0.9 with a version": health(start=b"GET /healthz HTTP/0.9"),
    "HTTP/1.2": health(start=b"GET /healthz HTTP/1.2"),
    "HTTP/2.0": health(start=b"GET /healthz HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method in lower case": health(start=b"get /healthz HTTP/1.1"),
    "an unknown method": health(start=b"FOO /healthz HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
SERVED: Final = {
    "chunks": (chunked(CHUNKS), [200]),
    "an extension of a chunk": (chunked(CHUNKS.replace(b"\r\n", b";a=b\r\n", 1)), [200]),
    "chunks of one byte": (chunked(b"".join(b"1\r\n%c\r\n" % each for each in BODY) + b"0\r\n\r\n"), [200]),
    "a coding in upper case after a tab": (post(b"TRANSFER-ENCODING:\tChunked"), [200]),
    "a length with zeros": (post(b"Content-Length: 000%d" % len(BODY), body=BODY), [200]),
    "an empty line after a body": (post(LENGTH.strip(), body=BODY + b"\r\n"), [200]),
    "bytes beyond ASCII in a value": (post(b"X: \xff", LENGTH.strip(), body=BODY), [200]),
    "a length of a similar name": (post(b"Content_Length: 3", LENGTH.strip(), body=BODY), [200]),
    "a GET whose body is a request": (
        health(host=b"Host: gateway\r\nContent-Length: %d\r\n" % len(HEALTH)) + HEALTH,
        [200],
    ),
    "a body that is expected": (post(b"Expect: 100-continue", LENGTH.strip(), body=BODY), [100, 200]),
    "an unknown expectation": (post(b"Expect: 200-ok", LENGTH.strip(), body=BODY), [200]),
    "settings of HTTP/2 without an upgrade": (post(b"HTTP2-Settings: AAMAAABk", LENGTH.strip(), body=BODY), [200]),
    "an upgrade that the connection does not name": (post(b"Upgrade: h2c", LENGTH.strip(), body=BODY), [200]),
    "a web socket": (
        health(host=b"Host: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
        [200],
    ),
    "the URL of this host": (health(start=b"GET HTTP://Gateway/healthz HTTP/1.1"), [200]),
    "all resources": (health(start=b"OPTIONS * HTTP/1.1"), [404]),
    "an empty host": (health(host=b"Host:\r\n"), [200]),
    "a port": (health(host=b"Host: gateway.example:8000\r\n"), [200]),
    "an IPv6 address": (health(host=b"Host: [::1]:8000\r\n"), [200]),
    "empty lines before a request": (b"\r\n\r\n" + HEALTH, [200]),
}


async def statuses(gateway: Gateway, sent: bytes) -> list[int]:
    """The status codes of all responses until the connection is closed."""
    async with connect(gateway) as connection:
        await connection.send(sent)
        connection.writer.write_eof()
        answered = await asyncio.wait_for(connection.reader.read(), TIMEOUT_SECONDS)
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", answered)]


@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_request_is_refused_and_nothing_after_it_is_read(gateway: Gateway, name: str) -> None:
    [status] = await statuses(gateway, REFUSED[name] + AFTER)
    assert status in {400, 405, 431, 501, 505}


@pytest.mark.parametrize("name", SERVED)
async def test_clear_request_is_served_and_the_next_one_too(gateway: Gateway, name: str) -> None:
    sent, expected = SERVED[name]
    for _ in range(3):  # the second and third time, parts of the request may be known
        assert await statuses(gateway, sent + AFTER) == [*expected, 404]


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
async def test_request_in_http_1_0_is_answered_and_its_connection_closed(gateway: Gateway, connection: bytes) -> None:
    sent = health(start=b"GET /healthz HTTP/1.0", host=b"Host: gateway\r\n" + connection)
    assert await statuses(gateway, sent + AFTER) == [200]

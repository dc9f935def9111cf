"""Responses are written as uvicorn's own protocol writes them, whatever the application sends."""

import asyncio
from typing import Any, Final

import pytest
from starlette.types import Receive, Scope, Send

from app.emulator.server import serving_app
from app.http.protocol_selection import UVICORN_DEFAULT
from app.http.uvicorn_protocol import GatewayProtocol
from tests.conftest import TIMEOUT_SECONDS

LENGTH: Final = (b"content-length", b"2")
Message = dict[str, Any]


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [*headers]}


def body(content: bytes = b"ok", **more: bool) -> Message:
    return {"type": "http.response.body", "body": content, **more}


RESPONSES: Final[dict[str, list[Message]]] = {
    "a usual one": [start(LENGTH, (b"x-some", b"a b\t\xe9")), body()],
    "an unknown status": [start(LENGTH, status=599), body()],
    "no content": [start(status=204), body(b"")],
    "not modified": [start((b"etag", b'"a"'), status=304), body(b"")],
    "an empty body": [start((b"content-length", b"0")), body(b"")],
    "no length": [start(), body()],
    "pieces": [start(LENGTH), body(b"o", more_body=True), body(b"k")],
    "pieces without a length": [start(), body(b"o", more_body=True), body(b"k")],
    "chunks": [start((b"transfer-encoding", b"chunked")), body()],
    "a close": [start(LENGTH, (b"connection", b"close")), body()],
    "names in upper case": [start((b"Content-Length", b"2"), (b"X-Some", b"a")), body()],
    "a long body": [start(LENGTH), body(b"okay")],
    "a short body": [start(LENGTH), body(b"o")],
    "a length with a sign": [start((b"content-length", b"+2")), body()],
    "no length but two": [start(LENGTH, LENGTH), body()],
    "an injected header": [start(LENGTH, (b"x-some", b"a\r\nx-other: b")), body()],
    "an injected name": [start(LENGTH, (b"x-some: a\r\nx-other", b"b")), body()],
    "a line feed": [start(LENGTH, (b"x-some", b"a\nb")), body()],
    "a NUL": [start(LENGTH, (b"x-some", b"a\0b")), body()],
    "a name with a space": [start(LENGTH, (b"x some", b"a")), body()],
    "a body first": [body()],
    "a head twice": [start(LENGTH), start(LENGTH), body()],
    "a body twice": [start(LENGTH), body(), body()],
    "no body": [start(LENGTH)],
    "nothing": [],
}


async def answered(protocol: Any, method: bytes, messages: list[Message]) -> bytes:
    """All bytes that a server sends for a request, and for a second one if the connection is still open."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send({**message})

    async with serving_app(app, http=protocol, ws="none") as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        request = method + b" / HTTP/1.1\r\nHost: gateway\r\n\r\n"
        writer.write(request + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS)
        writer.close()
        return received


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("name", RESPONSES)
async def test_response_is_written_as_uvicorn_itself_writes_it(name: str, method: bytes) -> None:
    messages = RESPONSES[name]
    assert await answered(GatewayProtocol, method, messages) == await answered(UVICORN_DEFAULT, method, messages)

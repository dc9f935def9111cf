"""The limits on heads are pure decisions, and hold with a server that does not check heads."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from typing import Final

import httpx
import pytest

from app.emulator.server import serving_app
from app.http.params import MAX_URL_BYTES
from app.http.protocol_selection import UVICORN_DEFAULT
from app.http.request_head import MAX_HEADERS_BYTES, Headers, check_head
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.conftest import TIMEOUT_SECONDS, create_http_client
from tests.http.test_request_framing import KEY, chunked
from tests.support.raw_client import BODY

HOST: Final = (b"host", b"gateway")


@pytest.mark.parametrize(
    ("url_bytes", "headers", "http_version", "status"),
    [
        (1, [HOST], "1.1", None),
        (1, [], "1.0", None),
        (1, [], "1.1", 400),
        (1, [HOST, HOST], "1.0", 400),
        (MAX_URL_BYTES, [HOST], "1.1", None),
        (MAX_URL_BYTES + 1, [HOST], "1.1", 414),
        (1, [HOST, (b"x", b"a" * (MAX_HEADERS_BYTES - 20))], "1.1", None),
        (1, [HOST, (b"x", b"a" * (MAX_HEADERS_BYTES - 19))], "1.1", 431),
        (1, [HOST, *[(b"x", b"")] * 10_000], "1.1", 431),
    ],
)
def test_head_is_refused_beyond_the_limits_and_unless_it_has_one_host(
    url_bytes: int, headers: Headers, http_version: str, status: int | None
) -> None:
    error = check_head(b"/" * url_bytes, headers, http_version)
    assert (error and error.status) == status
    assert error is None or error.headers["connection"] == "close"


@contextlib.asynccontextmanager
async def plain_uvicorn(upstream_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway as `uvicorn app.main:app` serves it."""
    app = create_app(Settings.load(langsmith_endpoint=upstream_url), log=create_log("json", "debug", io.StringIO()))
    async with (
        app.router.lifespan_context(app) as state,
        serving_app(app, state, http=UVICORN_DEFAULT) as url,
        create_http_client(url, "demo") as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (chunked(trailers=KEY + b"\r\n"), b"411 "),
        (chunked(BODY, KEY), b"411 "),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400 "),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400 "),
        (b"GET /healthz?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * MAX_URL_BYTES), b"414 "),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"a" * MAX_HEADERS_BYTES), b"431 "),
    ],
)
async def test_plain_uvicorn_refuses_chunks_long_heads_and_requests_without_one_host(
    upstream_url: str, sent: bytes, status: bytes
) -> None:
    async with plain_uvicorn(upstream_url) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"connection: close" in answer


async def test_plain_uvicorn_serves_operations(upstream_url: str) -> None:
    async with plain_uvicorn(upstream_url) as client:
        answer = await client.post("/graphql", json={"query": "{ sessions(first: 2) { nodes { id } } }"})
        assert len(answer.json()["data"]["sessions"]["nodes"]) == 2

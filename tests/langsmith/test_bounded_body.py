"""Bodies are decompressed, and cut off at their bound."""

import asyncio
import contextlib
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from app.langsmith.bounded_body import read_bounded_body
from app.langsmith.http_message import HttpResponse
from tests.conftest import Serve
from tests.langsmith.operations import code_of, page
from tests.support.httpx_connections import Whole
from tests.support.raw_upstream import GZIP_HEADERS, Connection, listed, raw_upstream, response, row, says


async def test_compressed_response_is_read(serve: Serve) -> None:
    body = gzip.compress(json.dumps([row(name="x" * 10_000)]).encode())
    async with (
        raw_upstream(response(body, headers=GZIP_HEADERS)) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        data = await gateway.data(page(0, "name"))
        assert data["sessions"]["nodes"] == [{"name": "x" * 10_000}]


def _endless_deflate() -> Iterator[bytes]:
    """Pieces of a deflate stream, each a thousandth of the MiB of zeros that it decompresses to."""
    deflate = zlib.compressobj(9, wbits=-15)
    piece = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    while True:
        yield piece


def _endless_gzip() -> Iterator[bytes]:
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    yield from _endless_deflate()


def _endless() -> Iterator[bytes]:
    yield b"["
    while True:
        yield b" " * (1 << 20)


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ("", _endless),
        ("content-encoding: gzip\r\n", _endless_gzip),
        ("content-encoding: deflate\r\n", _endless_deflate),
    ],
)
@pytest.mark.parametrize(("status", "code"), [(200, "UPSTREAM_MALFORMED"), (401, "UNAUTHENTICATED")])
async def test_endless_response_is_cut_off(
    serve: Serve, status: int, code: str, headers: str, pieces: Callable[[], Iterator[bytes]]
) -> None:
    sent = 0

    async def floods(connection: Connection) -> None:
        nonlocal sent
        await connection.send(f"HTTP/1.1 {status} OK\r\n{headers}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for piece in pieces():
                await connection.send(piece)
                sent += len(piece)

    async with raw_upstream(floods) as upstream, serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway:
        tracemalloc.start()
        try:
            assert await code_of(gateway, page()) == code
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await upstream.idle()
        assert peak < 128 << 20
        assert sent < 64 << 20
        upstream.acts = [says(listed(row()))]
        await gateway.data(page(1))


async def test_response_within_the_bound_is_read(serve: Serve) -> None:
    answer = listed(row(description="x" * (16 << 20)))
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1


ROWS = json.dumps([row(1), row(2)]).encode()
FIRST, SECOND = gzip.compress(ROWS[:50]), gzip.compress(ROWS[50:])


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP"])
@pytest.mark.parametrize(
    "body",
    [
        FIRST + SECOND,
        gzip.compress(b"") + FIRST + gzip.compress(b"") + SECOND,
        FIRST + b"\0" * 9 + SECOND + b"\0" * 99,
        FIRST + SECOND + b"x",
        FIRST + SECOND + b"\x1f",
        FIRST + SECOND + b"\0\0\r\n<!-- served by a proxy -->",
    ],
    ids=["two members", "empty members", "padding", "a byte behind", "half of a magic number behind", "text behind"],
)
async def test_all_members_of_a_gzip_response_are_read(serve: Serve, body: bytes, encoding: str) -> None:
    async def sends_byte_by_byte(connection: Connection) -> None:
        for byte in response(body, headers={"content-encoding": encoding}):
            await connection.send(bytes([byte]))

    async with raw_upstream(sends_byte_by_byte) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        nodes = (await gateway.data("{ sessions(first: 2) { nodes { name } } }"))["sessions"]["nodes"]
        assert [node["name"] for node in nodes] == ["session 1", "session 2"]


@pytest.mark.parametrize(
    "body",
    [FIRST + SECOND[:-5], FIRST + b"no gzip", FIRST + SECOND + b"\x1f\x8b", FIRST + SECOND + b"\x1f\x8bx", SECOND[2:]],
    ids=["cut", "other bytes", "the begin of a member", "a broken member", "no magic number"],
)
async def test_gzip_response_with_a_broken_member_is_reported_as_malformed(serve: Serve, body: bytes) -> None:
    async with (
        raw_upstream(response(body, headers=GZIP_HEADERS)) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_MALFORMED"


RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
DEFLATED = {"zlib": zlib.compress(ROWS), "raw": RAW.compress(ROWS) + RAW.flush(), "padded": zlib.compress(ROWS) + b"x"}


@pytest.mark.parametrize("body", DEFLATED.values(), ids=DEFLATED.keys())
async def test_deflated_response_is_read(serve: Serve, body: bytes) -> None:
    async with (
        raw_upstream(response(body, headers={"content-encoding": "deflate"})) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        nodes = (await gateway.data("{ sessions(first: 2) { nodes { name } } }"))["sessions"]["nodes"]
        assert [node["name"] for node in nodes] == ["session 1", "session 2"]


@pytest.mark.parametrize("body", [zlib.compress(ROWS)[:-3], b"\xff" * 9])
async def test_deflated_response_that_is_broken_is_reported_as_malformed(serve: Serve, body: bytes) -> None:
    async with (
        raw_upstream(response(body, headers={"content-encoding": "deflate"})) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize(("encoding", "named"), [("br", True), ("zstd", True), ("SECRET", False)])
async def test_compression_that_was_not_asked_for_is_named_if_it_is_a_known_one(
    serve: Serve, encoding: str, named: bool
) -> None:
    async with (
        raw_upstream(response(b"[]", headers={"content-encoding": encoding})) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        (error,) = await gateway.errors(page())
        assert error["extensions"]["code"] == "UPSTREAM_MALFORMED"
        assert (encoding in error["message"]) == named


@pytest.mark.parametrize(
    ("compressed", "length"),
    [(gzip.compress(b" " * (30 << 20)), 30 << 20), (gzip.compress(b"") * 12_000, 0)],
    ids=["a bomb", "empty members"],
)
async def test_body_that_takes_long_to_decompress_lets_others_have_their_turn(compressed: bytes, length: int) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(count_turns())
    body = await read_bounded_body(HttpResponse(200, {"content-encoding": "gzip"}, Whole(compressed)))
    others.cancel()
    assert len(body) == length
    assert turns >= 6

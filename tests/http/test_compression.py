"""Answers are compressed as `Accept-Encoding` prefers, once for each coding, and are the same when decompressed."""

import asyncio
import gzip
import importlib
import json
import re
import sys
from collections.abc import Callable

import pytest

from app.emulator import Emulator
from app.http import compression
from app.http.compression import CODINGS, MIN_BYTES, Coding, negotiate_coding
from tests.conftest import Clock, Gateway, Serve
from tests.support.raw_client import Connection, RawResponse, connect, executions, request

ROWS = b'{"query": "{ sessions(first: 100) { nodes { id name tenantId startTime extra runCount } } }"}'
FEW = b'{"query": "{ sessions(first: 1) { nodes { id } } }"}'
HAS_ALL = set(CODINGS) == {"gzip", "br", "zstd"}


def decompress(coding: str, body: bytes) -> bytes:
    if coding == "gzip":
        return gzip.decompress(body)
    zstd = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    decoder: Callable[[bytes], bytes] = importlib.import_module({"br": "brotli", "zstd": zstd}[coding]).decompress
    return decoder(body)


def post(body: bytes = ROWS, accept_encoding: str | None = None, *headers: bytes) -> bytes:
    lines = [] if accept_encoding is None else [f"Accept-Encoding: {accept_encoding}".encode()]
    return request(body, *lines, *headers)


def decoded(response: RawResponse) -> bytes:
    coding = response.headers.get(b"content-encoding")
    return response.body if coding is None else decompress(coding.decode(), response.body)


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codings of the compressions so far."""
    done: list[str] = []

    def counted(name: str, coding: Coding) -> Coding:
        def counting(body: bytes) -> bytes:
            done.append(name)
            return coding.whole(body)

        return coding._replace(whole=counting)

    monkeypatch.setattr(compression, "CODINGS", {name: counted(name, each) for name, each in CODINGS.items()})
    return done


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=best", None),
        ("deflate, compress", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("gzip;q=0, *", None),
        ("*;q=0, gzip", "gzip"),
        ("identity", None),
        ("identity, *;q=0", None),
        ("gzip, identity", "gzip"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"),
        ("gzip;q=0.4, identity;q=0.5", None),
        ("gzip;q=0.4, *;q=0.5", None),
        ("identity;q=0", None),
        ("gzip, identity;q=0", "gzip"),
        ("deflate;q=0.5, gzip;q=0.1", "gzip"),
        ("deflate, " * 100 + "gzip", None),
        ("deflate, " * 99 + "gzip", "gzip"),
    ],
)
def test_coding_is_the_one_that_accept_encoding_prefers(accept_encoding: str, coding: str | None) -> None:
    assert negotiate_coding(accept_encoding.encode(), MIN_BYTES) == coding


@pytest.mark.skipif(not HAS_ALL, reason="needs the extra `compression`")
@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br"),
        ("gzip, br;q=0.9, zstd;q=0.8", "gzip"),
        ("br;q=0, *", "gzip"),
        ("br, identity;q=0", "br"),
    ],
)
def test_better_coding_is_used_if_the_client_does_not_prefer_another(accept_encoding: str, coding: str) -> None:
    assert negotiate_coding(accept_encoding.encode(), MIN_BYTES) == coding


@pytest.mark.parametrize(
    ("accept_encoding", "coding"), [("gzip", None), ("gzip, identity;q=0", "gzip"), ("gzip, *;q=0", "gzip")]
)
def test_short_body_is_compressed_only_for_a_client_that_refuses_identity(
    accept_encoding: str, coding: str | None
) -> None:
    assert negotiate_coding(accept_encoding.encode(), MIN_BYTES - 1) == coding


@pytest.mark.parametrize("coding", CODINGS)
async def test_repeated_answer_is_compressed_once_and_is_the_same_in_every_cache(
    connection: Connection, gateway: Gateway, compressions: list[str], coding: str
) -> None:
    plain = await connection.request(post())
    answers = [await connection.request(post(ROWS, coding)) for _ in range(4)]
    assert all(each.unvarying == answers[0].unvarying for each in answers)
    assert decoded(answers[0]) == plain.body
    assert answers[0].headers[b"content-encoding"] == coding.encode()
    assert len(answers[0].body) < len(plain.body) / 4
    assert compressions == [coding]
    assert await executions(gateway) == {"plan": 1, "kept": 4}


@pytest.mark.parametrize("coding", CODINGS)
async def test_first_answer_is_compressed(connection: Connection, compressions: list[str], coding: str) -> None:
    first = await connection.request(post(ROWS, coding))
    again = await connection.request(post(ROWS, coding))
    assert (first.headers[b"content-encoding"], first.unvarying) == (coding.encode(), again.unvarying)
    assert decoded(first) == (await connection.request(post())).body
    assert compressions == [coding]


async def test_equal_answers_at_the_same_time_are_compressed_once(gateway: Gateway, compressions: list[str]) -> None:
    async def read() -> RawResponse:
        async with connect(gateway) as connection:
            return await connection.request(post(ROWS, "gzip"))

    await gateway.post("{ sessions(first: 100) { nodes { id name tenantId startTime extra runCount } } }")
    compressions.clear()
    answers = await asyncio.gather(*[read() for _ in range(10)])
    assert len({each.body for each in answers}) == 1
    assert compressions == ["gzip"]


async def test_each_coding_has_an_etag_of_its_own_and_every_answer_varies_by_accept_encoding(
    connection: Connection,
) -> None:
    answers = [await connection.request(post(ROWS, each)) for each in ("identity", *CODINGS)]
    etags = [each.headers[b"etag"] for each in answers]
    assert len({*etags}) == len(answers)
    assert all(re.fullmatch(rb'"[0-9a-f]{24}(-[a-z]+)?"', each) for each in etags)
    assert {each.headers[b"vary"].split(b", ")[1] for each in answers} == {b"accept-encoding"}


@pytest.mark.parametrize("coding", ["identity", *CODINGS])
async def test_only_the_etag_of_the_coding_that_the_client_would_get_is_answered_with_304(
    connection: Connection, compressions: list[str], coding: str
) -> None:
    etags = {each: (await connection.request(post(ROWS, each))).headers[b"etag"] for each in ("identity", *CODINGS)}
    compressions.clear()
    for other, etag in etags.items():
        for if_none_match in (etag, b'"x", W/' + etag):
            for _ in range(3):  # the last one with a known head
                answer = await connection.request(post(ROWS, coding, b"If-None-Match: " + if_none_match))
                if other == coding:
                    assert (answer.status, answer.body) == (b"HTTP/1.1 304 Not Modified", b"")
                    assert answer.headers[b"etag"] == etag
                    assert b"accept-encoding" in answer.headers[b"vary"]
                    assert b"content-encoding" not in answer.headers
                else:
                    assert (answer.status, answer.headers[b"etag"]) == (b"HTTP/1.1 200 OK", etags[coding])
    assert compressions == []


async def test_304_needs_no_compression(connection: Connection, compressions: list[str]) -> None:
    etag = (await connection.request(post())).headers[b"etag"]
    match = b"If-None-Match: " + etag[:-1] + b'-gzip"'
    assert (await connection.request(post(ROWS, "gzip", match))).status == b"HTTP/1.1 304 Not Modified"
    assert compressions == []


async def test_lines_of_accept_encoding_are_one_list(connection: Connection) -> None:
    answer = await connection.request(post(ROWS, "gzip", b"Accept-Encoding: deflate"))
    assert answer.headers[b"content-encoding"] == b"gzip"


async def test_short_answer_and_answer_for_a_client_without_accept_encoding_are_sent_as_they_are(
    connection: Connection,
) -> None:
    for each in (post(FEW, "gzip"), post(ROWS), post(ROWS, "deflate"), post(ROWS, "identity;q=0")):
        answer = await connection.request(each)
        assert b"content-encoding" not in answer.headers
        assert answer.body.startswith(b'{"data"')
        assert b"accept-encoding" in answer.headers[b"vary"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (ROWS.replace(b"{ sessions", b'{ bad: session(id: \\"rubbish\\") { id } sessions'), ()),
        (ROWS, (b"X-Gateway-Explain: 1",)),
    ],
    ids=["errors", "explain"],
)
async def test_long_answer_that_is_not_cached_is_compressed_too(
    connection: Connection, body: bytes, headers: tuple[bytes, ...]
) -> None:
    answer = await connection.request(post(body, "gzip", *headers))
    assert answer.headers[b"content-encoding"] == b"gzip"
    assert answer.headers[b"cache-control"] == b"no-store"
    assert b"etag" not in answer.headers
    assert json.loads(decoded(answer)).keys() in ({"data", "errors"}, {"data", "extensions"})


async def test_answers_are_compressed_without_a_response_cache(serve: Serve, compressions: list[str]) -> None:
    async with serve(responses_max_bytes=0) as gateway, connect(gateway) as connection:
        bodies = {decoded(await connection.request(post(ROWS, each))) for each in ("gzip", "gzip", "identity")}
    assert len(bodies) == 1
    assert compressions == ["gzip", "gzip"]


async def held_bytes(gateway: Gateway) -> float:
    match = re.search(r"^gateway_responses_bytes (\S+)$", (await gateway.client.get("/metrics")).text, re.MULTILINE)
    assert match
    return float(match[1])


async def test_bound_of_the_response_cache_counts_compressed_forms(serve: Serve) -> None:
    query = '{"query": "{ sessions(first: 100, offset: %d) { nodes { id name } } }"}'
    async with serve(responses_max_bytes=40_000) as gateway, connect(gateway) as connection:
        await connection.request(post((query % 0).encode()))
        before = await held_bytes(gateway)
        answer = await connection.request(post((query % 0).encode(), "gzip"))
        assert await held_bytes(gateway) == before + len(answer.body)
        for offset in range(10):
            await connection.request(post((query % offset).encode(), "gzip"))
            assert 0 < await held_bytes(gateway) <= 40_000


async def test_response_whose_compressed_form_exceeds_the_bound_stays_cached_without_it(serve: Serve) -> None:
    async with serve() as gateway, connect(gateway) as connection:
        plain = await connection.request(post())
        size = int(await held_bytes(gateway))
    async with serve(responses_max_bytes=size + 100) as gateway, connect(gateway) as connection:
        answers = [await connection.request(post(ROWS, "gzip")) for _ in range(3)]
        assert await held_bytes(gateway) == size
        assert await executions(gateway) == {"plan": 1, "kept": 2}
    assert {decoded(each) for each in answers} == {plain.body}


async def test_answer_is_compressed_anew_when_its_page_is_replaced(
    langsmith: Emulator, connection: Connection, clock: Clock, compressions: list[str]
) -> None:
    before = [await connection.request(post(ROWS, "gzip")) for _ in range(3)]
    langsmith.add_project("demo", "newest")
    clock.advance(15.1)
    after = [await connection.request(post(ROWS, "gzip")) for _ in range(3)]
    assert b'"newest"' in decoded(after[0])
    assert len({each.body for each in before}) == len({each.body for each in after}) == 1
    assert {each.headers[b"etag"] for each in before}.isdisjoint(each.headers[b"etag"] for each in after)
    assert compressions == ["gzip", "gzip"]

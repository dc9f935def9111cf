"""Pages, their files, the schema and the metrics are compressed, and have an ETag for each content coding."""

import gzip

import pytest

from app.http import web_pages
from tests.conftest import Gateway
from tests.http.test_compression import decompress
from tests.support.raw_client import Connection, RawResponse

GRAPHIQL = web_pages.FOLDER / "graphiql" / "assets"
FILES = [path.name for path in sorted(GRAPHIQL.iterdir())]
SCRIPT = f"/assets/graphiql/assets/{next(GRAPHIQL.glob('graphqlMode-*.js')).name}"
KEPT = ["/", "/graphql", "/schema.graphql", SCRIPT]
"""Paths whose content changes with the release only."""


async def get(connection: Connection, path: str, *headers: bytes) -> RawResponse:
    lines = [b"GET %b HTTP/1.1" % path.encode(), b"Host: gateway", b"Accept: text/html", *headers]
    return await connection.request(b"\r\n".join(lines) + b"\r\n\r\n")


@pytest.fixture
async def compressed_files(connection: Connection) -> dict[str, RawResponse]:
    """GraphiQL's files, as a client gets them that accepts gzip."""
    return {
        name: await get(connection, f"/assets/graphiql/assets/{name}", b"Accept-Encoding: gzip, deflate")
        for name in FILES
    }


async def test_graphiql_costs_a_third_of_its_size(compressed_files: dict[str, RawResponse]) -> None:
    size = sum((GRAPHIQL / name).stat().st_size for name in FILES)
    assert size / 4 < sum(len(each.body) for each in compressed_files.values()) < size / 3


async def test_files_are_the_same_when_decompressed(compressed_files: dict[str, RawResponse]) -> None:
    for name, response in compressed_files.items():
        content = (GRAPHIQL / name).read_bytes()
        if len(content) < 1024:
            assert (response.headers.get(b"content-encoding"), response.body) == (None, content)
        else:
            assert response.headers[b"content-encoding"] == b"gzip"
            assert gzip.decompress(response.body) == content
        assert response.headers[b"vary"] == b"accept-encoding"


@pytest.mark.parametrize("path", ["/", "/schema.graphql", "/metrics", SCRIPT])
async def test_client_without_accept_encoding_gets_the_same_content(connection: Connection, path: str) -> None:
    plain, encoded = await get(connection, path), await get(connection, path, b"Accept-Encoding: gzip")
    assert b"content-encoding" not in plain.headers
    assert len(encoded.body) < len(plain.body) / 2
    for each in (plain, encoded):
        assert each.headers[b"vary"] == b"accept-encoding"
        assert each.headers[b"content-type"] == plain.headers[b"content-type"]
        assert each.headers.get(b"cache-control") == plain.headers.get(b"cache-control")
    if path != "/metrics":  # they change with each request
        assert decompress("gzip", encoded.body) == plain.body


@pytest.mark.parametrize("path", KEPT)
async def test_etag_of_the_coding_is_answered_with_304(connection: Connection, path: str) -> None:
    etags = {
        coding: (await get(connection, path, b"Accept-Encoding: " + coding)).headers[b"etag"]
        for coding in (b"identity", b"gzip")
    }
    assert etags[b"identity"] != etags[b"gzip"]
    for coding, own in etags.items():
        for other in etags.values():
            lines = (b"Accept-Encoding: " + coding, b"If-None-Match: W/" + other)
            response = await get(connection, path, *lines)
            assert response.status == (b"HTTP/1.1 304 Not Modified" if other == own else b"HTTP/1.1 200 OK")
            assert (response.body == b"") is (other == own)
            assert response.headers[b"etag"] == own
            assert b"accept-encoding" in response.headers[b"vary"]


@pytest.mark.parametrize("path", KEPT)
async def test_304_has_the_policies_of_the_content_because_a_browser_takes_them_over(
    connection: Connection, path: str
) -> None:
    content = await get(connection, path)
    response = await get(connection, path, b"If-None-Match: " + content.headers[b"etag"])
    assert response.status == b"HTTP/1.1 304 Not Modified"
    for name in (b"content-security-policy", b"cache-control", b"x-content-type-options"):
        assert response.headers.get(name) == content.headers.get(name)
    assert not {b"content-length", b"content-type", b"content-encoding"} & response.headers.keys()


@pytest.mark.parametrize("path", [*KEPT, "/healthz"])
async def test_head_has_the_headers_of_get_in_every_coding(gateway: Gateway, path: str) -> None:
    for coding in ("gzip", "identity"):
        headers = {"accept": "text/html", "accept-encoding": coding}
        head, got = [await gateway.client.request(method, path, headers=headers) for method in ("HEAD", "GET")]
        assert head.content == b""
        for name in ("content-length", "content-encoding", "content-type", "etag", "vary", "cache-control"):
            assert head.headers.get(name) == got.headers.get(name), name


async def test_range_of_a_file_is_taken_from_the_file_as_it_is(connection: Connection) -> None:
    response = await get(connection, SCRIPT, b"Accept-Encoding: gzip", b"Range: bytes=10-29")
    plain = await get(connection, SCRIPT)
    assert (response.status, response.body) == (b"HTTP/1.1 206 Partial Content", plain.body[10:30])
    assert b"content-encoding" not in response.headers
    assert response.headers[b"etag"] == plain.headers[b"etag"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nothing", "/assets/nothing"])
async def test_short_answer_is_not_compressed(connection: Connection, path: str) -> None:
    assert b"content-encoding" not in (await get(connection, path, b"Accept-Encoding: gzip")).headers

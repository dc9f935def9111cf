"""Headers that are lists are read whole: in several lines, in the spelling of older programs, at a bounded cost."""

import gzip
import json

import httpx
import pytest

from app.emulator import Emulator
from tests.conftest import Gateway
from tests.http.test_endpoint import PLAIN_JSON, refused
from tests.support.raw_client import BODY, Connection, executions, request

QUERY = "{ sessions(first: 1) { nodes { name } } }"


async def post(gateway: Gateway, *headers: tuple[str, str], content: bytes | None = None) -> httpx.Response:
    lines = [("x-api-key", "demo"), ("content-type", PLAIN_JSON), *headers]
    return await gateway.client.post(
        "/graphql", content=content or json.dumps({"query": QUERY}).encode(), headers=lines
    )


@pytest.mark.parametrize(
    "accept",
    [
        "text/html, image/gif, *; q=.2, */*; q=.2",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "*/*;q=.8",
        "*/*; q=0.8999999",
        "*;q=1.",
        "application/json;q= 0.5",
    ],
)
async def test_accept_header_of_an_older_program_is_answered(gateway: Gateway, accept: str) -> None:
    response = await gateway.post(QUERY, accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{PLAIN_JSON}; charset=utf-8"


@pytest.mark.parametrize(
    "lines", [("max-age=60", "no-cache"), ("no-cache", "max-age=60"), ("no-cache", "no-transform")]
)
async def test_each_line_of_cache_control_counts(gateway: Gateway, langsmith: Emulator, lines: tuple[str, str]) -> None:
    await gateway.post(QUERY)
    await post(gateway, *(("cache-control", line) for line in lines))
    assert len(langsmith.requests) == 2


async def test_each_line_of_if_none_match_counts(gateway: Gateway, connection: Connection) -> None:
    etag = (await connection.request(request())).headers[b"etag"]
    for lines in ([b'"other"', etag], [etag, b'"other"']):
        for _ in range(4):  # the last ones with a known head
            answer = await connection.request(request(BODY, *(b"If-None-Match: " + line for line in lines)))
            assert answer.status == b"HTTP/1.1 304 Not Modified"
    assert await executions(gateway) == {"plan": 1, "kept": 8}


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["gzip"], "`gzip`"),
        (["identity, BR"], "`br`"),
        (["identity", "zstd"], "`zstd`"),
        (["a b"], "one without a valid name"),
        (["x" * 41], "one without a valid name"),
    ],
)
async def test_content_coding_of_a_body_is_refused_with_its_name(
    gateway: Gateway, lines: list[str], named: str
) -> None:
    content = gzip.compress(json.dumps({"query": QUERY}).encode())
    response = await post(gateway, *(("content-encoding", line) for line in lines), content=content)
    status, message = refused(response)
    assert status == 415
    assert message == f"Send the body without a content coding; it has {named}, which this gateway does not read."
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("codings", ["identity", "", ", identity"])
async def test_body_without_a_content_coding_is_read(gateway: Gateway, codings: str) -> None:
    assert (await post(gateway, ("content-encoding", codings))).status_code == 200

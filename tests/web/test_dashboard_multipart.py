"""The dashboard's reader of multipart bodies, and how it merges payloads, in a browser."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page

from tests.conftest import Gateway
from tests.support.browser import browsing, needs_chromium

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]

PART = '\r\ncontent-type: application/json; charset=utf-8\r\n\r\n{"name":"é…\\r\\n---"}'
BODY = f"---{PART}\r\n---{PART}\r\n-----\r\n"
READ = """async ([pieces, boundary]) => {
  const { readParts } = await import("/assets/dashboard/assets/multipart.js");
  const bytes = pieces.map((piece) => Uint8Array.from(piece));
  const body = new ReadableStream({
    pull(controller) { bytes.length ? controller.enqueue(bytes.shift()) : controller.close(); },
  });
  const parts = [];
  try {
    for await (const part of readParts(body, boundary)) parts.push(part);
  } catch (error) {
    parts.push(error.name);
  }
  return parts;
}"""
MERGE = """async (payloads) => {
  const { IncrementalResult } = await import("/assets/dashboard/assets/incremental.js");
  const result = new IncrementalResult();
  return payloads.map((payload) => {
    result.add(payload);
    const { data, errors, extensions, isComplete } = result;
    return JSON.stringify({ data, errors, extensions, isComplete });
  }).map((text) => JSON.parse(text));
}"""


@pytest.fixture
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    async with browsing(str(gateway.client.base_url)) as watched:
        await watched.page.goto(watched.origin)
        yield watched.page


async def read(page: Page, *chunks: bytes, boundary: str = "-") -> Any:
    """The parts of a body that arrives in these chunks, and the name of the error if it cannot be read."""
    return await page.evaluate(READ, [[list(chunk) for chunk in chunks], boundary])


async def test_parts_are_read_wherever_the_body_is_split(page: Page) -> None:
    body = BODY.encode()
    parts = ['{"name":"é…\\r\\n---"}'] * 2
    assert await read(page, body) == parts
    assert await read(page, *(bytes([byte]) for byte in body)) == parts
    for index in range(1, len(body)):
        assert await read(page, body[:index], body[index:]) == parts, index


async def test_a_body_that_ends_before_its_last_boundary_is_an_error_after_its_parts(page: Page) -> None:
    body = BODY.encode()
    part_ends = [body.index(b"\r\n---\r\n") + len(b"\r\n---"), len(body) - len(b"--\r\n")]
    for end in range(len(body) - len(b"\r\n")):
        count = sum(end >= part_end for part_end in part_ends)
        parts = await read(page, body[:end])
        assert parts == ['{"name":"é…\\r\\n---"}'] * count + ["IncompleteBodyError"], end
    assert await read(page) == ["IncompleteBodyError"]


async def test_a_part_is_read_without_waiting_for_the_next_one(page: Page) -> None:
    count = await page.evaluate(
        """async ([head]) => {
          const { readParts } = await import("/assets/dashboard/assets/multipart.js");
          const body = new ReadableStream({ start: (controller) => controller.enqueue(Uint8Array.from(head)) });
          const parts = readParts(body, "-");
          return [(await parts.next()).value.length, (await parts.return()).done];
        }""",
        [list(f"---{PART}\r\n---".encode())],
    )
    assert count == [len('{"name":"é…\\r\\n---"}'), True]


async def test_text_around_the_parts_and_other_boundaries_are_allowed(page: Page) -> None:
    body = "preamble\r\n\r\nof two lines\r\n--a b\r\nx: y\r\n\r\n1\r\n--a b\r\nx: y\r\n\r\n2\r\n--a b--\r\nepilogue"
    assert await read(page, body.encode(), boundary="a b") == ["1", "2"]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/mixed; boundary="-"; incrementalSpec=v0.2', "-"),
        ("multipart/mixed;boundary=gc0p4Jq0M2Yt08jU534c0p;deferSpec=20220824", "gc0p4Jq0M2Yt08jU534c0p"),
        ('Multipart/Mixed; charset=utf-8; Boundary="a b"', "a b"),
        ("multipart/mixed", "-"),
        ("application/json; boundary=-", None),
        ("multipart/mixedness; boundary=x", None),
        ("", None),
    ],
)
async def test_the_boundary_is_that_of_the_content_type(page: Page, content_type: str, boundary: str | None) -> None:
    script = 'async (type) => (await import("/assets/dashboard/assets/multipart.js")).boundaryOf(type)'
    assert await page.evaluate(script, content_type) == boundary


async def test_payloads_are_merged_at_their_paths(page: Page) -> None:
    def payload(text: str) -> Any:
        return json.loads(text)

    results = await page.evaluate(
        MERGE,
        [
            payload('{"data":{"list":{"nodes":[{"id":"a","w":{"x":1}},{"id":"b"}]}},"hasNext":true,"pending":'
                    '[{"id":"0","path":["list","nodes",0],"label":"s"},{"id":"1","path":["list"]}]}'),
            payload('{"incremental":[{"id":"0","data":{"n":null,"w":{"y":2}}}],"completed":[{"id":"0"}],"hasNext":true,'
                    '"pending":[{"id":"2","path":["list","nodes",1]}],"extensions":{"gateway":{"cost":1}}}'),
            payload('{"incremental":[{"id":"1","subPath":["nodes",1],"data":{"n":3},"errors":[{"message":"one"}]},'
                    '{"id":"1","data":{"total":2}}],"completed":[{"id":"1"},{"id":"2","errors":[{"message":"two"}]}],'
                    '"extensions":{"gateway":{"cost":2}},"hasNext":false}'),
        ],
    )  # fmt: skip
    first = {"id": "a", "w": {"x": 1, "y": 2}, "n": None}
    assert [result["data"]["list"] for result in results] == [
        {"nodes": [{"id": "a", "w": {"x": 1}}, {"id": "b"}]},
        {"nodes": [first, {"id": "b"}]},
        {"nodes": [first, {"id": "b", "n": 3}], "total": 2},
    ]
    assert [result["isComplete"] for result in results] == [False, False, True]
    assert results[2]["errors"] == [{"message": "one"}, {"message": "two"}]
    assert results[2]["extensions"] == {"gateway": {"cost": 2}}


async def test_an_answer_without_parts_is_one_complete_payload(page: Page) -> None:
    (whole,) = await page.evaluate(MERGE, [{"data": {"list": None}, "errors": [{"message": "no"}]}])
    assert whole == {"data": {"list": None}, "errors": [{"message": "no"}], "extensions": {}, "isComplete": True}

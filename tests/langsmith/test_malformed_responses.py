"""Responses that break the specification: the whole response, one value, or one row is refused."""

import gzip
import json
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.langsmith.operations import logged, page
from tests.support.raw_upstream import GZIP_HEADERS, Connection, black_hole, listed, raw_upstream, response, row, says

MALFORMED = {
    "empty": response(b""),
    "null": response(b"null"),
    "an object": response(b'{"items": [], "next_cursor": null}'),
    "a string": response(b'"SECRET"'),
    "no objects in it": response(b'[1, "SECRET", null]'),
    "objects and other values": response(json.dumps([row(), 1]).encode()),
    "HTML": response(b"<html>SECRET</html>", headers={"content-type": "text/html"}),
    "cut JSON": response(b'[{"id": "SECRET'),
    "two documents": response(b"[][]"),
    "not UTF-8": response(b'[{"id": "\xff"]'),
    "UTF-16": response("[]".encode("utf-16")),
    "a byte order mark": response(b"\xef\xbb\xbf[]"),
    "NUL bytes": response(b"\0" * 1000),
    "deep": response(b"[" * 200_000),
    "deep and complete": response(b"[" * 200_000 + b"]" * 200_000),
    "longer than its length": response(listed(row()), length=7),
    "not gzip": response(b"[]", headers=GZIP_HEADERS),
    "cut gzip": response(gzip.compress(json.dumps([row()]).encode() * 100)[:-60], headers=GZIP_HEADERS),
    "gzip of an empty body": response(gzip.compress(b""), headers=GZIP_HEADERS),
    "twice gzip": response(gzip.compress(gzip.compress(b"[]")), headers={"content-encoding": "gzip, gzip"}),
    "a compression that was not requested": response(b"[]", headers={"content-encoding": "br"}),
    "an unknown compression": response(b"[]", headers={"content-encoding": "SECRET"}),
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "a status that is not a number": response(status="abc"),
    "a status of four digits": response(status=1000),
    "a header line without a colon": b"HTTP/1.1 200 OK\r\nSECRET\r\ncontent-length: 2\r\n\r\n[]",
    "a header name of other bytes": b"HTTP/1.1 200 OK\r\n\xff\xfe: SECRET\r\ncontent-length: 2\r\n\r\n[]",
    "a header value with a NUL": b"HTTP/1.1 200 OK\r\nx-a: SECRET\0\r\ncontent-length: 2\r\n\r\n[]",
    "a huge header": response(headers={"x-a": "SECRET" * 20_000}),
    "a thousand headers": response(headers={f"x-{number}": "SECRET" for number in range(5000)}),
    "a length below zero": response(length=-1),
    "a length without bounds": response(length=10**40),
    "two lengths": response(headers={"content-length": "5"}),
    "a length and chunks": response(headers={"transfer-encoding": "chunked"}),
    "a chunk of no size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nSECRET\r\n[]\r\n0\r\n\r\n",
}


async def test_unreadable_response_is_reported_as_malformed(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=5) as gateway,
    ):
        for number, (name, answer) in enumerate(MALFORMED.items()):
            upstream.acts = [says(answer, then=Connection.close)]
            upstream.requests.clear()
            shown = await gateway.post(page(number))
            assert "errors" in shown.json(), name
            (error,) = shown.json()["errors"]
            assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}, name
            assert error["path"] == ["sessions"]
            assert "SECRET" not in shown.text, name
            assert len(upstream.requests) == 1, name
            upstream.acts = [says(listed(row()))]
            assert len((await gateway.data(page(number)))["sessions"]["nodes"]) == 1, name
        assert "SECRET" not in gateway.log.getvalue()
        assert logged(gateway, "bug") == []


ODD: list[tuple[str, object, str]] = [
    ("run_count", "many", "runCount"),
    ("run_count", 1.5, "runCount"),
    ("run_count", True, "runCount"),
    ("error_rate", "0.5", "errorRate"),
    ("error_rate", [], "errorRate"),
    ("total_cost", "free", "totalCost"),
    ("total_cost", {}, "totalCost"),
    ("start_time", "yesterday", "startTime"),
    ("start_time", 1_700_000_000, "startTime"),
    ("name", 7, "name"),
    ("reference_dataset_id", "no-uuid", "referenceDatasetId"),
    ("trace_tier", 7, "traceTier"),
    ("run_facets", {"a": 1}, "runFacets"),
    ("feedback_stats", [1], "feedbackStats"),
]


@pytest.mark.parametrize(("name", "value", "field"), ODD)
async def test_value_of_another_type_costs_only_its_field(
    gateway: Gateway, langsmith: Emulator, name: str, value: object, field: str
) -> None:
    selected = f"{field} {{ key }}" if field == "feedbackStats" else field
    langsmith.faults.append(Fault(rewrite=lambda rows: rows[1].update({name: value})))
    body = await gateway.run(f"{{ sessions(first: 3) {{ nodes {{ id description odd: {selected} }} }} }}")
    (error,) = body["errors"]
    assert error["path"] == ["sessions", "nodes", 1, "odd"]
    assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
    assert "127.0.0.1" not in error["message"]
    nodes = body["data"]["sessions"]["nodes"]
    assert nodes[1] == {**nodes[1], "odd": None}
    assert len({node["id"] for node in nodes}) == 3
    await gateway.data("{ sessions(first: 3) { nodes { id description } } }")
    assert len(take_recorded_params(langsmith)) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000], ids=lambda text: text[:9])
async def test_number_outside_json_costs_only_its_field(serve: Serve, number: str) -> None:
    rows = json.dumps([row(1, error_rate=0, run_count=0, total_cost=0), row(2, error_rate=0.5)])
    answer = response(rows.replace(": 0,", f": {number},").replace(": 0}", f": {number}}}").encode())
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        body = await gateway.run("{ sessions { nodes { name errorRate runCount totalCost } } }")
        assert [(error["path"], error["extensions"]) for error in body["errors"]] == [
            (["sessions", "nodes", 0, field], {"code": "UPSTREAM_MALFORMED"})
            for field in ("errorRate", "runCount", "totalCost")
        ]
        first, second = body["data"]["sessions"]["nodes"]
        assert (first["name"], second["name"], second["errorRate"]) == ("session 1", "session 2", 0.5)


async def test_number_of_any_size_is_read_exactly(serve: Serve) -> None:
    rows = json.dumps([row(run_count=10**40, total_cost="0." + "1" * 50)]).encode()
    async with raw_upstream(response(rows)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        answer = await gateway.post("{ sessions { nodes { runCount totalCost } } }")
        assert str(10**40) in answer.text
        assert "0." + "1" * 50 in answer.text


@pytest.mark.parametrize("name", ["id", "tenant_id"])
@pytest.mark.parametrize("value", [None, 7, "no-uuid", "absent"])
async def test_rows_without_id_or_workspace_are_left_out_with_one_error(
    gateway: Gateway, langsmith: Emulator, name: str, value: object
) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        for each in rows[1:3]:
            del each[name]
            if value != "absent":
                each[name] = value

    langsmith.faults.append(Fault(rewrite=spoil))
    body = await gateway.run("{ sessions(first: 5) { nodes { name } } }")
    (error,) = body["errors"]
    assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
    assert error["path"] == ["sessions"]
    assert len(body["data"]["sessions"]["nodes"]) == 3


async def test_rows_beyond_the_limit_are_cut(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(rewrite=lambda rows: rows * 7))
    assert len((await gateway.data("{ sessions(first: 2) { nodes { id } } }"))["sessions"]["nodes"]) == 2
    # The rows beyond the limit are not cached as the next ones either.
    nodes = (await gateway.data("{ sessions(first: 5) { nodes { id } } }"))["sessions"]["nodes"]
    assert len({node["id"] for node in nodes}) == 5

"""Answers in parts: negotiation, parts as they become ready, caching, compression, failures and disconnects."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.emulator import Emulator, Fault
from app.execution.answer_size import MAX_BYTES
from app.http.incremental import MultipartWriter
from app.http.negotiation import RESPONSE_JSON, IncrementalFormat, negotiate
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.support.incremental_client import DRAFT, OLD, merged, parts_of

ROWS = '{ sessions(first: 3) { nodes { id name ... @defer(label: "figures") { runCount } } } }'
PLAIN = ROWS.replace('... @defer(label: "figures") { runCount }', "runCount")
DRAFT_TYPE = 'multipart/mixed; boundary="-"; incrementalSpec=v0.2'
OLD_TYPE = 'multipart/mixed; boundary="-"; deferSpec=20220824'
BOUNDARY = "\r\n---\r\n"
LONG = [
    "{ sessions(first: 100) { nodes { " + "...F " * 8 + "} } } "
    f'fragment F on Session {{ ... @defer(label: "{"l" * 60_000}") {{ id }} }}',
    f"{{ {'k' * 60_000}: sessions(first: 100) {{ nodes {{ {'... @defer { id } ' * 8} }} }} }}",
]
"""Operations whose parts would repeat a long label, or a long path, in each row."""


class Stream:
    """An answer that is being received."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.text = ""
        self._chunks = response.aiter_text()

    async def read_until(self, text: str) -> None:
        """Read until the text has arrived."""
        while text not in self.text:
            self.text += await anext(self._chunks)

    async def read_to_end(self) -> None:
        async for chunk in self._chunks:
            self.text += chunk


@contextlib.asynccontextmanager
async def streaming(
    gateway: Gateway, query: str = ROWS, *, accept: str = DRAFT, **headers: str
) -> AsyncIterator[Stream]:
    every = {"x-api-key": "demo", "accept": accept, **headers}
    async with gateway.client.stream("POST", "/graphql", json={"query": query}, headers=every) as response:
        yield Stream(response)


async def lines(gateway: Gateway, event: str = "operation") -> list[dict[str, Any]]:
    """The lines of the log about an event. The line of an operation comes after the last byte of its answer."""
    await gateway.client.get("/healthz")
    return [line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line["event"] == event]


@pytest.mark.parametrize(
    ("accept", "parts"),
    [
        ("multipart/mixed;incrementalSpec=v0.2", IncrementalFormat.DRAFT),
        ("multipart/mixed;deferSpec=20220824", IncrementalFormat.OLD),
        ("multipart/mixed", IncrementalFormat.DRAFT),
        ('Multipart/Mixed; boundary="-"; INCREMENTALSPEC="v0.2"', IncrementalFormat.DRAFT),
        ("application/json, multipart/mixed", IncrementalFormat.DRAFT),
        (
            "multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9",
            IncrementalFormat.OLD,
        ),
        (
            "application/graphql-response+json, application/json, text/event-stream, multipart/mixed",
            IncrementalFormat.DRAFT,
        ),
        ("multipart/mixed;deferSpec=20220824;q=0.5, multipart/mixed;incrementalSpec=v0.2", IncrementalFormat.DRAFT),
        ("multipart/mixed;deferSpec=20220824, multipart/mixed;incrementalSpec=v0.2", IncrementalFormat.OLD),
        ("multipart/mixed;subscriptionSpec=1.0, application/json", None),
        ("multipart/mixed;incrementalSpec=v9, application/json", None),
        ("multipart/mixed;q=0, application/json", None),
        ("multipart/mixed;q=0.9, application/json", None),
        ("multipart/mixed;q=0.9, application/json;q=0.9", IncrementalFormat.DRAFT),
        ("multipart/mixed;q=0.9, */*", None),
        ("application/json", None),
        ("*/*", None),
        ("multipart/*", None),
        ("", None),
    ],
)
def test_format_of_parts_is_the_one_that_the_client_names_and_prefers(
    accept: str, parts: IncrementalFormat | None
) -> None:
    assert negotiate(accept if accept != "multipart/*" else "multipart/*, application/json").parts is parts


@pytest.mark.parametrize(("accept", "content_type"), [(DRAFT, DRAFT_TYPE), (OLD, OLD_TYPE)])
async def test_rows_arrive_before_their_statistics(
    gateway: Gateway, langsmith: Emulator, accept: str, content_type: str
) -> None:
    whole = await gateway.run(PLAIN)
    gateway_headers = {"cache-control": "no-cache", "accept-encoding": "identity"}
    release = langsmith.pause_statistics()
    async with streaming(gateway, accept=accept, **gateway_headers) as stream:
        assert stream.response.status_code == 200
        headers = stream.response.headers
        assert headers["content-type"] == content_type
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        assert headers["incremental"] == "?1"
        assert {"accept", "x-api-key"} <= {each.strip() for each in headers["vary"].split(",")}
        await stream.read_until(f"true}}{BOUNDARY}")
        names = re.findall('"name":"(.*?)"', stream.text)
        assert names == [each["name"] for each in whole["data"]["sessions"]["nodes"]]
        assert "runCount" not in stream.text
        release.set()
        await stream.read_to_end()
    payloads = [json.loads(part.partition("\r\n\r\n")[2]) for part in re.split("\r\n---(?:--)?\r\n", stream.text)[1:-1]]
    assert len(payloads) == 2
    assert merged(payloads) == whole


async def test_draft_announces_each_place_and_the_earlier_format_names_path_and_label(gateway: Gateway) -> None:
    rows = (await gateway.data(PLAIN))["sessions"]["nodes"]
    paths = [["sessions", "nodes", index] for index in range(3)]
    first, last = parts_of(await gateway.post(ROWS, accept=DRAFT))
    assert first["pending"] == [{"id": str(n), "path": path, "label": "figures"} for n, path in enumerate(paths)]
    assert first["data"]["sessions"]["nodes"] == [{"id": row["id"], "name": row["name"]} for row in rows]
    assert last == {
        "incremental": [{"id": str(n), "data": {"runCount": row["runCount"]}} for n, row in enumerate(rows)],
        "completed": [{"id": str(n)} for n in range(3)],
        "hasNext": False,
    }
    first, last = parts_of(await gateway.post(ROWS, accept=OLD))
    assert first.keys() == {"data", "hasNext"}
    assert last == {
        "incremental": [
            {"path": path, "label": "figures", "data": {"runCount": row["runCount"]}}
            for path, row in zip(paths, rows, strict=True)
        ],
        "hasNext": False,
    }


async def test_draft_sends_no_field_twice(gateway: Gateway) -> None:
    query = """{ sessions(first: 2) {
        nodes { id name day: stats(last: "PT24H") { id } }
        ... @defer { nodes { name errorRate day: stats(last: "PT24H") { id runCount } } pageInfo { hasNextPage } }
    } }"""
    first, last = parts_of(await gateway.post(query, accept=DRAFT))
    assert first["pending"] == [{"id": "0", "path": ["sessions"]}]
    entries = {tuple(each.get("subPath", ())): set(each["data"]) for each in last["incremental"]}
    assert entries == {
        (): {"pageInfo"},
        ("nodes", 0): {"errorRate"},
        ("nodes", 0, "day"): {"runCount"},
        ("nodes", 1): {"errorRate"},
        ("nodes", 1, "day"): {"runCount"},
    }
    whole = await gateway.run(query)
    assert merged([first, last]) == whole
    [entry] = parts_of(await gateway.post(query, accept=OLD))[1]["incremental"]
    assert entry["path"] == ["sessions"]
    assert entry["data"]["nodes"][0].keys() == {"name", "errorRate", "day"}


async def test_fragment_inside_a_deferred_fragment_is_announced_with_it(gateway: Gateway) -> None:
    [row] = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"]
    inner = '... @defer(label: "inner") { errorRate }'
    query = f'{{ session(id: "{row["id"]}") {{ id ... @defer(label: "outer") {{ runCount {inner} }} }} }}'
    first, *later = parts_of(await gateway.post(query, accept=DRAFT))
    assert [each["label"] for each in first["pending"]] == ["outer"]
    assert [each["label"] for payload in later for each in payload.get("pending", ())] == ["inner"]
    assert merged([first, *later]) == await gateway.run(query)


@pytest.mark.parametrize("condition", ["if: false", "if: $later"])
async def test_inactive_defer_is_answered_as_a_whole(gateway: Gateway, condition: str) -> None:
    declared = "query ($later: Boolean!) " if "$" in condition else ""
    query = declared + ROWS.replace('label: "figures"', condition)
    response = await gateway.post(query, {"later": False} if declared else None, accept=DRAFT)
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json() == await gateway.run(PLAIN)
    if declared:
        assert len(parts_of(await gateway.post(query, {"later": True}, accept=DRAFT))) == 2


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", RESPONSE_JSON, "multipart/mixed;subscriptionSpec=1.0, application/json"]
)
async def test_client_that_takes_json_gets_the_whole_answer(gateway: Gateway, accept: str) -> None:
    response = await gateway.post(ROWS, accept=accept)
    assert "json" in response.headers["content-type"]
    assert response.json() == await gateway.run(PLAIN)


async def test_client_that_takes_parts_only_gets_other_operations_as_json(gateway: Gateway) -> None:
    response = await gateway.post(PLAIN, accept="multipart/mixed")
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert "data" in response.json()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ('{ sessions(filter: {nameContains: "no such"}) { nodes { id ... @defer { runCount } } } }', None),
        ("{ sessions(first: 0) { nodes { id ... @defer { runCount } } } }", "BAD_USER_INPUT"),
        ("{ sessions { nodes { id ... @defer { nothing } } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ sessions { nodes { id ... @defer(label: 1) { runCount } } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ sessions { nodes { id ... @defer @defer { runCount } } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ sessions { nodes { id ... @stream { runCount } } } }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_answer_without_a_place_for_the_fragment_is_json(gateway: Gateway, query: str, code: str | None) -> None:
    response = await gateway.post(query, accept=DRAFT)
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    errors = response.json().get("errors", [])
    assert {each["extensions"]["code"] for each in errors} == ({code} if code else set())


async def test_twenty_fragments_can_be_deferred_and_not_more(gateway: Gateway) -> None:
    fields = ["runCount", "latencyP50", "latencyP99", "errorRate"]
    fragments = [f'... @defer(label: "{n}") {{ a{n}: {fields[n % 4]} }}' for n in range(21)]
    query = "{{ sessions(first: 1) {{ nodes {{ id {} }} }} }}"
    first, *_ = parts_of(await gateway.post(query.format(" ".join(fragments[:20])), accept=DRAFT))
    assert len(first["pending"]) == 20
    [error] = await gateway.errors(query.format(" ".join(fragments)))
    assert error["extensions"] == {"code": "OPERATION_TOO_EXPENSIVE", "limit": 20, "value": 21}


async def test_answer_is_kept_whole_and_answered_with_its_etag(gateway: Gateway, langsmith: Emulator) -> None:
    streamed = await gateway.post(ROWS, accept=DRAFT, **{"accept-encoding": "identity"})
    assert "etag" not in streamed.headers
    kept = await gateway.post(ROWS, accept=DRAFT, **{"accept-encoding": "identity"})
    assert kept.content == streamed.content
    assert kept.headers["content-type"] == DRAFT_TYPE
    assert kept.headers["cache-control"].startswith("private, max-age=")
    assert kept.headers["content-length"] == str(len(kept.content))
    headers = {"if-none-match": kept.headers["etag"], "accept-encoding": "identity"}
    not_modified = await gateway.post(ROWS, accept=DRAFT, **headers)
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert len(langsmith.requests) == 2
    assert (await gateway.post(ROWS, accept=OLD)).headers["content-type"] == OLD_TYPE
    assert (await gateway.post(ROWS, accept="application/json")).json() == await gateway.run(PLAIN)
    assert len(langsmith.requests) == 2


async def test_held_statistics_are_answered_at_once_and_kept(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(PLAIN)
    langsmith.requests.clear()
    response = await gateway.post(ROWS, accept=DRAFT)
    assert response.headers["etag"]
    assert merged(parts_of(response)) == await gateway.run(PLAIN)
    assert langsmith.requests == []


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_each_part_can_be_decompressed_when_it_arrives(
    gateway: Gateway, langsmith: Emulator, coding: str
) -> None:
    release = langsmith.pause_statistics()
    async with streaming(gateway, **{"accept-encoding": coding}) as stream:
        assert stream.response.headers["content-encoding"] == coding
        await stream.read_until(f"true}}{BOUNDARY}")
        release.set()
        await stream.read_to_end()
    assert stream.text.endswith("false}\r\n-----\r\n")


async def test_first_part_has_its_boundary_in_the_compressed_bytes_of_gzip(
    gateway: Gateway, langsmith: Emulator
) -> None:
    response = await gateway.post(ROWS, accept=DRAFT, **{"accept-encoding": "identity"})
    kept = await gateway.post(ROWS, accept=DRAFT, **{"accept-encoding": "gzip;q=1, identity;q=0"})
    assert kept.headers["content-encoding"] == "gzip"
    assert kept.content == response.content


async def test_failed_statistics_are_null_and_the_rows_stay(gateway: Gateway, langsmith: Emulator) -> None:
    query = """{ sessions(first: 2) { nodes { id
        ... @defer { runCount day: stats(last: "PT24H", filter: "no such(") { errorRate } }
        ... @defer { week: stats(last: "P7D") { runCount } }
    } } }"""
    first, *later = parts_of(await gateway.post(query, accept=DRAFT))
    answer = merged([first, *later])
    nodes = answer["data"]["sessions"]["nodes"]
    assert all(node["runCount"] is not None and node["week"] and node["day"] is None for node in nodes)
    [error] = answer["errors"]
    assert error["path"] == ["sessions", "nodes", 0, "day"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert all(set(each) == {"id"} for payload in later for each in payload["completed"])
    assert (await lines(gateway))[-1]["outcome"] == "BAD_USER_INPUT"
    assert "etag" not in (await gateway.post(query, accept=DRAFT)).headers


async def test_error_of_a_root_field_is_sent_once(gateway: Gateway) -> None:
    query = "{ a: sessions(first: 0) { nodes { id } } ... @defer { a: sessions(first: 0) { nodes { runCount } } } }"
    for accept in (DRAFT, OLD):
        answer = merged(parts_of(await gateway.post(query, accept=accept)))
        assert answer["data"] == {"a": None}
        assert [error["path"] for error in answer["errors"]] == [["a"]]


@pytest.mark.parametrize("accept", [DRAFT, OLD])
async def test_failure_of_the_rows_own_statistics_costs_no_row(serve: Serve, langsmith: Emulator, accept: str) -> None:
    query = "{ list: sessions(first: 2) { rows: edges { node { id ... @defer { n: runCount errorRate } } } } }"
    async with serve(upstream_retries=0) as gateway:
        await gateway.data("{ sessions(first: 2) { nodes { id } } }")
        langsmith.faults.append(Fault(status=500, times=None))
        answer = merged(parts_of(await gateway.post(query, accept=accept)))
    assert [set(row["node"].values()) - {row["node"]["id"]} for row in answer["data"]["list"]["rows"]] == [{None}] * 2
    [error] = answer["errors"]
    assert error["path"] == ["list", "rows", 0, "node", "n"]
    assert error["extensions"]["code"] == "UPSTREAM_ERROR"


async def test_parts_that_are_too_large_together_are_refused(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    query = """{ sessions(first: 20) { nodes { id
        ... @defer(label: "small") { runCount } ... @defer(label: "large") { extra name description startTime }
    } } }"""
    monkeypatch.setattr("app.execution.executor.MAX_BYTES", 8000)
    answer = merged(parts_of(await gateway.post(query, accept=OLD)))
    assert len(answer["data"]["sessions"]["nodes"]) == 20
    assert {each["extensions"]["code"] for each in answer["errors"]} == {"RESULT_TOO_LARGE"}


@pytest.mark.parametrize("accept", [DRAFT, OLD])
@pytest.mark.parametrize("query", LONG)
async def test_long_labels_and_paths_count_at_each_place(gateway: Gateway, query: str, accept: str) -> None:
    response = await gateway.post(query, accept=accept)
    assert len(response.content) < 1000
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "RESULT_TOO_LARGE", "limit": MAX_BYTES}


async def test_long_labels_of_fragments_inside_of_others_count_too(gateway: Gateway) -> None:
    inner = f'... @defer(label: "{"l" * 60_000}") {{ id }}'
    query = f"""{{ sessions(first: 100) {{ ...F @defer nodes {{ id }} }} }}
    fragment F on SessionConnection {{ {"nodes { ...G } " * 8} }} fragment G on Session {{ {inner} }}"""
    payloads = parts_of(await gateway.post(query, accept=DRAFT))
    assert sum(len(json.dumps(each)) for each in payloads) < 100_000
    answer = merged(payloads)
    assert len(answer["data"]["sessions"]["nodes"]) == 100
    assert {each["extensions"]["code"] for each in answer["errors"]} == {"RESULT_TOO_LARGE"}


async def test_bug_after_the_first_part_breaks_the_connection(
    gateway: Gateway, langsmith: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(MultipartWriter, "next", broken)
    release = langsmith.pause_statistics()
    async with streaming(gateway) as stream:
        await stream.read_until(f"true}}{BOUNDARY}")
        release.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await stream.read_to_end()
    assert not stream.text.endswith("-----\r\n")
    assert "secret" not in stream.text
    assert [line["outcome"] for line in await lines(gateway)] == ["INTERNAL_SERVER_ERROR"]
    assert len(await lines(gateway, "bug")) == 1


async def test_disconnect_after_the_first_part_ends_the_requests_to_langsmith(
    gateway: Gateway, langsmith: Emulator
) -> None:
    langsmith.pause_statistics()
    async with streaming(gateway) as stream:
        await stream.read_until(f"true}}{BOUNDARY}")
        await langsmith.wait_for_requests(2)
    await asyncio.wait_for(langsmith.wait_for_disconnects(1), 20)
    assert [line["outcome"] for line in await lines(gateway)] == ["cancelled"]


async def test_operation_is_logged_and_counted_once_with_the_time_to_its_first_part(gateway: Gateway) -> None:
    await gateway.post("query Rows " + ROWS, accept=DRAFT)
    [line] = await lines(gateway)
    assert (line["name"], line["outcome"]) == ("Rows", "ok")
    metrics = (await gateway.client.get("/metrics")).text
    assert 'gateway_operations_total{outcome="ok"} 1.0' in metrics
    assert "gateway_operation_seconds_count 1.0" in metrics
    assert "gateway_operation_first_part_seconds_count 1.0" in metrics


async def test_explain_is_cumulative_at_the_top_of_each_payload(gateway: Gateway) -> None:
    response = await gateway.post(ROWS, accept=DRAFT, **{"x-gateway-explain": "1"})
    first, last = parts_of(response)
    requests = [each["extensions"]["gateway"]["fields"]["sessions"]["requests"] for each in (first, last)]
    assert [len(each) for each in requests] == [1, 2]
    assert requests[1][0] == requests[0][0]
    assert last["extensions"]["gateway"]["cost"] == first["extensions"]["gateway"]["cost"]
    assert all("extensions" not in entry for entry in last["incremental"])


async def test_get_request_is_answered_in_parts(gateway: Gateway) -> None:
    headers = {"x-api-key": "demo", "accept": DRAFT}
    response = await gateway.client.get("/graphql", params={"query": ROWS}, headers=headers)
    assert len(parts_of(response)) == 2


async def test_requests_of_an_operation_in_parts(gateway: Gateway, langsmith: Emulator) -> None:
    query = """{ sessions(first: 2, orderBy: {field: NAME, direction: ASC}, stats: {last: "P7D"}) {
        nodes { id ...A @defer ...B @defer }
    } }
    fragment A on Session { runCount day: stats(last: "PT24H") { runCount } }
    fragment B on Session { errorRate day: stats(last: "PT24H") { errorRate } }"""
    await gateway.post(query, accept=DRAFT)
    page, *windows = take_recorded_params(langsmith)
    assert not any(name.startswith(("stats", "include")) for name, _ in page)
    assert len(windows) == 2
    for window in windows:
        assert len([value for name, value in window if name == "id"]) == 2
        assert {value for name, value in window if name == "stats_select"} == {"run_count", "error_rate"}


async def test_gzip_of_parts_is_one_gzip_stream(gateway: Gateway, langsmith: Emulator) -> None:
    release = langsmith.pause_statistics()
    raw = b""
    headers = {"x-api-key": "demo", "accept": DRAFT, "accept-encoding": "gzip"}
    async with gateway.client.stream("POST", "/graphql", json={"query": ROWS}, headers=headers) as response:
        async for chunk in response.aiter_raw():
            raw += chunk
            release.set()
    assert gzip.decompress(raw).endswith(b"-----\r\n")

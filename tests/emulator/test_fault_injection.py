"""Tests can record, delay, pause and spoil requests."""

import asyncio

import httpx
import pytest

from app.emulator import Emulator, Fault
from tests.conftest import TIMEOUT_SECONDS
from tests.emulator.expected import ListSessions, Rows


async def test_requests_are_recorded_with_path_parameters_headers_and_status(
    langsmith: Emulator, client: httpx.AsyncClient
) -> None:
    await client.get("/api/v1/sessions?id=a&id=b&name=&name_contains=%C3%BC", headers={"X-Request-Id": "r-1"})
    await client.get("/info")
    first, second = langsmith.requests
    assert (first.path, first.status, second.path, second.status) == ("/api/v1/sessions", 422, "/info", 200)
    assert first.params == [("id", "a"), ("id", "b"), ("name", ""), ("name_contains", "ü")]
    assert first.headers["x-request-id"] == "r-1"


async def test_a_fault_replaces_as_many_responses_as_it_says(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.faults = [
        Fault(status=503, body=b"<html>", headers={"Content-Type": "text/html", "Retry-After": "2"}),
        Fault(status=429, times=2),
    ]
    first = await client.get("/sessions")
    assert (first.status_code, first.content) == (503, b"<html>")
    assert (first.headers["content-type"], first.headers["retry-after"]) == ("text/html", "2")
    rest = [(await client.get("/sessions")).status_code for _ in range(3)]
    assert rest == [429, 429, 200]
    assert [request.status for request in langsmith.requests] == [503, 429, 429, 200]


async def test_a_permanent_fault_replaces_every_response(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.faults = [Fault(status=500, times=None)]
    assert [(await client.get("/sessions")).status_code for _ in range(3)] == [500] * 3
    langsmith.faults.clear()
    assert (await client.get("/sessions")).status_code == 200


async def test_a_fault_can_be_for_one_path_only(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.faults = [Fault(status=500, path="/api/v2"), Fault(status=502, times=None, path="/api/v1/")]
    paths = ("/api/v1/sessions", "/sessions", "/api/v2/sessions", "/api/v2/sessions", "/api/v1/sessions")
    assert [(await client.get(path)).status_code for path in paths] == [502, 200, 500, 200, 502]


async def test_a_fault_can_rewrite_the_rows(langsmith: Emulator, client: httpx.AsyncClient, page: ListSessions) -> None:
    def without_name(rows: Rows) -> None:
        rows[0]["feedback_stats"] = "odd"
        del rows[0]["name"]

    langsmith.faults = [Fault(rewrite=without_name), Fault(rewrite=lambda rows: {"items": rows})]
    (row,) = await page(limit=1, include_stats=True)
    assert "name" not in row
    assert (await client.get("/sessions?limit=1")).json().keys() == {"items"}
    (row,) = await page(limit=1, include_stats=True)
    assert isinstance(row["feedback_stats"], dict)


async def test_a_fault_can_add_headers_to_a_correct_response(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.faults = [Fault(headers={"Deprecation": "true"})]
    response = await client.get("/sessions?limit=1")
    assert (response.status_code, response.headers["deprecation"], len(response.json())) == (200, "true", 1)


@pytest.mark.parametrize("body", [None, b'[{"id": '])
async def test_a_fault_can_close_the_connection(
    langsmith: Emulator, client: httpx.AsyncClient, body: bytes | None
) -> None:
    langsmith.faults = [Fault(hang_up=True, body=body)]
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.get("/sessions")
    assert (await client.get("/sessions")).status_code == 200
    assert [request.status for request in langsmith.requests] == [None, 200]


async def test_paused_requests_are_answered_once_the_event_is_set(
    langsmith: Emulator, client: httpx.AsyncClient
) -> None:
    release = langsmith.pause()
    tasks = [asyncio.create_task(client.get("/sessions?limit=1")) for _ in range(3)]
    await langsmith.wait_for_requests(3)
    assert [request.status for request in langsmith.requests] == [None] * 3
    assert not any(task.done() for task in tasks)
    release.set()
    assert [response.status_code for response in await asyncio.gather(*tasks)] == [200] * 3
    assert (await client.get("/sessions?limit=1")).status_code == 200


async def test_a_client_that_disconnects_before_its_response_is_counted(
    langsmith: Emulator, client: httpx.AsyncClient
) -> None:
    langsmith.pause()
    task = asyncio.create_task(client.get("/sessions"))
    await langsmith.wait_for_requests(1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await langsmith.wait_for_disconnects(1)
    assert langsmith.disconnects == 1
    assert langsmith.requests[0].status is None


async def test_latency_delays_the_response(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.latency = 30.0
    with pytest.raises(httpx.ReadTimeout):
        await client.get("/sessions", timeout=httpx.Timeout(TIMEOUT_SECONDS, read=0.05))
    await langsmith.wait_for_disconnects(1)


async def test_responses_are_compressed_for_clients_that_accept_gzip(client: httpx.AsyncClient) -> None:
    plain = await client.get("/sessions", headers={"Accept-Encoding": "identity"})
    compressed = await client.get("/sessions", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(plain.content) / 4
    assert plain.content == compressed.content
    assert plain.headers["content-type"] == compressed.headers["content-type"] == "application/json"

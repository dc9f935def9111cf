"""Tests can switch the behaviour of the emulated API where installations differ, or where the real one is unknown."""

from collections.abc import Awaitable, Callable
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from app.emulator import Behaviour, Emulator
from tests.conftest import TIMEOUT_SECONDS, create_http_client
from tests.emulator.conftest import Clock
from tests.emulator.expected import NOW, STATISTICS, Rows, ids, sessions_of

V1, V2 = "/api/v1/sessions", "/api/v2/sessions"
BOTH = pytest.mark.parametrize("path", [V1, V2], ids=["v1", "v2"])
SIZE = {V1: "limit", V2: "page_size"}
FACETS = {V1: "facets", V2: "include_facets"}
DIRECTION = {V1: {"sort_by_desc": "true"}, V2: {"sort_order": "desc"}}
INVALID = {V1: 422, V2: 400}

Get = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def get(client: httpx.AsyncClient) -> Get:
    async def get(path: str, **params: Any) -> httpx.Response:
        return await client.get(path, params=params)

    return get


def rows_of(response: httpx.Response) -> Rows:
    assert response.status_code == 200, response.text
    body = response.json()
    found: Rows = body if isinstance(body, list) else body["items"]
    return found


def test_each_switch_is_documented_and_an_attribute_of_the_emulator(langsmith: Emulator) -> None:
    for switch in fields(Behaviour):
        assert f"    {switch.name}: " in (Behaviour.__doc__ or "")
        assert getattr(langsmith, switch.name) == switch.default


class Refusal(NamedTuple):
    """A request that a switch refuses or accepts, with `status` if it is refused: 422 or 400 by default."""

    switch: str
    refusing: Any
    accepting: Any
    params: Callable[[str], dict[str, Any]]
    paths: tuple[str, ...] = (V1, V2)
    status: int | None = None


REFUSALS = [
    Refusal("refuses_stats_select", True, False, lambda _: {"include_stats": True, "stats_select": ["run_count"]}),
    Refusal(
        "sorting_needs_stats", True, False, lambda path: {"sort_by": "latency_p99" if path == V1 else "LATENCY_P99"}
    ),
    Refusal("moves_early_windows", False, True, lambda _: {"stats_start_time": "2025-01-01T00:00:00Z"}),
    Refusal("clamps_page_size", False, True, lambda path: {SIZE[path]: 101}),
    Refusal("max_ids", 100, None, lambda _: {"id": [str(uuid4()) for _ in range(101)]}, status=414),
    Refusal("max_ids", 100, 101, lambda _: {"id": [str(uuid4()) for _ in range(101)]}, status=414),
    Refusal("refuses_session_times", True, False, lambda _: {"filter": 'gt(start_time, "2026-01-01T00:00:00Z")'}),
    Refusal("refuses_run_times", True, False, lambda _: {"stats_filter": 'lt(start_time, "2026-03-01T00:00:00Z")'}),
    Refusal("refuses_run_count_order", True, False, lambda _: {"sort_by": "runs_count"}, paths=(V1,)),
    Refusal("v2_needs_workspace", True, False, lambda _: {}, paths=(V2,), status=403),
    *(Refusal("v1_status", status, None, lambda _: {}, paths=(V1,), status=status) for status in (404, 405, 410, 501)),
    Refusal("has_v2", False, True, lambda _: {}, paths=(V2,), status=404),
    Refusal("strict_edge", True, False, lambda _: {}, status=403),
]


@pytest.mark.parametrize(
    ("refusal", "path"),
    [(refusal, path) for refusal in REFUSALS for path in refusal.paths],
    ids=lambda part: part[5:7] if isinstance(part, str) else f"{part.switch}={part.refusing}",
)
async def test_a_switch_refuses_or_accepts_a_request(
    langsmith: Emulator, get: Get, refusal: Refusal, path: str
) -> None:
    params = refusal.params(path)
    setattr(langsmith, refusal.switch, refusal.refusing)
    assert (await get(path, **params)).status_code == (refusal.status or INVALID[path])
    setattr(langsmith, refusal.switch, refusal.accepting)
    assert (await get(path, **params)).status_code == 200


@BOTH
async def test_page_sizes_above_100_are_clamped(langsmith: Emulator, get: Get, path: str) -> None:
    langsmith.clamps_page_size = True
    assert len(rows_of(await get(path, **{SIZE[path]: 500}))) == 100


@BOTH
async def test_early_windows_are_moved_to_31_days_back(langsmith: Emulator, get: Get, path: str) -> None:
    langsmith.moves_early_windows = True
    stats = {"include_stats": True, "stats_select": "run_count"}
    early = rows_of(await get(path, **stats, stats_start_time="2025-01-01T00:00:00Z"))
    earliest = rows_of(await get(path, **stats, stats_start_time=(NOW - timedelta(days=31)).isoformat()))
    assert early == earliest


@BOTH
async def test_unselected_statistics_are_absent(langsmith: Emulator, get: Get, path: str) -> None:
    langsmith.leaves_out_unselected = True
    for row in rows_of(await get(path, include_stats=True, stats_select=["run_count", "error_rate"])):
        assert row.keys() & STATISTICS == {"run_count", "error_rate"}


@BOTH
async def test_facets_need_statistics(langsmith: Emulator, get: Get, path: str) -> None:
    facets = {FACETS[path]: "true"}
    assert all(row["run_facets"] is not None for row in rows_of(await get(path, **facets)))
    langsmith.facets_need_stats = True
    assert all(row["run_facets"] is None for row in rows_of(await get(path, **facets)))
    assert all(row["run_facets"] is not None for row in rows_of(await get(path, **facets, include_stats=True)))


@BOTH
async def test_sorting_by_a_statistic_is_accepted_with_statistics(langsmith: Emulator, get: Get, path: str) -> None:
    langsmith.sorting_needs_stats = True
    statistic, column = ("error_rate", "name") if path == V1 else ("ERROR_RATE", "NAME")
    assert (await get(path, sort_by=statistic, include_stats=True)).status_code == 200
    assert (await get(path, sort_by=column)).status_code == 200


@BOTH
async def test_names_are_matched_by_case(langsmith: Emulator, get: Get, path: str) -> None:
    lower, upper = ({"name_contains": part, SIZE[path]: 100} for part in ("support-agent", "SUPPORT-AGENT"))
    assert ids(rows_of(await get(path, **lower))) == ids(rows_of(await get(path, **upper)))
    langsmith.matches_case = True
    assert rows_of(await get(path, **lower))
    assert rows_of(await get(path, **upper)) == []


@BOTH
@pytest.mark.parametrize(("offsets", "expected"), [("some", {True, False}), ("all", {True}), ("none", {False})])
async def test_times_have_an_offset_or_none(
    langsmith: Emulator, get: Get, path: str, offsets: Any, expected: set[bool]
) -> None:
    langsmith.time_offsets = offsets
    rows = rows_of(await get(path, include_stats=True, **{SIZE[path]: 100}))
    for name in ("start_time", "end_time", "last_run_start_time", "last_run_start_time_live"):
        times = [datetime.fromisoformat(row[name]) for row in rows if row[name] is not None]
        assert {time.tzinfo is not None for time in times} == expected


async def test_the_times_of_a_session_are_the_same_with_and_without_an_offset(langsmith: Emulator, get: Get) -> None:
    langsmith.time_offsets = "all"
    with_offset = [row["start_time"] for row in rows_of(await get(V1))]
    langsmith.time_offsets = "none"
    assert [f"{row['start_time']}+00:00" for row in rows_of(await get(V1))] == with_offset


@BOTH
async def test_sorting_by_the_last_run_does_not_depend_on_offsets(langsmith: Emulator, get: Get, path: str) -> None:
    column = "last_run_start_time" if path == V1 else "LAST_RUN_START_TIME"
    orders = []
    for langsmith.time_offsets in ("some", "all", "none"):
        orders.append([row["id"] for row in rows_of(await get(path, sort_by=column))])
    assert orders[0] == orders[1] == orders[2]


async def test_the_end_of_v1_answers_good_credentials_only(langsmith: Emulator, url: str) -> None:
    langsmith.v1_status = 410
    session = sessions_of(langsmith)[0].id
    async with create_http_client(url) as anonymous:
        for path in (V1, "/sessions", f"{V1}/{session}"):
            assert (await anonymous.get(path)).status_code == 401
            response = await anonymous.get(path, headers={"X-API-Key": "demo"})
            assert (response.status_code, response.json()) == (410, {"detail": "Gone"})
        for path in (V2, "/info", "/api/v1/info"):
            assert (await anonymous.get(path, headers={"X-API-Key": "demo"})).status_code == 200


async def test_an_installation_without_v2_finds_none_of_its_paths(langsmith: Emulator, url: str) -> None:
    langsmith.has_v2 = False
    async with create_http_client(url) as anonymous:
        for path in (V2, f"{V2}/{sessions_of(langsmith)[0].id}"):
            for headers in ({}, {"X-API-Key": "demo"}):
                response = await anonymous.get(path, headers=headers)
                assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})
        assert (await anonymous.post(V2, headers={"X-API-Key": "demo"})).status_code == 404


async def test_the_end_of_v1_is_announced_in_its_headers_only(langsmith: Emulator, get: Get) -> None:
    assert "sunset" not in (await get(V1)).headers
    langsmith.deprecated = True
    for response in (await get(V1), await get("/sessions", limit=1), await get(V1, limit=0)):
        assert response.headers["deprecation"] == "@1782864000"
        assert response.headers["sunset"] == "Thu, 01 Jul 2027 00:00:00 GMT"
    for path in (V2, "/info"):
        assert not {"deprecation", "sunset"} & (await get(path)).headers.keys()


@BOTH
@pytest.mark.parametrize(
    ("agent", "is_sorted", "status"),
    [
        ("sessions-gateway/1", True, 200),
        ("sessions-gateway/1", False, 403),
        ("python-httpx/0.28.1", True, 403),
        ("Python/3.12 aiohttp/3.13", True, 403),
        ("", True, 403),
    ],
)
async def test_a_strict_edge_requires_an_order_and_an_own_user_agent(
    langsmith: Emulator, client: httpx.AsyncClient, path: str, agent: str, is_sorted: bool, status: int
) -> None:
    langsmith.strict_edge = True
    name = "name" if path == V1 else "NAME"
    params = {"sort_by": name, **DIRECTION[path]} if is_sorted else {SIZE[path]: "5"}
    response = await client.get(path, params=params, headers={"User-Agent": agent})
    assert response.status_code == status
    assert status == 200 or (response.headers["content-type"], response.content[:6]) == ("text/html", b"<html>")


@BOTH
async def test_requests_above_the_rate_limit_are_refused_until_the_next_window(
    langsmith: Emulator, clock: Clock, url: str, get: Get, path: str
) -> None:
    langsmith.rate_limit = 2
    assert [(await get(path)).status_code for _ in range(3)] == [200, 200, 429]
    assert (await get(path)).headers["retry-after"] == "9"
    langsmith.sends_retry_after = False
    assert "retry-after" not in (await get(path)).headers
    async with create_http_client(url, key="demo-2") as other:
        assert (await other.get(path)).status_code == 200
    clock.now += timedelta(seconds=9)
    assert (await get(path)).status_code == 200


@BOTH
async def test_statistics_can_take_longer_than_columns(
    langsmith: Emulator, client: httpx.AsyncClient, path: str
) -> None:
    langsmith.stats_latency = 30.0
    assert (await client.get(path, params={"include_stats": "false"})).status_code == 200
    with pytest.raises(httpx.ReadTimeout):
        await client.get(path, params={"include_stats": "true"}, timeout=httpx.Timeout(TIMEOUT_SECONDS, read=0.05))
    await langsmith.wait_for_disconnects(1)

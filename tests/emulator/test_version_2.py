"""`/api/v2/sessions` serves the sessions of version 1, and has its own spelling and errors."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import pytest

from app.emulator import Emulator, Fault
from app.emulator.session import Session
from tests.conftest import create_http_client
from tests.emulator.expected import NOW, STATISTICS, GetPage, ListSessions, ids, sessions_of

PATH = "/api/v2/sessions"
DAY_AGO = (NOW - timedelta(days=1)).isoformat()
SPELLED_DIFFERENTLY = {"trace_tier", "feedback_stats", "session_feedback_stats"}
COSTS = {"total_cost", "prompt_cost", "completion_cost"}


@pytest.mark.parametrize(
    "stats",
    [
        {},
        {"include_stats": True},
        {"include_stats": True, "stats_select": ["run_count", "latency_p99", "total_cost"]},
        {"include_stats": True, "stats_start_time": DAY_AGO, "stats_filter": 'eq(run_type, "llm")'},
        {"include_stats": True, "use_approx_stats": True},
    ],
    ids=lambda stats: "-".join(stats) or "none",
)
async def test_rows_have_the_values_of_version_1(
    all_rows: ListSessions, walk_v2: ListSessions, stats: dict[str, Any]
) -> None:
    old, new = await all_rows(**stats), await walk_v2(**stats)
    assert len(old) == len(new) == 240
    for one, other in zip(old, new, strict=True):
        assert other.keys() - one.keys() == {"type"}
        for name in one.keys() - SPELLED_DIFFERENTLY - COSTS:
            assert other[name] == one[name], name
        assert other["trace_tier"] == {"longlived": "LONG_LIVED", "shortlived": "SHORT_LIVED"}.get(one["trace_tier"])
        for name in ("feedback_stats", "session_feedback_stats"):
            assert (one[name] or {}).keys() == (other[name] or {}).keys()
            for key, entry in (one[name] or {}).items():
                assert other[name][key].items() >= {part: entry[part] for part in ("n", "avg", "errors")}.items()


async def test_costs_are_exact_json_numbers(client: httpx.AsyncClient) -> None:
    params = {"include_stats": "true", "stats_select": "total_cost"}
    as_texts = (await client.get("/api/v1/sessions", params=params | {"limit": 100})).json()
    body = (await client.get(PATH, params=params | {"page_size": 100})).content
    costs = [row["total_cost"] for row in orjson.loads(body)["items"]]
    assert {type(cost) for cost in costs} == {float, type(None)}
    for row in as_texts:
        assert row["total_cost"] is None or f'"total_cost":{row["total_cost"]}' in body.decode()
    assert costs == [row["total_cost"] and float(Decimal(row["total_cost"])) for row in as_texts]


async def test_facets_are_those_of_version_1(page: ListSessions, page_v2: GetPage) -> None:
    old, new = await page(facets=True, limit=5), (await page_v2(include_facets=True, page_size=5)).items
    assert [row["run_facets"] for row in old] == [row["run_facets"] for row in new]
    assert {row["run_facets"] for row in (await page_v2(page_size=5)).items} == {None}


async def test_a_session_is_a_project_an_agent_or_an_experiment(langsmith: Emulator, walk_v2: ListSessions) -> None:
    rows = await walk_v2()
    by_type = {kind: [row for row in rows if row["type"] == kind] for kind in ("PROJECT", "AGENT", "EXPERIMENT")}
    assert {row["id"] for row in by_type["EXPERIMENT"]} == {row["id"] for row in rows if row["reference_dataset_id"]}
    assert len(by_type["EXPERIMENT"]) == 96
    assert 10 < len(by_type["AGENT"]) < len(by_type["PROJECT"])
    for kind, expected in by_type.items():
        assert ids(await walk_v2(type=kind)) == ids(expected)
    assert ids(await walk_v2(type=["PROJECT", "AGENT"])) == ids(by_type["PROJECT"] + by_type["AGENT"])


async def test_reference_free_sessions_of_v1_are_projects_and_agents(
    all_rows: ListSessions, walk_v2: ListSessions
) -> None:
    assert ids(await all_rows(reference_free=True)) == ids(await walk_v2(type=["PROJECT", "AGENT"]))
    assert ids(await all_rows(reference_free=False)) == ids(await walk_v2(type="EXPERIMENT"))


FILTERS: list[tuple[dict[str, Any], Callable[[Session], bool]]] = [
    ({"name": "support-agent-prod"}, lambda s: s.name == "support-agent-prod"),
    ({"name_contains": "SUPPORT-a"}, lambda s: "support-a" in s.name.lower()),
    ({"metadata": '{"env": "prod"}'}, lambda s: s.metadata.get("env") == "prod"),
    ({"filter": 'search(name, "Agent")'}, lambda s: "agent" in s.name),
    (
        {"dataset_version": "2025-06-01T14:30:00+02:00"},
        lambda s: s.metadata.get("dataset_version") == "2025-06-01T12:30:00+00:00",
    ),
    (
        {"dataset_version": "2025-10-20T08:15:30.250Z"},
        lambda s: s.metadata.get("dataset_version") == "2025-10-20T08:15:30.250000+00:00",
    ),
]


@pytest.mark.parametrize(("params", "matches"), FILTERS, ids=[str(params) for params, _ in FILTERS])
async def test_a_filter_returns_the_sessions_that_meet_it(
    langsmith: Emulator, walk_v2: ListSessions, params: dict[str, Any], matches: Callable[[Session], bool]
) -> None:
    expected = ids(session for session in sessions_of(langsmith) if matches(session))
    assert expected
    assert ids(await walk_v2(**params)) == expected


async def test_sessions_are_filtered_by_id_dataset_and_tags(langsmith: Emulator, walk_v2: ListSessions) -> None:
    workspace = langsmith.workspaces["demo"]
    requested = workspace.sessions[10:15]
    assert ids(await walk_v2(id=[*ids(requested), str(uuid4())])) == ids(requested)
    one, other, *_ = workspace.datasets
    rows = await walk_v2(reference_dataset_id=[str(one.id), str(other.id)])
    assert {row["reference_dataset_id"] for row in rows} == {str(one.id), str(other.id)}
    tags = workspace.tag_values[:2]
    tagged = ids(session for session in workspace.sessions if session.tag_value_ids.issuperset(tags))
    assert ids(await walk_v2(tag_value_id=[str(tag) for tag in tags])) == tagged


@pytest.mark.parametrize(("source", "key"), [("RUN", "accuracy"), ("SESSION", "overall"), (None, "accuracy")])
async def test_experiments_of_a_dataset_are_sorted_by_feedback(
    langsmith: Emulator, walk_v2: ListSessions, source: str | None, key: str
) -> None:
    dataset = str(langsmith.workspaces["demo"].datasets[0].id)
    given = {} if source is None else {"sort_by_feedback_source": source}
    rows = await walk_v2(
        sort_by="FEEDBACK", sort_by_feedback_key=key, reference_dataset_id=dataset, include_stats=True, **given
    )
    column = "session_feedback_stats" if source == "SESSION" else "feedback_stats"
    found = [row[column].get(key, {}).get("avg") for row in rows]
    non_null = [avg for avg in found if avg is not None]
    assert len(non_null) > 2
    assert found == sorted(non_null, reverse=True) + [None] * (16 - len(non_null))


async def test_a_session_by_id_is_the_row_of_the_list(
    langsmith: Emulator, client: httpx.AsyncClient, page_v2: GetPage
) -> None:
    identifier = str(sessions_of(langsmith)[3].id)
    choices: list[dict[str, Any]] = [{}, {"include_stats": True}, {"include_stats": True, "stats_start_time": DAY_AGO}]
    for params in choices:
        ((row,), _) = await page_v2(id=identifier, **params)
        assert (await client.get(f"{PATH}/{identifier}", params=params)).json() == row


REFUSED = [
    ("limit=1", "limit: Extra inputs are not permitted"),
    ("offset=1", "offset: Extra inputs are not permitted"),
    ("reference_free=true", "reference_free: Extra inputs are not permitted"),
    ("page_size=1&page_size=2", "page_size: Input should be a valid integer"),
    ("page_size=0", "page_size: Input should be greater than or equal to 1"),
    ("page_size=101", "page_size: Input should be less than or equal to 100"),
    ("cursor=a&cursor=b", "cursor: Input should be a valid string"),
    ("sort_by=RUNS_COUNT", "sort_by: Input should be "),
    ("sort_by=start_time", "sort_by: Input should be "),
    ("sort_order=DESC", "sort_order: Input should be "),
    ("type=TRACE", "type[0]: Input should be "),
    ("id=1", "id[0]: Input should be a valid UUID"),
    ("dataset_version=latest", "dataset_version: Value error, must be an RFC 3339 timestamp"),
    ("dataset_version=2025-06-01", "dataset_version: Value error, must be an RFC 3339 timestamp"),
    ("dataset_version=2025-06-01T12:30:00", "dataset_version: Value error, must be an RFC 3339 timestamp"),
    ("dataset_version=1748781000", "dataset_version: Value error, must be an RFC 3339 timestamp"),
    ("sort_by_feedback_source=run", "sort_by_feedback_source: Input should be "),
    (f"sort_by=FEEDBACK&reference_dataset_id={UUID(int=7)}", "sort_by_feedback_key: Value error, needed to sort by"),
    ("sort_by=FEEDBACK&sort_by_feedback_key=x", "reference_dataset_id: Value error, needed to sort by FEEDBACK"),
    ("stats_select=runCount", "stats_select[0]: Value error, unknown statistic"),
    ("stats_start_time=yesterday", "stats_start_time: Value error, must be an ISO 8601 timestamp"),
    ("stats_start_time=1748781000", "stats_start_time: Value error, must be an ISO 8601 timestamp"),
    ("stats_start_time=2026-13-01T00:00:00", "stats_start_time: Input should be a valid datetime"),
    ("filter=eq(name", "Invalid filter: "),
    ("stats_filter=eq(nothing,1)", "Invalid stats_filter: unknown field nothing."),
]


@pytest.mark.parametrize(("query", "detail"), REFUSED, ids=[query for query, _ in REFUSED])
async def test_an_invalid_parameter_is_refused_with_a_problem(
    langsmith: Emulator, client: httpx.AsyncClient, query: str, detail: str
) -> None:
    for langsmith.invalid_status in (400, 422):
        response = await client.get(f"{PATH}?{query}")
        problem = response.json()
        assert problem["detail"].startswith(detail)
        assert (response.status_code, problem["status"]) == (langsmith.invalid_status,) * 2


async def test_an_error_is_a_problem_in_the_form_of_rfc_7807(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    response = await client.get(f"{PATH}?cursor=x")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "The cursor is invalid.",
        "instance": PATH,
        "remedy": "Request the first page again, without a cursor.",
    }
    langsmith.problem_content_type = "application/problem+json"
    response = await client.get(f"{PATH}/{uuid4()}")
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["title"]) == (404, "Not Found")


async def test_an_injected_status_is_a_problem_too(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.faults = [Fault(status=422), Fault(status=503, headers={"Retry-After": "3"})]
    first, second = [await client.get(PATH) for _ in range(2)]
    assert (first.status_code, first.json()["status"]) == (422, 422)
    assert (second.json()["title"], second.headers["retry-after"]) == ("Service Unavailable", "3")


async def test_other_methods_and_paths_are_problems_too(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    responses = [
        await client.post(PATH, json={"name": "x", "type": "PROJECT"}),
        await client.patch(f"{PATH}/{sessions_of(langsmith)[0].id}", json={}),
        await client.get("/api/v2/runs"),
        await client.get(f"{PATH}/x"),
    ]
    assert [response.status_code for response in responses] == [405, 405, 404, 400]
    assert [response.json()["status"] for response in responses] == [405, 405, 404, 400]


async def test_credentials_are_those_of_version_1(langsmith: Emulator, url: str) -> None:
    one, other = (str(langsmith.workspaces[key].tenant_id) for key in ("demo", "demo-2"))
    cases: list[tuple[int, dict[str, str]]] = [
        (401, {}),
        (401, {"X-API-Key": "demo-3"}),
        (200, {"X-API-Key": "demo"}),
        (200, {"X-API-Key": "demo", "X-Tenant-Id": one}),
        (403, {"X-API-Key": "demo", "X-Tenant-Id": other}),
        (401, {"X-API-Key": "demo", "X-Tenant-Id": "default"}),
        (403, {"Authorization": "Bearer demo"}),
        (200, {"Authorization": "Bearer demo", "X-Tenant-Id": one}),
    ]
    async with create_http_client(url) as anonymous:
        for status, headers in cases:
            response = await anonymous.get(PATH, headers=headers)
            assert response.status_code == status, headers
            assert status == 200 or response.json()["status"] == status
            assert (await anonymous.get("/api/v1/sessions", headers=headers)).status_code == status


async def test_a_page_has_20_rows_by_default_with_the_newest_on_top(page_v2: GetPage, page: ListSessions) -> None:
    first = await page_v2()
    assert ids(first.items) == ids(await page(limit=20))
    times = [datetime.fromisoformat(row["start_time"]).replace(tzinfo=None) for row in first.items]
    assert times == sorted(times, reverse=True)


async def test_an_unselected_statistic_is_null(page_v2: GetPage) -> None:
    for row in (await page_v2(include_stats=True, stats_select=["run_count", "feedback_stats"])).items:
        assert {name for name in STATISTICS if row[name] is not None} == {"run_count", "feedback_stats"}
    for row in (await page_v2()).items:
        assert {row[name] for name in STATISTICS} == {None}

"""An operation with `@defer` is checked in both ways in which it can be answered: in parts, and as a whole."""

import asyncio
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from graphql import Source

from app import check as checking
from app.check import CheckedOperation
from app.emulator import Emulator
from app.settings import Settings
from tests.check.command import ORDER, check, report
from tests.conftest import Gateway
from tests.support.incremental_client import DRAFT, parts_of

LIST = f"GET /api/v1/sessions?{ORDER}&limit=2"
BY_IDS = f"GET /api/v1/sessions?id=<the 2 rows above>&{ORDER}&limit=2&include_stats=true"

OPERATIONS = [
    "{ sessions(first: 2) { nodes { name ... @defer { runCount } } } }",
    '{ sessions(first: 2) { nodes { ... @defer { runCount day: stats(last: "P1D") { errorRate } } } } }',
    '{ sessions(first: 2) { nodes { id runCount ... @defer { stats(last: "P1D") { runCount } latencyP50 } } } }',
    "{ sessions(first: 2) { nodes { ... @defer { runCount } } edges { cursor ... @defer { node { errorRate } } } } }",
    '{ sessions(first: 2) { ... @defer { nodes { runCount ... @defer { stats(last: "P7D") { errorRate } } } } } }',
    "{ sessions(first: 2, orderBy: {field: LATENCY_P99}) { nodes { id ... @defer { latencyP99 runCount } } } }",
    "{ a: sessions(first: 2) { nodes { id } } ... @defer { b: sessions(first: 3) { nodes { runCount } } } }",
]


def sessions(selection: str) -> str:
    return f"{{ sessions(first: 2) {{ nodes {{ {selection} }} }} }}"


async def checked(query: str) -> CheckedOperation:
    # `check` starts an event loop of its own.
    (operation,) = (await asyncio.to_thread(checking.check, [Source(query)], Settings.load())).operations
    return operation


def test_check_shows_the_requests_of_each_part_and_of_the_whole_answer() -> None:
    operation, findings = check(
        sessions(
            'name ... @defer(label: "numbers") { runCount } ... @defer { errorRate stats(last: "PT24H") { runCount } }'
            " ... @defer(if: false) { latencyP99 } ... @defer { description }"
        )
    )
    day = "stats_start_time=<now - P1D>"
    assert operation == [
        "  at once:",
        f"    {LIST}&include_stats=true&stats_select=latency_p99",
        "  later, numbers:",
        f"    {BY_IDS}&stats_select=run_count&stats_select=error_rate",
        "  later, sessions.nodes:",
        f"    {BY_IDS}&stats_select=run_count&stats_select=error_rate  (shared)",
        f"    {BY_IDS}&stats_select=run_count&{day}",
        "  later, sessions.nodes: no request",
        "  as a whole:",
        f"    {LIST}&include_stats=true&stats_select=run_count&stats_select=latency_p99&stats_select=error_rate",
        f"    {BY_IDS}&stats_select=run_count&{day}",
    ]
    assert findings == []


def test_json_has_the_parts_beside_the_cost_and_the_requests_of_the_whole_answer() -> None:
    query = sessions('name ... @defer(label: "numbers") { runCount }')
    Path("a.graphql").write_text(f"query A {query} query B {{ sessions(first: 2) {{ nodes {{ id }} }} }}")
    deferring, plain = report("a.graphql")["operations"]
    assert plain["parts"] is None
    path, order = "/api/v1/sessions", {"sort_by": "start_time", "sort_by_desc": "true", "limit": "2"}
    statistics = {"include_stats": "true", "stats_select": "run_count"}
    assert (deferring["cost"], deferring["requests"]) == (3, [{"path": path, "params": {**order, **statistics}}])
    by_ids = {"path": path, "params": {"id": "<the 2 rows above>", **order, **statistics}}
    assert deferring["parts"] == {
        "cost": 5,
        "requests": [{"path": path, "params": order}],
        "deferred": [{"label": "numbers", "path": ["sessions", "nodes"], "requests": [by_ids]}],
    }


@pytest.mark.parametrize("query", OPERATIONS)
async def test_check_plans_the_parts_that_the_gateway_requests(
    gateway: Gateway, langsmith: Emulator, query: str
) -> None:
    parts = (await checked(query)).parts
    assert parts
    headers = {"accept": DRAFT, "x-gateway-explain": "1"}
    first, *_ = parts_of(await gateway.post(query, **headers))
    assert first["extensions"]["gateway"]["cost"] == parts.cost
    requested = {str(each) for each in parts.requests} | {str(each) for one in parts.deferred for each in one.requests}
    planned = sorted([pair for pair in parse_qsl(urlsplit(each).query) if is_fixed(pair)] for each in requested)
    assert planned == sorted([pair for pair in each.params if is_fixed(pair)] for each in langsmith.requests)


def is_fixed(pair: tuple[str, str]) -> bool:
    """Whether a parameter is the same in each run."""
    return pair[0] not in {"id", "stats_start_time"}


@pytest.mark.parametrize("query", OPERATIONS)
async def test_the_cost_in_parts_is_never_below_that_of_the_whole_answer(query: str) -> None:
    operation = await checked(query)
    assert operation.parts
    assert operation.cost is not None
    assert operation.parts.cost >= operation.cost


def test_an_operation_that_is_too_expensive_in_parts_is_an_error_although_the_whole_answer_is_not() -> None:
    query = sessions("name ... @defer { runCount }")
    assert check(query, GATEWAY_MAX_COST="5")[1] == []
    operation, (found,) = check(query, GATEWAY_MAX_COST="4")
    assert found.startswith("it.graphql:1:1: error: This operation costs 5 units, and 4 are allowed.")
    assert found.endswith("(GATEWAY_MAX_COST=4)")
    assert [line.strip() for line in operation if "GET" not in line] == [
        "at once:",
        "later, sessions.nodes:",
        "as a whole:",
    ]


def test_too_many_deferred_fragments_are_an_error_at_the_operation() -> None:
    deferred = " ".join(f'... @defer(label: "{number}") {{ name }}' for number in range(21))
    _, found = check(f"\n  {sessions(deferred)}")
    assert found == [
        "it.graphql:2:3: error: This operation defers 21 fragments, and 20 are allowed. Split it, or ask for less."
    ]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        (sessions('name\n... @defer {\n  stats(last: "nope") { runCount } }'), "3:15: error: "),
        (
            sessions('name\n... @defer {\n  stats(last: "P1D", since: "2026-01-01T00:00:00Z") { id } }'),
            "1:3: error: stats.since: ",
        ),
        (
            "query ($n: Int = 0) {\n  sessions(first: $n) { nodes { ... @defer { runCount } } } }",
            "2:3: error: first: It must be from 1 to 500.",
        ),
    ],
)
def test_an_error_is_reported_once_at_its_location(query: str, complaint: str) -> None:
    _, (found,) = check(query)
    assert found.startswith(f"it.graphql:{complaint}")


def test_a_fragment_without_a_place_is_not_planned() -> None:
    operation, _ = check(sessions("feedbackStats { key ... @defer { avg } }"))
    request = f"    {LIST}&include_stats=true&stats_select=feedback_stats"
    assert operation == ["  at once:", request, "  as a whole:", request]

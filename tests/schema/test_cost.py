"""Cost: the requests that an operation may send, with their statistics, and what its answer shows."""

import re
from typing import Any

import pytest

from app.emulator import Emulator
from app.settings import Settings
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.support.paths import ROOT

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"


def sessions(arguments: str, selection: str) -> str:
    return f"{{ sessions({arguments}) {{ {selection} }} }}"


COSTS = [
    ("{ __typename }", 0),
    ("{ __schema { types { name } } }", 0),
    ("{ sessions { nodes { id name startTime } } }", 2),
    ("{ sessions { pageInfo { endCursor } } }", 1),
    ("{ sessions { nodes { runCount } } }", 3),
    ("{ sessions { nodes { runCount errorRate again: runCount runFacets } } }", 6),
    ("{ sessions { nodes { runCount } edges { node { runCount errorRate } } } }", 5),
    (sessions("first: 100", "nodes { runCount }"), 3),
    (sessions("first: 101", "nodes { runCount }"), 6),
    (sessions("first: 500", "nodes { runCount errorRate }"), 20),
    (sessions('last: 200, before: "djE6MTA"', "nodes { runCount }"), 6),
    (sessions("first: 20", "pageInfo { hasNextPage hasPreviousPage }"), 1),
    (sessions("first: 100", "pageInfo { hasNextPage }"), 2),
    (sessions("first: 100", "pageInfo { endCursor }"), 1),
    (sessions("offset: 900", "pageInfo { hasPreviousPage }"), 2),
    ("{ sessions { nodes { stats { id } } } }", 3),
    ('{ sessions { nodes { stats(last: "P1D") { runCount errorRate } } } }', 6),
    ('{ sessions { nodes { runCount a: stats(last: "P1D") { runCount } b: stats(last: "P7D") { runCount } } } }', 9),
    ('{ sessions { nodes { a: stats(last: "P1D") { runCount } b: stats(last: "P1D") { runCount errorRate } } } }', 7),
    (sessions("first: 200", 'nodes { stats(last: "P1D") { runCount } }'), 10),
    (f'{{ session(id: "{A}") {{ name }} }}', 2),
    (f'{{ session(id: "{A}") {{ runCount stats(last: "P1D") {{ runCount }} }} }}', 6),
    (f'{{ node(id: "{A}") {{ id ... on Session {{ runCount }} }} }}', 3),
    (f'{{ nodes(ids: ["{A}", "{B}"]) {{ ... on Session {{ runCount }} }} }}', 3),
    ("{ nodes(ids: []) { id } }", 0),
    ("{ a: sessions { nodes { id } } b: sessions(offset: 20) { nodes { runCount } } }", 5),
    ("{ a: sessions { nodes { runCount } } b: sessions { nodes { runCount errorRate } } }", 5),
    ("{ sessions { nodes { runCount } } ...Q } fragment Q on Query { sessions { nodes { errorRate } } }", 5),
    ("query ($no: Boolean = false) { sessions { nodes { runCount @include(if: $no) errorRate @skip(if: true) } } }", 2),
    ("query ($n: Int = 300) { sessions(first: $n) { nodes { id } } }", 6),
    ("{ a: sessions { nodes { id } } b: sessions { nodes { id } } }", 3),
    ("{ sessions { nodes { id } edges { node { name } } again: nodes { name } } }", 4),
    ("{ sessions { nodes { extra } } }", 3),
    (sessions("first: 300", "nodes { extra a: extra b: extra extra }"), 15),
    ("{ sessions { nodes { feedbackStats { key values raw v: values } } } }", 6),
    ('{ sessions { nodes { runFacets a: runFacets stats(last: "P1D") { runFacets } } } }', 9),
    (sessions('last: 2, before: "djE6MTA"', "nodes { id }"), 2),
]


@pytest.mark.parametrize(("query", "cost"), COSTS)
async def test_cost_is_an_upper_bound_of_requests_and_statistics(
    gateway: Gateway, langsmith: Emulator, query: str, cost: int
) -> None:
    assert (await gateway.explain(query))["cost"] == cost
    requests = take_recorded_params(langsmith)
    # Facets are one parameter, but each selected facet costs 1.
    selected = [name for params in requests for name, _ in params if name in {"stats_select", "facets"}]
    assert len(requests) + len(selected) <= cost


async def test_operation_beyond_the_cost_limit_is_refused_without_a_request(serve: Serve, langsmith: Emulator) -> None:
    async with serve(max_cost=19) as gateway:
        (error,) = await gateway.errors(sessions("first: 500", "nodes { runCount errorRate }"))
        assert error["message"] == ("This operation costs 20 units, and 19 are allowed. Split it, or ask for less.")
        assert error["extensions"] == {"code": "OPERATION_TOO_EXPENSIVE", "limit": 19, "value": 20}
        assert langsmith.requests == []
        await gateway.data(sessions("first: 400", "nodes { runCount errorRate }"))


async def test_cost_counts_only_the_operation_that_runs(serve: Serve) -> None:
    async with serve(max_cost=2) as gateway:
        body = {
            "query": "query A { sessions { nodes { runCount } } } query B { sessions { nodes { id } } }",
            "operationName": "B",
        }
        response = await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo"})
        assert "errors" not in response.json()


@pytest.mark.parametrize(
    ("query", "variables", "argument"),
    [
        ("{ sessions(first: 0) { nodes { runCount } } }", None, "first"),
        ("{ sessions(first: 2000000000) { nodes { runCount } } }", None, "first"),
        ("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ["x"] * 501}, "ids"),
        ("{ sessions(first: -5) { nodes { runCount } } }", None, "first"),
        ('{ sessions(last: 0, before: "x") { nodes { runCount } } }', None, "last"),
        ('{ sessions(offset: -1) { nodes { stats(last: "PT0S") { runCount } } } }', None, "offset"),
        ("query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }", {"f": {"ids": ["x"]}}, "filter"),
        (
            '{ sessions { nodes { stats(last: "P1D", since: "2026-11-01T00:00:00Z") { runCount } } } }',
            None,
            "stats.since",
        ),
    ],
)
async def test_invalid_argument_is_bad_input_whatever_it_would_cost(
    serve: Serve, langsmith: Emulator, query: str, variables: dict[str, Any] | None, argument: str
) -> None:
    async with serve(max_cost=5) as gateway:
        (error,) = await gateway.errors(query, variables)
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("BAD_USER_INPUT", argument)
    assert langsmith.requests == []


DASHBOARD = re.search(r"`(query[^`]*)`", (ROOT / "app" / "web/dashboard/assets/gateway.js").read_text())
MANY_WINDOWS = " ".join(f'w{n}: stats(filter: "{n}") {{ runCount }}' for n in range(29))


async def test_dashboard_and_examples_stay_well_inside_the_default_limit(gateway: Gateway) -> None:
    assert DASHBOARD
    variables = {"first": 100, "window": "P1D", "twice": "P2D", "compare": True}
    costs = [(await gateway.explain(DASHBOARD[1], variables))["cost"]]
    for page in ROOT.rglob("*.md"):
        for query in re.findall(r"```graphql\n(.*?)```", page.read_text(), re.DOTALL):
            costs += [(await gateway.explain(query))["cost"]]
    assert len(costs) > 3
    assert max(costs) * 5 <= Settings.model_fields["max_cost"].default


@pytest.mark.parametrize(
    "query",
    [
        sessions("first: 500", f"nodes {{ name {MANY_WINDOWS} }}"),
        "{" + " ".join(f"r{n}: sessions(first: 500, offset: {n}) {{ nodes {{ id }} }}" for n in range(20)) + "}",
        "{"
        + " ".join(
            f'r{n}: sessions(first: 500, offset: {n}) {{ nodes {{ stats(last: "P1D") {{ runCount }} }} }}'
            for n in range(14)
        )
        + "}",
    ],
    ids=["many windows", "many lists", "many lists with a window"],
)
async def test_short_document_that_causes_much_work_is_refused(
    gateway: Gateway, langsmith: Emulator, query: str
) -> None:
    (error,) = await gateway.errors(query)
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE"
    assert langsmith.requests == []

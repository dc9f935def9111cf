"""The dry run says which requests an operation makes, what it costs, and which limits it exceeds."""

import asyncio
import re
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from graphql import Source

from app import check as checking
from app.execution.limits import OperationLimits
from app.sessions.scalars import format_datetime, parse_duration
from app.settings import Settings
from tests.check.command import ID, ORDER, check, requests
from tests.conftest import NOON, Gateway
from tests.schema.test_cost import COSTS
from tests.support.markdown import examples

ROW_IDS = re.compile(r"id=[0-9a-f-]{36}(&id=[0-9a-f-]{36})+")


def at_noon(line: str) -> str:
    """The line with its relative times computed from noon."""

    def instant(match: re.Match[str]) -> str:
        return quote_plus(format_datetime((NOON - parse_duration(match[1])).replace(second=0)))

    return re.sub("<now - (.*?)>", instant, line)


@pytest.mark.parametrize(("query", "requested"), [(each.query, each.requests) for each in examples()])
def test_check_plans_the_requests_that_the_readme_shows(query: str, requested: str) -> None:
    expected = ROW_IDS.sub("id=<the 2 rows above>", requested).splitlines()
    assert [at_noon(line) for line in requests(query)] == expected


@pytest.mark.parametrize(("query", "cost"), COSTS)
async def test_check_computes_the_cost_that_the_gateway_computes_and_plans_no_request_beyond_it(
    gateway: Gateway, query: str, cost: int
) -> None:
    # `check` starts an event loop of its own.
    found = await asyncio.to_thread(checking.check, [Source(query)], Settings.load())
    (operation,) = found.operations
    assert operation.cost == cost == (await gateway.explain(query))["cost"]
    selected = [name for each in operation.requests for name, _ in each.params if name in {"stats_select", "facets"}]
    assert len(operation.requests) + len(selected) <= cost


def test_check_plans_one_request_per_hundred_rows_and_one_per_hundred_ids_of_a_window() -> None:
    query = '{ sessions(first: 200) { nodes { stats(last: "P1W") { errorRate } } pageInfo { hasNextPage } } }'
    by_ids = (
        f"GET /api/v1/sessions?id=<100 of the rows above>&{ORDER}&limit=100&include_stats=true&stats_select=error_rate"
    )
    assert requests(query) == [
        f"GET /api/v1/sessions?{ORDER}&limit=100",
        f"GET /api/v1/sessions?{ORDER}&limit=100&offset=100",
        f"GET /api/v1/sessions?{ORDER}&limit=1&offset=200",
        f"{by_ids}&stats_start_time=<now - P7D>  (2 times)",
    ]


def test_check_plans_one_request_for_root_fields_that_share_it() -> None:
    text = f"""{{
      a: sessions(first: 2) {{ nodes {{ runCount }} }}
      b: sessions(first: 5) {{ nodes {{ errorRate }} }}
      c: session(id: "{ID}") {{ name }}
      d: node(id: "{ID}") {{ ... on Session {{ latencyP50 }} }}
    }}"""
    assert requests(text) == [
        f"GET /api/v1/sessions?{ORDER}&limit=5&include_stats=true&stats_select=run_count&stats_select=error_rate",
        f"GET /api/v1/sessions?id={ID}&{ORDER}&limit=1&include_stats=true&stats_select=latency_p50",
    ]


@pytest.mark.parametrize(
    ("text", "limit", "complaint"),
    [
        ("{ sessions(first: 500) { nodes { runCount } } }", "MAX_COST=9", "costs 15 units, and 9"),
        ("{ sessions { nodes { feedbackStats { key } } } }", "MAX_DEPTH=3", "is 4 fields deep, and 3 are"),
        ("{ a: __typename b: __typename }", "MAX_ALIASES=1", "has 2 aliases, and 1"),
        ("{ sessions { nodes { id } } }", "MAX_TOKENS=8", "more than 8 tokens"),
    ],
)
def test_an_exceeded_limit_is_an_error_that_names_its_setting(text: str, limit: str, complaint: str) -> None:
    name, _, value = limit.partition("=")
    operation, (found,) = check(text, **{f"GATEWAY_{name}": value})
    assert found.startswith("it.graphql:1:1: error: This ")
    assert complaint in found
    assert found.endswith(f" (GATEWAY_{limit})")
    assert bool(operation) == ("sessions" in text)


def test_every_exceeded_limit_is_reported_and_a_fixed_limit_names_no_setting() -> None:
    Path(".env").write_text("GATEWAY_MAX_COST=1\nGATEWAY_MAX_DEPTH=2\n")
    _, found = check("{ a: sessions { nodes { runCount } } b: sessions(offset: 9) { nodes { runCount } } }")
    assert [each.rpartition("(")[2] for each in found] == ["GATEWAY_MAX_DEPTH=2)", "GATEWAY_MAX_COST=1)"]
    Path(".env").unlink()
    _, (only,) = check("{" + " __typename" * 21 + "}")
    assert only.endswith("has 21 root fields, and 20 are allowed. Split it, or ask for less.")
    assert Settings.model_fields.keys() >= {f"max_{each}" for each in OperationLimits.__annotations__}


def test_check_refuses_introspection_if_the_setting_disables_it() -> None:
    query = "{ __schema { queryType { name } } }"
    assert check(query) == ([], [])
    _, found = check(query, GATEWAY_INTROSPECTION="false")
    assert all("GraphQL introspection has been disabled" in each for each in found)
    assert found

"""The requested statistics are those in the answer, however the selection is written."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator
from tests.conftest import Clock, Gateway, Serve, take_recorded_params

STATISTICS = {
    "runCount": "run_count",
    "errorRate": "error_rate",
    "latencyP50": "latency_p50",
    "totalCost": "total_cost",
    "totalTokens": "total_tokens",
    "lastRunStartTime": "last_run_start_time",
}
VARIABLES = {"yes": True, "no": False}


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    """A gateway whose limits admit the generated operations."""
    async with serve(max_aliases=10_000, max_depth=100, max_tokens=100_000) as gateway:
        yield gateway


@dataclass
class Drawn:
    """An operation under construction: its fragments, and the field of each alias."""

    fragments: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


directives = st.sampled_from(
    [
        *("", "", "", "@skip(if: false)", "@skip(if: true)", "@include(if: $yes)", "@include(if: $no)"),
        *("@skip(if: $yes)", "@skip(if: $no) @include(if: $yes)", "@include(if: $yes) @skip(if: $yes)"),
    ]
)


def selection(draw: st.DrawFn, drawn: Drawn, depth: int) -> str:
    parts = ["__typename"]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["field", "field", "inline", "spread"] if depth else ["field"]))
        directive = draw(directives)
        if kind == "field":
            name = draw(st.sampled_from(["name", *STATISTICS]))
            alias = f"a{len(drawn.aliases)}"
            drawn.aliases[alias] = name
            parts.append(f"{alias}: {name} {directive}")
        elif kind == "inline":
            condition = draw(st.sampled_from(["", "on Session", "on Node { id ... on Session"]))
            inner = f"... {condition} {directive} {{ {selection(draw, drawn, depth - 1)} }}"
            parts.append(f"{inner} }}" if "on Node" in condition else inner)
        else:
            body = selection(draw, drawn, depth - 1)
            name = f"F{len(drawn.fragments)}"
            drawn.fragments.append(f"fragment {name} on Session {{ {body} }}")
            parts += [f"...{name} {directive}"] * draw(st.integers(1, 2))
    return " ".join(parts)


@st.composite
def operations(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    drawn = Drawn()
    nodes = f"nodes {draw(directives)} {{ {selection(draw, drawn, 2)} }}"
    edges = f"edges {draw(directives)} {{ cursor node {draw(directives)} {{ {selection(draw, drawn, 2)} }} }}"
    window = f'more: nodes {{ stats(last: "P1D") {draw(directives)} {{ __typename id }} }}'
    roots = f"sessions(first: 1) {{ __typename {nodes} {edges} {window} }}"
    # Both variables are used here, so that the operation is valid whatever else was drawn.
    declared = "query ($yes: Boolean!, $no: Boolean! = false)"
    operation = f"{declared} {{ {roots} __typename @include(if: $yes) @skip(if: $no) }}"
    return f"{operation} {' '.join(drawn.fragments)}", drawn.aliases


def fields_in(answer: Any, aliases: dict[str, str]) -> set[str]:
    """The fields of sessions that an answer contains, at any depth."""
    if isinstance(answer, list):
        return set().union(*(fields_in(each, aliases) for each in answer))
    if not isinstance(answer, dict):
        return set()
    return {aliases[key] for key in answer if key in aliases} | fields_in(list(answer.values()), aliases)


@settings(max_examples=80)
@given(drawn=operations())
async def test_requested_statistics_are_exactly_those_in_the_answer(
    drawn: tuple[str, dict[str, str]], gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    operation, aliases = drawn
    clock.advance(100)
    data = await gateway.data(operation, VARIABLES)
    selected = {STATISTICS[name] for name in fields_in(data, aliases) if name in STATISTICS}
    (request,) = take_recorded_params(langsmith)
    assert {value for name, value in request if name == "stats_select"} == selected
    assert (("include_stats", "true") in request) is bool(selected)


async def test_fragment_counts_if_one_of_its_spreads_is_included(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(
        """{ sessions { nodes { ...Row @skip(if: true) ...Row } } }
        fragment Row on Session { runCount }"""
    )
    assert ("stats_select", "run_count") in take_recorded_params(langsmith)[0]


async def test_skipped_window_is_not_requested(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(
        """query ($no: Boolean!) { sessions(first: 1) { nodes { name
            stats(last: "P1D") @include(if: $no) { runCount }
            other: stats(last: "PT1H") { id runCount @include(if: $no) } } } }""",
        {"no": False},
    )
    assert take_recorded_params(langsmith) == [[("limit", "1")]]


async def test_skipped_page_info_causes_no_probe(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(
        """query ($no: Boolean!) { sessions { nodes { name }
            pageInfo @include(if: $no) { hasNextPage }
            other: pageInfo { endCursor hasNextPage @skip(if: true) } } }""",
        {"no": False},
    )
    assert take_recorded_params(langsmith) == [[("limit", "20")]]


async def test_window_of_a_stats_field_follows_variables_and_their_defaults(
    gateway: Gateway, langsmith: Emulator
) -> None:
    operation = """query ($last: Duration = "P1D", $rough: Boolean! = true) { sessions(first: 1) { nodes {
        stats(last: $last, approximate: $rough) { runCount } } } }"""
    await gateway.data(operation)
    assert {("stats_start_time", "2026-11-19T12:00:00Z"), ("use_approx_stats", "true")} <= {
        *take_recorded_params(langsmith)[1]
    }
    await gateway.data(operation, {"last": "PT1H", "rough": False})
    (request,) = take_recorded_params(langsmith)
    assert request[-1] == ("stats_start_time", "2026-11-20T11:00:00Z")
    await gateway.data(operation, {"last": None, "rough": False})
    (request,) = take_recorded_params(langsmith)
    assert "stats_start_time" not in dict(request)


async def test_only_the_named_operation_is_pushed_down(gateway: Gateway, langsmith: Emulator) -> None:
    query = "query A { sessions { nodes { runCount } } } query B { sessions { nodes { errorRate } } }"
    body = {"query": query, "operationName": "B"}
    response = await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo"})
    assert "errors" not in response.json()
    (request,) = take_recorded_params(langsmith)
    assert [value for name, value in request if name == "stats_select"] == ["error_rate"]

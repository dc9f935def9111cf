"""Arguments: invalid ones are refused by name, equal ones share a page, and LangSmith judges the rest."""

import json
from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.emulator import Emulator
from app.schema.pagination import cursor_at
from app.sessions.arguments import SessionFilter, StatsOptions, filter_arguments, stats_window
from app.sessions.query import StatsWindow
from app.sessions.scalars import JSON
from tests.conftest import NOON, Clock, Gateway, take_recorded_params

A = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
B = "00000000-0000-4000-8000-000000000000"
CURSOR = cursor_at(4)


def sessions(arguments: str, below: str = "nodes { id }") -> str:
    return f"{{ sessions({arguments}) {{ {below} }} }}"


REFUSED = [
    ("first", sessions("first: 0")),
    ("first", sessions("first: 501")),
    ("first", sessions("first: -1")),
    ("first", sessions(f'first: 0, last: 5, before: "{CURSOR}"')),
    ("offset", sessions("offset: -1")),
    ("offset", sessions(f'offset: 5, after: "{CURSOR}"')),
    ("last", sessions("last: 5")),
    ("last", sessions(f'last: 0, before: "{CURSOR}"')),
    ("last", sessions(f'last: 501, before: "{CURSOR}"')),
    ("last", sessions(f'last: -3, before: "{CURSOR}"')),
    ("last", sessions(f'last: 5, before: "{CURSOR}", after: "{CURSOR}"')),
    ("last", sessions(f'last: 5, before: "{CURSOR}", offset: 0')),
    ("before", sessions(f'before: "{CURSOR}"')),
    ("before", sessions('last: 5, before: "rubbish"')),
    ("after", sessions('after: "rubbish"')),
    ("after", sessions('after: ""')),
    ("filter.ids", sessions("filter: {ids: []}")),
    ("filter.referenceDatasets", sessions("filter: {referenceDatasets: []}")),
    ("filter.tagValueIds", sessions("filter: {tagValueIds: []}")),
    ("filter.ids", sessions('filter: {ids: ["x"]}')),
    ("filter.ids", sessions(f'filter: {{ids: ["{A}", 5]}}')),
    ("filter.referenceDatasets", sessions('filter: {referenceDatasets: ["x"]}')),
    ("filter.tagValueIds", sessions(f'filter: {{tagValueIds: "{A[:-1]}"}}')),
    ("filter.metadata", sessions("filter: {metadata: [1, 2]}")),
    ("filter.metadata", sessions('filter: {metadata: "{}"}')),
    ("filter.metadata", sessions("filter: {metadata: 5}")),
    ("filter.metadata", sessions("filter: {metadata: 0}")),
    ("filter.metadata", sessions("filter: {metadata: false}")),
    ("filter.metadata", sessions("filter: {metadata: []}")),
    ("filter.metadata", sessions("filter: {metadata: {a: 1e999}}")),
    ("orderBy.feedbackKey", sessions("orderBy: {field: FEEDBACK}")),
    ("orderBy.feedbackKey", sessions('orderBy: {field: FEEDBACK, feedbackKey: ""}')),
    ("orderBy.feedbackKey", sessions('orderBy: {field: NAME, feedbackKey: "accuracy"}')),
    ("orderBy.feedbackKey", sessions('orderBy: {feedbackKey: "accuracy"}')),
    ("orderBy.feedbackSource", sessions("orderBy: {field: NAME, feedbackSource: RUN}")),
    ("stats.since", sessions('stats: {since: "2026-11-20T00:00:00Z", last: "P1D"}')),
    ("stats.last", sessions('stats: {last: "PT0S"}')),
    ("stats.last", sessions('stats: {last: "-P1D"}')),
    ("stats.last", sessions('stats: {last: "P999999999D"}')),
    ("stats.last", sessions('stats: {last: "PT0S"}', "nodes { runCount }")),
    ("stats.since", sessions("first: 1", 'nodes { stats(since: "2026-11-20T00:00:00Z", last: "P1D") { runCount } }')),
    (
        "stats.last",
        sessions("first: 1", 'nodes { runCount a: stats { runCount } b: stats(last: "PT0S") { runCount } }'),
    ),
    ("id", '{ session(id: "x") { id } }'),
    ("id", '{ session(id: "") { id } }'),
    ("id", "{ session(id: 5) { id } }"),
    ("id", f'{{ session(id: "{{{A}}}") {{ id }} }}'),
    ("stats.last", f'{{ session(id: "{A}", stats: {{last: "PT0S"}}) {{ id }} }}'),
    ("stats.last", f'{{ session(id: "{A}") {{ stats(last: "PT0S") {{ runCount }} }} }}'),
]


async def test_invalid_argument_is_named_without_a_request(gateway: Gateway, langsmith: Emulator) -> None:
    found = {operation: await gateway.errors(operation) for _, operation in REFUSED}
    assert {operation: [error["extensions"] for error in errors] for operation, errors in found.items()} == {
        operation: [{"code": "BAD_USER_INPUT", "argument": argument}] for argument, operation in REFUSED
    }
    assert not take_recorded_params(langsmith)


REFUSED_BY_A_SCALAR = [
    ("stats.last", "Duration", sessions('stats: {last: "P1Y"}')),
    ("stats.last", "Duration", sessions('stats: {last: "P1M"}')),
    ("stats.last", "Duration", sessions('stats: {last: "a day"}')),
    ("stats.last", "Duration", sessions("stats: {last: 3600}")),
    ("last", "Duration", sessions("first: 1", 'nodes { stats(last: "P1Y") { runCount } }')),
    ("stats.since", "DateTime", sessions('stats: {since: "2026-11-20T00:00:00"}')),
    ("stats.since", "DateTime", sessions('stats: {since: "2026-11-20"}')),
    ("stats.since", "DateTime", sessions('stats: {since: "2026-02-30T00:00:00Z"}')),
    ("stats.since", "DateTime", sessions('stats: {since: "0001-01-01T00:00:00+05:00"}')),
    ("stats.since", "DateTime", sessions("stats: {since: 1795000000}")),
    ("filter.ids", "UUID", sessions('filter: {ids: ["3c90c3cc0d444b5088888dd25736052a"]}')),
]


async def test_literal_that_a_scalar_refuses_is_bad_input(gateway: Gateway, langsmith: Emulator) -> None:
    found = {operation: await gateway.errors(operation) for *_, operation in REFUSED_BY_A_SCALAR}
    assert {operation: [error["extensions"] for error in errors] for operation, errors in found.items()} == {
        operation: [{"code": "BAD_USER_INPUT", "argument": argument}] for argument, _, operation in REFUSED_BY_A_SCALAR
    }
    assert all(f"'{scalar}'" in found[operation][0]["message"] for _, scalar, operation in REFUSED_BY_A_SCALAR)
    assert not take_recorded_params(langsmith)


BAD_VARIABLES = [
    ("filter.ids", "$v: [UUID!]", "filter: {ids: $v}", ["x"]),
    ("filter.ids", "$v: [UUID!]", "filter: {ids: $v}", [A, None]),
    ("filter.ids", "$v: UUID!", "filter: {ids: [$v]}", "x"),
    ("filter", "$v: SessionFilter", "filter: $v", {"ids": ["x"]}),
    ("filter", "$v: SessionFilter", "filter: $v", {"nonsense": 1}),
    ("filter.ids", "$v: SessionFilter", "filter: $v", {"ids": []}),
    ("orderBy", "$v: SessionOrder", "orderBy: $v", {"field": "nonsense"}),
    ("stats", "$v: StatsOptions", "stats: $v", {"since": "2026-11-20T00:00:00"}),
    ("stats.since", "$v: DateTime", "stats: {since: $v}", "yesterday"),
    ("stats.last", "$v: Duration", "stats: {last: $v}", "P1Y"),
    ("first", "$v: Int!", "first: $v", 2**40),
    ("first", "$v: Int!", "first: $v", None),
    ("first", "$v: Int!", "first: $v", "20"),
    ("first", "$v: Int!", "first: $v", 1.5),
    ("first", "$v: Int", "first: $v", 0),
    ("after", "$v: String", "after: $v", 5),
    ("filter.metadata", "$v: JSON", "filter: {metadata: $v}", [1]),
]


async def test_variable_that_an_argument_refuses_is_bad_input(gateway: Gateway, langsmith: Emulator) -> None:
    for argument, declared, arguments, value in BAD_VARIABLES:
        errors = await gateway.errors(f"query ({declared}) {sessions(arguments)}", {"v": value})
        expected = [{"code": "BAD_USER_INPUT", "argument": argument}]
        assert [error["extensions"] for error in errors] == expected, (arguments, value)
    assert not take_recorded_params(langsmith)


async def test_deeply_nested_metadata_is_bad_input_at_worst(gateway: Gateway) -> None:
    query = json.dumps(f"query ($v: JSON) {sessions('filter: {metadata: $v}')}")
    for depth in (50, 400, *range(900, 1030, 10), 5000):
        nested = '{"a":' * depth + "1" + "}" * depth
        response = await gateway.client.post(
            "/graphql",
            content=f'{{"query":{query},"variables":{{"v":{nested}}}}}',
            headers={"x-api-key": "demo", "content-type": "application/json"},
        )
        assert {each["extensions"]["code"] for each in response.json().get("errors", ())} <= {
            "BAD_USER_INPUT",
            "OPERATION_TOO_EXPENSIVE",
        }


async def test_more_than_500_ids_are_refused(gateway: Gateway, langsmith: Emulator) -> None:
    (error,) = await gateway.errors("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [A] * 501})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "ids"}
    assert not take_recorded_params(langsmith)


JUDGED_BY_LANGSMITH = [
    ("stats.since", sessions('stats: {since: "2026-10-01T00:00:00Z"}', "nodes { runCount }")),
    ("stats.last", sessions('stats: {last: "P32D"}', "nodes { runCount }")),
    (None, sessions('filter: {expression: "nonsense("}')),
    (None, sessions('stats: {filter: "nonsense("}', "nodes { runCount }")),
]


@pytest.mark.parametrize(("argument", "operation"), JUDGED_BY_LANGSMITH, ids=[each for _, each in JUDGED_BY_LANGSMITH])
async def test_value_that_only_langsmith_can_judge_is_passed_on(
    argument: str | None, operation: str, gateway: Gateway, langsmith: Emulator
) -> None:
    (error,) = await gateway.errors(operation)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert argument is None or error["extensions"]["argument"] == argument
    assert len(take_recorded_params(langsmith)) == 1


async def test_duration_can_be_given_in_weeks_days_and_fractions_of_seconds(gateway: Gateway) -> None:
    for last in ("P1D", "PT24H", "P2W", "PT0.5S", "PT90M", "P1DT12H", "P30DT1H"):
        await gateway.data(sessions(f'stats: {{last: "{last}"}}', "nodes { runCount }"))


EQUAL = [
    ("", "first: 20"),
    ("first: 5", "offset: 0, first: 5"),
    ("first: 5", "first: 5, filter: {}, orderBy: {}, stats: {}"),
    ("first: 5", "first: 5, after: null, filter: {name: null}, stats: {since: null, approximate: false}"),
    ("first: 5", "first: 5, orderBy: {field: START_TIME, direction: DESC}"),
    ("orderBy: {field: NAME}", "orderBy: {direction: DESC, field: NAME}"),
    (
        'filter: {nameContains: "a", referenceFree: true}, orderBy: {field: NAME}',
        'orderBy: {field: NAME}, filter: {referenceFree: true, nameContains: "a"}',
    ),
    (f'filter: {{ids: ["{A}", "{B}"]}}', f'filter: {{ids: ["{B}", "{A.upper()}", "{A}"]}}'),
    (f'filter: {{ids: ["{A}"]}}', f'filter: {{ids: "{A}"}}'),
    (f'filter: {{tagValueIds: ["{A}", "{B}"]}}', f'filter: {{tagValueIds: ["{B}", "{A}"]}}'),
    ('filter: {metadata: {a: {x: 1, y: "ü"}, b: [1, 2]}}', 'filter: {metadata: {b: [1, 2], a: {y: "\\u00fc", x: 1}}}'),
    ('stats: {since: "2026-11-18T00:00:00Z"}', 'stats: {since: "2026-11-18T05:30:00.000+05:30"}'),
    ('stats: {last: "P1D"}', 'stats: {last: "PT24H"}'),
    ('stats: {last: "P7D", filter: "eq(error, true)"}', 'stats: {filter: "eq(error, true)", last: "P1W"}'),
    (f'after: "{cursor_at(9)}", first: 5', "first: 5, offset: 10"),
    ("first: 5, offset: 10", f'last: 5, before: "{cursor_at(15)}"'),
    ("first: 100, offset: 0", "first: 10"),
]


async def test_arguments_with_the_same_meaning_share_a_page(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    def operation(arguments: str) -> str:
        below = "{ edges { cursor node { name runCount } } }"
        return f"{{ sessions({arguments}) {below} }}" if arguments else f"{{ sessions {below} }}"

    for one, other in EQUAL:
        # The pages of the previous pair expire.
        clock.advance(200)
        first = await gateway.data(operation(one))
        assert len(take_recorded_params(langsmith)) == 1, one
        again = await gateway.data(operation(other))
        assert not take_recorded_params(langsmith), other
        shared = min(len(first["sessions"]["edges"]), len(again["sessions"]["edges"]))
        assert first["sessions"]["edges"][:shared] == again["sessions"]["edges"][:shared]


DIFFERENT = [
    ('filter: {name: "a"}', 'filter: {name: "A"}'),
    ('filter: {name: "a"}', 'filter: {nameContains: "a"}'),
    ('filter: {name: "a&b=c"}', 'filter: {name: "a", expression: "eq(name, \\"b\\")"}'),
    ("filter: {referenceFree: true}", "filter: {referenceFree: false}"),
    ("filter: {metadata: {a: 1}}", 'filter: {metadata: {a: "1"}}'),
    ("filter: {metadata: {a: true}}", "filter: {metadata: {a: 1}}"),
    ("filter: {metadata: {a: [1, 2]}}", "filter: {metadata: {a: [2, 1]}}"),
    ("orderBy: {field: NAME}", "orderBy: {field: NAME, direction: ASC}"),
    ('stats: {last: "P1D"}', 'stats: {last: "P2D"}'),
    ('stats: {last: "P1D"}', 'stats: {last: "P1D", approximate: true}'),
    ("orderBy: {field: ERROR_RATE}", 'orderBy: {field: ERROR_RATE}, stats: {last: "P1D"}'),
]


async def test_arguments_with_another_meaning_do_not_share_a_page(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    for one, other in DIFFERENT:
        clock.advance(200)
        await gateway.data(sessions(one, "nodes { name runCount }"))
        langsmith.requests.clear()
        await gateway.data(sessions(other, "nodes { name runCount }"))
        assert take_recorded_params(langsmith), other


async def test_metadata_can_contain_variables(gateway: Gateway, langsmith: Emulator) -> None:
    data = await gateway.data(
        "query ($env: String) { sessions(first: 3, filter: {metadata: {env: $env}}) { nodes { extra } } }",
        {"env": "prod"},
    )
    assert [node["extra"]["metadata"]["env"] for node in data["sessions"]["nodes"]] == ["prod"] * 3
    assert take_recorded_params(langsmith) == [[("metadata", '{"env":"prod"}'), ("limit", "3")]]


FILTERS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "referenceFree: true": lambda node: node["referenceDatasetId"] is None,
    "referenceFree: false": lambda node: node["referenceDatasetId"] is not None,
    'nameContains: "prod"': lambda node: "prod" in node["name"],
    'expression: "eq(trace_tier, \\"longlived\\")"': lambda node: node["traceTier"] == "LONGLIVED",
}


async def test_filter_returns_only_matching_sessions(gateway: Gateway) -> None:
    for where, claim in FILTERS.items():
        operation = sessions(f"first: 200, filter: {{{where}}}", "nodes { name referenceDatasetId traceTier }")
        found = (await gateway.data(operation))["sessions"]["nodes"]
        assert 0 < len(found) < 200, where
        assert all(map(claim, found)), where


@given(ids=st.lists(st.uuids(), min_size=1, unique=True))
def test_ids_are_sorted_without_duplicates(ids: list[UUID]) -> None:
    assert filter_arguments(SessionFilter(ids=ids + ids)) == tuple(
        ("filter.ids", each) for each in sorted(map(str, ids))
    )


@pytest.mark.parametrize("second", [0, 30, 59])
def test_duration_counts_back_from_the_current_minute(second: int) -> None:
    found = stats_window(StatsOptions(last=timedelta(hours=1)), NOON.replace(second=second, microsecond=7))
    assert found == StatsWindow((("stats.since", "2026-11-20T11:00:00Z"),))


objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(metadata=st.dictionaries(st.text(max_size=5), objects, min_size=1, max_size=4))
def test_metadata_has_one_text_whatever_the_order_of_its_keys(metadata: dict[str, Any]) -> None:
    ((name, text),) = filter_arguments(SessionFilter(metadata=JSON(metadata)))
    assert (name, json.loads(text)) == ("filter.metadata", metadata)
    reordered = dict(reversed(metadata.items()))
    assert filter_arguments(SessionFilter(metadata=JSON(reordered))) == ((name, text),)


@given(minutes=st.integers(-23 * 60, 23 * 60))
def test_time_has_one_text_whatever_its_offset(minutes: int) -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(minutes=minutes)))
    assert stats_window(StatsOptions(since=elsewhere), NOON) == StatsWindow((("stats.since", "2026-11-20T12:00:30Z"),))


async def test_metadata_with_a_variable_without_a_value_is_refused(gateway: Gateway, langsmith: Emulator) -> None:
    query = "query ($env: JSON) { sessions(filter: {metadata: {env: $env}}) { nodes { id } } }"
    [error] = await gateway.errors(query)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.metadata"}
    assert take_recorded_params(langsmith) == []

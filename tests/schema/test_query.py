"""Root fields request exactly the rows and statistics that are selected, in as few requests as possible."""

import asyncio
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.support.paths import v1_specification

SPEC: dict[str, Any] = v1_specification()
UNKNOWN = "00000000-0000-4000-8000-000000000000"
DAY = "stats_start_time=2026-11-19T12:00:00Z"


def params(*requests: str) -> list[list[tuple[str, str]]]:
    return sorted(sorted(parse_qsl(each, keep_blank_values=True)) for each in requests)


def requests_in_any_order(langsmith: Emulator) -> list[list[tuple[str, str]]]:
    return sorted(sorted(each) for each in take_recorded_params(langsmith))


class Case(NamedTuple):
    title: str
    operation: str
    upstream: list[list[tuple[str, str]]]
    variables: dict[str, Any] | None = None


CASES = [
    Case("columns need no statistics", "{ sessions { nodes { id name extra } } }", params("limit=20")),
    Case("a type name needs no statistics", "{ sessions { __typename } }", params("limit=20")),
    Case("cursors need no statistics", "{ sessions { pageInfo { endCursor } } }", params("limit=20")),
    Case(
        "a statistic is selected by its name",
        "{ sessions { nodes { runCount } } }",
        params("limit=20&include_stats=true&stats_select=run_count"),
    ),
    Case("facets need no statistics", "{ sessions { nodes { runFacets } } }", params("limit=20&facets=true")),
    Case(
        "facets and statistics share a request",
        "{ sessions { nodes { runFacets errorRate } } }",
        params("limit=20&facets=true&include_stats=true&stats_select=error_rate"),
    ),
    Case(
        "feedback is a statistic",
        "{ sessions { nodes { feedbackStats { key } sessionFeedbackStats { n } } } }",
        params("limit=20&include_stats=true&stats_select=feedback_stats&stats_select=session_feedback_stats"),
    ),
    Case(
        "aliases of a statistic select it once",
        "{ all: sessions { rows: nodes { a: runCount b: runCount tokens: totalTokens } } }",
        params("limit=20&include_stats=true&stats_select=run_count&stats_select=total_tokens"),
    ),
    Case(
        "nodes and edges select together",
        "{ sessions { nodes { runCount } edges { node { errorRate } cursor } } }",
        params("limit=20&include_stats=true&stats_select=run_count&stats_select=error_rate"),
    ),
    Case(
        "nested and inline fragments are followed",
        """{ sessions { ...Page } }
        fragment Page on SessionConnection { nodes { ...Row ... on Node { ... on Session { latencyP50 } } } }
        fragment Row on Session { name ... { errorRate } ...Deeper }
        fragment Deeper on Session { totalCost }""",
        params("limit=20&include_stats=true&stats_select=latency_p50&stats_select=error_rate&stats_select=total_cost"),
    ),
    Case(
        "a skipped field is not requested",
        "{ sessions { nodes { name runCount @skip(if: true) errorRate @include(if: false) } } }",
        params("limit=20"),
    ),
    Case(
        "variables of directives decide about fields",
        """query ($yes: Boolean!, $no: Boolean! = false) { sessions { nodes {
            name runCount @include(if: $yes) errorRate @skip(if: $yes) totalTokens @include(if: $no)
        } } }""",
        params("limit=20&include_stats=true&stats_select=run_count"),
        {"yes": True},
    ),
    Case(
        "variables of directives decide about fragments",
        """query ($yes: Boolean!) { sessions { nodes {
            name ...Row @skip(if: $yes) ... @include(if: $yes) { runCount } } } }
        fragment Row on Session { errorRate }""",
        params("limit=20&include_stats=true&stats_select=run_count"),
        {"yes": True},
    ),
    Case(
        "a field below a skipped field is not requested",
        """query ($no: Boolean!) { sessions {
            nodes @include(if: $no) { runCount } edges @skip(if: true) { node { errorRate } } pageInfo { startCursor }
        } }""",
        params("limit=20"),
        {"no": False},
    ),
    Case("a skipped root field sends no request", "{ sessions @skip(if: true) { nodes { runCount } } __typename }", []),
    Case(
        "repeated root fields are one request",
        "{ sessions { nodes { runCount } } sessions { nodes { errorRate } } }",
        params("limit=20&include_stats=true&stats_select=run_count&stats_select=error_rate"),
    ),
    Case(
        "two root fields for the same page are one request",
        "{ a: sessions { nodes { runCount } } b: sessions { nodes { errorRate } } }",
        params("limit=20&include_stats=true&stats_select=run_count&stats_select=error_rate"),
    ),
    Case(
        "two root fields for different pages are two requests",
        "{ a: sessions(first: 2) { nodes { runCount } } b: sessions(first: 3, offset: 2) { nodes { name } } }",
        params("limit=2&include_stats=true&stats_select=run_count", "limit=3&offset=2"),
    ),
    Case("one more row answers hasNextPage", "{ sessions { pageInfo { hasNextPage } } }", params("limit=21")),
    Case(
        "a full page of 100 is followed by a probe without statistics",
        "{ sessions(first: 100) { nodes { runCount } pageInfo { hasNextPage } } }",
        params("limit=100&include_stats=true&stats_select=run_count", "limit=1&offset=100"),
    ),
    Case(
        "a page of 100 that is not full needs no probe",
        "{ sessions(first: 100, offset: 200) { nodes { name } pageInfo { hasNextPage } } }",
        params("limit=100&offset=200"),
    ),
    Case(
        "a probe keeps the window of an order by a statistic",
        """{ sessions(first: 100, orderBy: {field: ERROR_RATE}, stats: {last: "PT24H"}) {
            nodes { runCount } pageInfo { hasNextPage } } }""",
        params(
            f"sort_by=error_rate&limit=100&include_stats=true&stats_select=run_count&{DAY}",
            f"sort_by=error_rate&limit=1&offset=100&{DAY}",
        ),
    ),
    Case(
        "250 rows are three requests, the last for one more row",
        "{ sessions(first: 250) { nodes { name } pageInfo { hasNextPage } } }",
        params("limit=100", "limit=100&offset=100", "limit=51&offset=200"),
    ),
    Case(
        "rows before a cursor are requested by their offset",
        '{ sessions(last: 5, before: "djE6MjA") { nodes { name } } }',
        params("limit=5&offset=15"),
    ),
    Case("an offset is sent", "{ sessions(first: 7, offset: 30) { nodes { id } } }", params("limit=7&offset=30")),
    Case(
        "every filter is sent",
        f"""{{ sessions(filter: {{
            ids: ["{UNKNOWN}"], name: "a b", nameContains: "&", referenceFree: false, referenceDatasets: ["{UNKNOWN}"],
            datasetVersion: "v1", metadata: {{env: "prod"}}, tagValueIds: ["{UNKNOWN}"], expression: "eq(name, \\"x\\")"
        }}) {{ nodes {{ id }} }} }}""",
        [
            sorted(
                [
                    ("id", UNKNOWN),
                    ("name", "a b"),
                    ("name_contains", "&"),
                    ("reference_free", "false"),
                    ("reference_dataset", UNKNOWN),
                    ("dataset_version", "v1"),
                    ("metadata", '{"env":"prod"}'),
                    ("tag_value_id", UNKNOWN),
                    ("filter", 'eq(name, "x")'),
                    ("limit", "20"),
                ]
            )
        ],
    ),
    Case(
        "every part of the order is sent",
        """{ sessions(orderBy: {field: FEEDBACK, direction: ASC, feedbackKey: "accuracy", feedbackSource: SESSION}) {
            nodes { id } } }""",
        params(
            "sort_by=feedback&sort_by_desc=false&sort_by_feedback_key=accuracy&sort_by_feedback_source=session&limit=20"
        ),
    ),
    Case(
        "RUN_COUNT is sent as runs_count",
        "{ sessions(orderBy: {field: RUN_COUNT}) { nodes { id } } }",
        params("sort_by=runs_count&limit=20"),
    ),
    Case(
        "every option of statistics is sent",
        """{ sessions(stats: {
            since: "2026-11-01T02:00:00+02:00", filter: "eq(run_type, \\"llm\\")", approximate: true
        }) { nodes { runCount } } }""",
        params(
            "limit=20&include_stats=true&stats_select=run_count&stats_start_time=2026-11-01T00:00:00Z"
            "&stats_filter=eq(run_type, %22llm%22)&use_approx_stats=true"
        ),
    ),
    Case(
        "a duration counts back from the current minute",
        '{ sessions(stats: {last: "P1D"}) { nodes { runCount } } }',
        params(f"limit=20&include_stats=true&stats_select=run_count&{DAY}"),
    ),
    Case(
        "a window without statistics is not sent",
        '{ sessions(stats: {last: "P1D", filter: "eq(error, true)"}) { nodes { name } } }',
        params("limit=20"),
    ),
    Case(
        "facets are over the window",
        '{ sessions(stats: {last: "P1D"}) { nodes { runFacets } } }',
        params(f"limit=20&facets=true&{DAY}"),
    ),
    Case(
        "null means the same as an argument that is left out",
        """query ($none: String) { sessions(after: $none, offset: null, last: null, before: null, filter: null,
            orderBy: null, stats: null) { nodes { id } } }""",
        params("limit=20"),
    ),
    Case("introspection sends no request", "{ __schema { queryType { name } } }", []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_operation_sends_exactly_these_requests(case: Case, gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(case.operation, case.variables)
    assert requests_in_any_order(langsmith) == case.upstream


REACHED_BY = {
    "facets": "{ sessions { nodes { runFacets } } }",
    "include_stats": "{ sessions { nodes { runCount } } }",
    "stats_select": "{ sessions { nodes { runCount } } }",
    "limit": "{ sessions(first: 3) { nodes { id } } }",
    "offset": "{ sessions(offset: 3) { nodes { id } } }",
    "reference_free": "{ sessions(filter: {referenceFree: true}) { nodes { id } } }",
    "reference_dataset": f'{{ sessions(filter: {{referenceDatasets: ["{UNKNOWN}"]}}) {{ nodes {{ id }} }} }}',
    "id": f'{{ session(id: "{UNKNOWN}") {{ id }} }}',
    "name": '{ sessions(filter: {name: "x"}) { nodes { id } } }',
    "name_contains": '{ sessions(filter: {nameContains: "x"}) { nodes { id } } }',
    "dataset_version": '{ sessions(filter: {datasetVersion: "x"}) { nodes { id } } }',
    "metadata": "{ sessions(filter: {metadata: {a: 1}}) { nodes { id } } }",
    "tag_value_id": f'{{ sessions(filter: {{tagValueIds: ["{UNKNOWN}"]}}) {{ nodes {{ id }} }} }}',
    "filter": '{ sessions(filter: {expression: "eq(name, \\"x\\")"}) { nodes { id } } }',
    "sort_by": "{ sessions(orderBy: {field: NAME}) { nodes { id } } }",
    "sort_by_desc": "{ sessions(orderBy: {direction: ASC}) { nodes { id } } }",
    "sort_by_feedback_key": '{ sessions(orderBy: {field: FEEDBACK, feedbackKey: "x"}) { nodes { id } } }',
    "sort_by_feedback_source": """{ sessions(orderBy: {field: FEEDBACK, feedbackKey: "x", feedbackSource: RUN}) {
        nodes { id } } }""",
    "use_approx_stats": "{ sessions(stats: {approximate: true}) { nodes { runCount } } }",
    "stats_start_time": '{ sessions(stats: {last: "PT1H"}) { nodes { runCount } } }',
    "stats_filter": '{ sessions(stats: {filter: "eq(run_type, \\"llm\\")"}) { nodes { runCount } } }',
}


@pytest.mark.parametrize("name", [each["name"] for each in SPEC["params"]])
async def test_every_parameter_of_the_specification_can_be_sent(
    name: str, gateway: Gateway, langsmith: Emulator
) -> None:
    assert name in REACHED_BY, (
        f"no operation sends {name}: its line is missing in app/sessions/arguments.py or in REACHED_BY"
    )
    await gateway.data(REACHED_BY[name])
    assert name in {sent for request in take_recorded_params(langsmith) for sent, _ in request}


async def test_every_order_of_the_specification_can_be_sent(gateway: Gateway, langsmith: Emulator) -> None:
    for value in next(each["values"] for each in SPEC["params"] if each["name"] == "sort_by"):
        field = {"runs_count": "RUN_COUNT"}.get(value, value.upper())
        key = ', feedbackKey: "accuracy"' if value == "feedback" else ""
        await gateway.data(f"{{ sessions(orderBy: {{field: {field}, direction: ASC{key}}}) {{ nodes {{ id }} }} }}")
        (sent,) = take_recorded_params(langsmith)
        assert dict(sent).get("sort_by", "start_time") == value


async def test_every_statistic_is_selected_by_its_name(gateway: Gateway, langsmith: Emulator) -> None:
    for offset, name in enumerate(each["name"] for each in SPEC["fields"] if each["kind"] == "stat"):
        head, *tail = name.split("_")
        field = head + "".join(part.title() for part in tail)
        below = "{ key }" if name.endswith("feedback_stats") else ""
        await gateway.data(f"{{ sessions(first: 1, offset: {offset + 1}) {{ nodes {{ {field} {below} }} }} }}")
        expected = f"limit=1&offset={offset + 1}&include_stats=true&stats_select={name}"
        assert requests_in_any_order(langsmith) == params(expected)


async def test_pages_of_a_long_list_are_requested_concurrently(gateway: Gateway, langsmith: Emulator) -> None:
    go_on = langsmith.pause()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(gateway.data("{ sessions(first: 240) { nodes { id } } }"))
        await langsmith.wait_for_requests(3)
        go_on.set()
    assert len({node["id"] for node in waiting.result()["sessions"]["nodes"]}) == 240


def some_ids(langsmith: Emulator, count: int) -> list[str]:
    """Ids of sessions that are not in the cache."""
    return [str(session.id) for session in langsmith.workspaces["demo"].sessions[:count]]


async def test_all_ids_of_an_operation_share_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    a, b, c, d = some_ids(langsmith, 4)
    data = await gateway.data(
        """query ($a: ID!, $b: ID!, $c: [ID!]!) {
            one: session(id: $a) { id runCount } two: node(id: $b) { id ... on Session { errorRate } }
            many: nodes(ids: $c) { id } }""",
        {"a": a, "b": b, "c": [c, d, UNKNOWN]},
    )
    assert [data["one"]["id"], data["two"]["id"]] == [a, b]
    assert data["many"] == [{"id": c}, {"id": d}, None]
    requested = "&".join(f"id={each}" for each in (a, b, c, d, UNKNOWN))
    assert requests_in_any_order(langsmith) == params(
        f"{requested}&limit=5&include_stats=true&stats_select=run_count&stats_select=error_rate"
    )


async def test_nodes_keep_order_and_duplicates_with_null_for_unknown_ids(gateway: Gateway, langsmith: Emulator) -> None:
    a, b = some_ids(langsmith, 2)
    ids = [b, "rubbish", a, UNKNOWN, b.upper(), "", b]
    data = await gateway.data("query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", {"ids": ids})
    assert [node and node["id"] for node in data["nodes"]] == [b, None, a, None, b, None, b]
    assert data["nodes"][0]["__typename"] == "Session"
    assert requests_in_any_order(langsmith) == params(f"id={a}&id={b}&id={UNKNOWN}&limit=3")


async def test_ids_are_requested_a_hundred_at_a_time(gateway: Gateway, langsmith: Emulator) -> None:
    ids = some_ids(langsmith, 240)
    data = await gateway.data("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": ids})
    assert [node["id"] for node in data["nodes"]] == ids
    requests = take_recorded_params(langsmith)
    assert sorted(len([1 for name, _ in request if name == "id"]) for request in requests) == [40, 100, 100]


async def test_missing_and_malformed_ids_send_no_request(gateway: Gateway, langsmith: Emulator) -> None:
    data = await gateway.data('{ none: nodes(ids: []) { id } bad: nodes(ids: ["x"]) { id } node(id: "x") { id } }')
    assert data == {"none": [], "bad": [None], "node": None}
    assert not take_recorded_params(langsmith)


async def test_node_pushes_down_the_statistics_of_its_fragments(gateway: Gateway, langsmith: Emulator) -> None:
    (a,) = some_ids(langsmith, 1)
    await gateway.data(
        """query ($id: ID!) { node(id: $id) { ...S } }
        fragment S on Session { name runCount stats(last: "P1D") { runCount } }""",
        {"id": a},
    )
    assert requests_in_any_order(langsmith) == params(
        f"id={a}&limit=1&include_stats=true&stats_select=run_count",
        f"id={a}&limit=1&include_stats=true&stats_select=run_count&{DAY}",
    )


async def test_unknown_session_is_null(gateway: Gateway) -> None:
    assert await gateway.data(f'{{ session(id: "{UNKNOWN}") {{ id runCount }} }}') == {"session": None}


async def test_session_sends_the_window_of_its_stats_argument(gateway: Gateway, langsmith: Emulator) -> None:
    (a,) = some_ids(langsmith, 1)
    operation = '{ session(id: "ID", stats: {last: "P1D", approximate: true}) { runCount } }'.replace("ID", a)
    await gateway.data(operation)
    assert requests_in_any_order(langsmith) == params(
        f"id={a}&limit=1&include_stats=true&stats_select=run_count&{DAY}&use_approx_stats=true"
    )


async def test_failing_root_field_leaves_its_siblings_alone(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults.append(Fault(status=500))
        body = await gateway.run(
            '{ a: sessions { nodes { id } } b: nodes(ids: ["x"]) { id } c: sessions(first: 0) { __typename } }'
        )
    assert body["data"] == {"a": None, "b": [None], "c": None}
    found = {tuple(error["path"]): error["extensions"]["code"] for error in body["errors"]}
    assert found == {("a",): "UPSTREAM_ERROR", ("c",): "BAD_USER_INPUT"}


async def test_missing_credential_is_refused_without_a_request(gateway: Gateway, langsmith: Emulator) -> None:
    body = await gateway.run(f'{{ sessions {{ nodes {{ id }} }} session(id: "{UNKNOWN}") {{ id }} }}', key=None)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UNAUTHENTICATED"] * 2
    assert body["data"] == {"sessions": None, "session": None}
    assert not take_recorded_params(langsmith)

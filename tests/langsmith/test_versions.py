"""Both versions of LangSmith's API give the same answers, and the gateway finds out which of them there is."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve
from tests.langsmith.operations import code_of, logged, page
from tests.support.markdown import examples

COLUMNS = "id name startTime endTime type traceTier longlivedTtlDays referenceDatasetId extra testRunNumber"
PROGRESS = "experimentProgress { expectedRunCount runProgress evaluators { key progress } }"
STATISTICS = """runCount totalTokens totalCost promptCost latencyP50 errorRate lastRunStartTime runFacets
feedbackStats { key n avg stdev errors min max values } sessionFeedbackStats { key n }"""
DATASET = "f5642484-01ef-46cf-abb1-f66b0ade89b7"
OPERATIONS = {
    "all fields": f"{{ sessions(first: 40) {{ nodes {{ {COLUMNS} {PROGRESS} {STATISTICS} }} }} }}",
    "a page and what follows": """{ sessions(first: 7) {
        edges { cursor node { id } } pageInfo { hasNextPage endCursor } } }""",
    "a numbered page": "{ sessions(first: 20, offset: 60) { nodes { id runCount } pageInfo { hasPreviousPage } } }",
    "rows before a cursor": '{ sessions(last: 5, before: "djE6MjA") { nodes { id } } }',
    "several pages": "{ sessions(first: 230) { nodes { id errorRate } pageInfo { hasNextPage } } }",
    "more than there are": "{ sessions(first: 500) { nodes { id } pageInfo { hasNextPage } } }",
    "a full page": "{ sessions(first: 100, offset: 140) { nodes { id } pageInfo { hasNextPage } } }",
    "an order by a statistic": """{
        sessions(first: 30, orderBy: {field: LATENCY_P99, direction: ASC}, stats: {last: "P7D"}) {
            nodes { id latencyP99 day: stats(last: "PT24H") { runCount errorRate } }
        }
    }""",
    "an order by name": '{ sessions(orderBy: {field: NAME}, filter: {nameContains: "a"}) { nodes { name } } }',
    "projects": "{ sessions(filter: {referenceFree: true}) { nodes { id name } } }",
    "experiments": "{ sessions(filter: {referenceFree: false}) { nodes { type experimentProgress { runProgress } } } }",
    "types": "{ sessions(filter: {types: [EXPERIMENT]}) { nodes { id type } } }",
    "experiments by feedback": f"""{{ sessions(filter: {{referenceDatasets: ["{DATASET}"]}},
        orderBy: {{field: FEEDBACK, feedbackKey: "correctness"}}) {{ nodes {{ feedbackStats {{ key avg }} }} }} }}""",
    "other filters": """{ sessions(filter: {metadata: {env: "prod"}, expression: "eq(name, \\"checkout-prod\\")"},
        stats: {filter: "eq(run_type, \\"llm\\")", approximate: true}) { nodes { id runCount } } }""",
}
REFUSED = {
    "orderBy.field": [
        "{ sessions(orderBy: {field: RUN_COUNT}) { nodes { id } } }",
        '{ sessions(orderBy: {field: FEEDBACK, feedbackKey: "a"}) { nodes { id } } }',
    ],
    "filter.datasetVersion": ['{ sessions(filter: {datasetVersion: "latest"}) { nodes { id } } }'],
}


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    """A LangSmith with enough sessions for several pages."""
    return Emulator(clock=clock.now)


def paths_of(langsmith: Emulator) -> list[str]:
    """The version that each request asked, since the last call."""
    versions = [request.path.split("/")[2] for request in langsmith.requests]
    langsmith.requests.clear()
    return versions


@contextlib.asynccontextmanager
async def both(serve: Serve, **settings: Any) -> AsyncIterator[tuple[Gateway, Gateway]]:
    async with serve(upstream_api="v1", **settings) as v1, serve(upstream_api="v2", **settings) as v2:
        yield v1, v2


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_both_versions_answer_the_same(serve: Serve, langsmith: Emulator, operation: str) -> None:
    async with both(serve) as (v1, v2):
        expected = await v1.run(operation)
        assert "errors" not in expected
        assert set(paths_of(langsmith)) == {"v1"}
        # Version 1 does not tell agents from projects.
        assert json.loads((await v2.post(operation)).text.replace('"AGENT"', '"PROJECT"')) == expected
        assert set(paths_of(langsmith)) == {"v2"}


@pytest.mark.parametrize("query", sorted({each.query for each in examples()}))
async def test_operations_of_the_documentation_have_the_same_answers(serve: Serve, query: str) -> None:
    async with both(serve) as (v1, v2):
        assert await v2.run(query) == await v1.run(query)


@pytest.mark.parametrize(
    ("argument", "operation"), [(argument, each) for argument, operations in REFUSED.items() for each in operations]
)
async def test_what_version_2_cannot_do_is_refused_without_a_request(
    serve: Serve, langsmith: Emulator, argument: str, operation: str
) -> None:
    async with both(serve) as (v1, v2):
        assert await v1.errors(operation) == []
        langsmith.requests.clear()
        (error,) = await v2.errors(operation)
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
        assert langsmith.requests == []


async def test_version_1_cannot_list_agents_alone(serve: Serve, langsmith: Emulator) -> None:
    query = "{ sessions(filter: {types: [AGENT]}) { nodes { type } } }"
    async with both(serve) as (v1, v2):
        (error,) = await v1.errors(query)
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.types"}
        assert langsmith.requests == []
        assert {node["type"] for node in (await v2.data(query))["sessions"]["nodes"]} == {"AGENT"}


async def test_version_2_is_asked_for_what_version_1_cannot_answer(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    query = "{ sessions(filter: {types: [AGENT]}) { nodes { type } } }"
    async with serve(cache_ttl=0) as gateway:
        for status in (None, 410):
            langsmith.v1_status = status
            langsmith.requests.clear()
            assert {node["type"] for node in (await gateway.data(query))["sessions"]["nodes"]} == {"AGENT"}
            assert set(paths_of(langsmith)) == {"v2"}
            await gateway.data(page())
        # Nor does it count as the request that looks for version 1.
        clock.advance(601)
        langsmith.requests.clear()
        await gateway.data(query)
        await gateway.data(page())
        assert paths_of(langsmith) == ["v2", "v1", "v2"]


async def test_installation_without_version_2_says_that_it_cannot_list_agents_alone(
    serve: Serve, langsmith: Emulator
) -> None:
    langsmith.has_v2 = False
    async with serve() as gateway:
        (error,) = await gateway.errors("{ sessions(filter: {types: [AGENT]}) { nodes { type } } }")
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.types"}
        await gateway.data(page())


@pytest.mark.parametrize("types", [("PROJECT",), ("PROJECT", "AGENT")])
async def test_setting_says_which_types_are_reference_free(serve: Serve, types: tuple[str, ...]) -> None:
    async with serve(upstream_api="v2", upstream_project_types=",".join(types)) as gateway:
        data = await gateway.data("{ sessions(first: 100, filter: {referenceFree: true}) { nodes { type } } }")
        assert {node["type"] for node in data["sessions"]["nodes"]} == set(types)


@pytest.mark.parametrize("status", [404, 405, 410, 501])
async def test_version_2_is_asked_from_then_on_when_version_1_is_gone(
    serve: Serve, langsmith: Emulator, clock: Clock, status: int
) -> None:
    async with serve() as gateway:
        expected = await gateway.data(page(0, "id name"))
        langsmith.v1_status = status
        langsmith.requests.clear()
        clock.advance(60)
        assert await gateway.data(page(0, "id name")) == expected
        assert paths_of(langsmith) == ["v1", "v2", "v2"]
        await gateway.data(page(1))
        assert paths_of(langsmith) == ["v2"]
        (line,) = logged(gateway, "upstream_api_changed")
        assert line["version"] == "v2"
        assert "gateway_upstream_api_v2 1.0" in (await gateway.client.get("/metrics")).text
        # After ten minutes, one request looks for version 1.
        clock.advance(601)
        await gateway.data(page(2))
        assert paths_of(langsmith) == ["v1", "v2"]
        await gateway.data(page(3))
        assert paths_of(langsmith) == ["v2"]
        # When it is there again, it is used again.
        langsmith.v1_status = None
        clock.advance(601)
        await gateway.data(page(4))
        await gateway.data(page(5))
        assert paths_of(langsmith) == ["v1", "v1"]


async def test_no_request_fails_while_version_1_goes_away_under_load(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        running = [asyncio.create_task(gateway.run(page(number))) for number in range(40)]
        await langsmith.wait_for_requests(5)
        langsmith.v1_status = 410
        running += [asyncio.create_task(gateway.run(page(number))) for number in range(40, 120)]
        answers = await asyncio.gather(*running)
        assert [each for each in answers if "errors" in each] == []
        assert len(logged(gateway, "upstream_api_changed")) == 1


async def test_prepared_operation_asks_for_no_further_row_once_version_2_is_in_use(
    serve: Serve, langsmith: Emulator
) -> None:
    query = "query ($after: String) { sessions(first: 5, after: $after) { pageInfo { hasNextPage endCursor } } }"
    async with serve(cache_ttl=0) as gateway:
        await gateway.data(query)
        langsmith.v1_status = 410
        await gateway.data(query)
        langsmith.requests.clear()
        first = await gateway.data(query)
        await gateway.data(query, {"after": first["sessions"]["pageInfo"]["endCursor"]})
        assert [dict(each.params)["page_size"] for each in langsmith.requests] == ["5", "5"]


async def test_installation_without_version_2_keeps_version_1_and_is_probed_once(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    langsmith.has_v2 = False
    async with serve() as gateway:
        langsmith.faults.append(Fault(status=404, path="/api/v1/sessions", times=3))
        for number in range(3):
            assert await code_of(gateway, page(number)) == "UPSTREAM_ERROR"
        assert paths_of(langsmith) == ["v1", "v2", "v1", "v1"]
        await gateway.data(page(4))
        assert paths_of(langsmith) == ["v1"]
        assert len(logged(gateway, "upstream_api_missing")) == 1


async def test_refused_credential_does_not_change_the_version(serve: Serve, langsmith: Emulator) -> None:
    langsmith.v1_status = 404
    async with serve() as gateway:
        assert await code_of(gateway, page(), key="unknown") == "UNAUTHENTICATED"
        assert logged(gateway, "upstream_api_changed") == []
        await gateway.data(page())
        assert len(logged(gateway, "upstream_api_changed")) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_fixed_version_is_the_only_one_that_is_asked(serve: Serve, langsmith: Emulator, version: str) -> None:
    langsmith.has_v2, langsmith.v1_status = version == "v1", None if version == "v2" else 410
    async with serve(upstream_api=version) as gateway:
        langsmith.faults.append(Fault(status=410))
        assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert paths_of(langsmith) == [version]


async def test_unknown_type_is_null_without_an_error(serve: Serve, langsmith: Emulator) -> None:
    def rename(body: dict[str, Any]) -> None:
        body["items"][0]["type"] = "CRYSTAL_BALL"
        body["items"][1]["trace_tier"] = "FOREVER_LIVED"

    langsmith.faults.append(Fault(rewrite=rename))
    async with serve(upstream_api="v2") as gateway:
        data = await gateway.data("{ sessions(first: 2) { nodes { type traceTier } } }")
        assert data["sessions"]["nodes"][0]["type"] is None
        assert data["sessions"]["nodes"][1]["traceTier"] is None
        values = {json.loads(line["value"]) for line in logged(gateway, "upstream_unknown_value")}
        assert values == {"CRYSTAL_BALL", "FOREVER_LIVED"}


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"items": 7}', b'{"items": [7]}', b'{"items": [], "next_cursor": 7}', b"x"]
)
async def test_answer_of_another_form_is_malformed(serve: Serve, langsmith: Emulator, body: bytes) -> None:
    langsmith.faults.append(Fault(body=body))
    async with serve(upstream_api="v2") as gateway:
        assert await code_of(gateway, page()) == "UPSTREAM_MALFORMED"


async def test_problem_names_the_argument_that_its_text_mentions(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_api="v2") as gateway:
        query = '{ sessions(stats: {since: "2020-01-01T00:00:00Z"}) { nodes { runCount } } }'
        (error,) = await gateway.errors(query)
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "stats.since"}


async def test_all_statistics_are_requested_when_version_2_refuses_stats_select(
    serve: Serve, langsmith: Emulator
) -> None:
    query = "{ sessions(first: 3) { nodes { id runCount latencyP50 } } }"
    async with serve(upstream_api="v2") as gateway:
        expected = await gateway.data(query)
    langsmith.refuses_stats_select = True
    async with serve(upstream_api="v2") as gateway:
        assert await gateway.data(query) == expected

"""Popular GraphQL clients work with the gateway, with the files that app/http/clients.md shows."""

import asyncio
import re
from contextlib import aclosing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gql import gql
from gql.transport.exceptions import TransportQueryError
from graphql import GraphQLError, GraphQLScalarType, build_schema, specified_scalar_types

from app.emulator import Emulator
from tests.clients.node import FOLDER, json_of, needs_node, output_of, project
from tests.clients.with_gql import create_client, poll
from tests.conftest import TIMEOUT_SECONDS, Gateway, Serve, take_recorded_params
from tests.support.paths import SCHEMA_FILE

pytestmark = pytest.mark.xdist_group("node")

SDL = SCHEMA_FILE.read_text()
SCALARS = {
    name
    for name, type_ in build_schema(SDL).type_map.items()
    if isinstance(type_, GraphQLScalarType) and name not in specified_scalar_types
}
RESPONSE_JSON = "application/graphql-response+json; charset=utf-8"


def url_of(gateway: Gateway) -> str:
    return str(gateway.client.base_url.join("/graphql"))


def without_typenames(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_typenames(each) for name, each in value.items() if name != "__typename"}
    return [without_typenames(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(params=["apollo", "urql"])
async def report(request: pytest.FixtureRequest, gateway: Gateway) -> Any:
    """Results of the scenarios in report.mjs, for each client that normalizes objects by id."""
    return await json_of(f"{request.param}/run.mjs", url_of(gateway))


@needs_node
async def test_a_client_joins_cursor_pages_into_one_list_and_keeps_numbered_pages_apart(
    report: Any, gateway: Gateway
) -> None:
    page = await gateway.data(
        "{ sessions(first: 6, orderBy: { field: NAME }) { nodes { id } pageInfo { hasNextPage endCursor } } }"
    )
    paged = report["paged"]
    assert paged["ids"] == [node["id"] for node in page["sessions"]["nodes"]]
    assert without_typenames(paged["pageInfo"]) == page["sessions"]["pageInfo"]
    assert {(each["status"], each["type"]) for each in paged["exchanges"]} == {(200, RESPONSE_JSON)}
    both_pages = await gateway.data("{ sessions(first: 4) { nodes { id } } }")
    assert report["numbered"] == [node["id"] for node in both_pages["sessions"]["nodes"]]


@needs_node
async def test_a_clients_cache_stays_correct_after_other_selections_and_windows(report: Any, gateway: Gateway) -> None:
    assert len(report["cached"]) == 9
    for each in report["cached"]:
        assert without_typenames(each["read"]) == await gateway.data(each["query"]), each["query"]
    assert report["warnings"] == []


@needs_node
async def test_polling_with_an_etag_gets_304_and_keeps_the_data(report: Any, gateway: Gateway) -> None:
    polled = report["polled"]
    assert (polled["statuses"], polled["failures"]) == ([200, 304, 304, 304], [])
    assert without_typenames(polled["data"]) == await gateway.data(polled["query"])


@needs_node
async def test_a_client_receives_error_codes_together_with_the_data_of_other_roots(report: Any) -> None:
    refused = report["refused"]
    assert {name: (each["codes"], each["status"]) for name, each in refused.items()} == {
        "withoutKey": (["UNAUTHENTICATED"], 200),
        "unknownKey": (["UNAUTHENTICATED"], 200),
        "argument": (["BAD_USER_INPUT"], 200),
        "validation": (["GRAPHQL_VALIDATION_FAILED"], 400),
    }
    assert refused["argument"]["data"]["other"] is None
    assert len(refused["argument"]["data"]["sessions"]["nodes"]) == 1


async def generate_and_run(generator: str, folder: Path, gateway: Gateway) -> Any:
    """Generate the code of a project, compile it strictly, run it, and return what it reports."""
    await output_of(generator, cwd=folder)
    await output_of("tsc", "--project", ".", cwd=folder)
    return msgspec.json.decode(await output_of("node", "built/run.js", url_of(gateway), cwd=folder))


@needs_node
async def test_relay_compiles_and_runs_fragments_connections_and_refetches(gateway: Gateway, tmp_path: Path) -> None:
    report = await generate_and_run("relay-compiler", project("relay", tmp_path), gateway)

    plain = await gateway.data("""{
        sessions(first: 6, orderBy: { field: NAME }) { nodes {
            id name totalTokens totalCost
            day: stats(last: "PT24H") { id runCount }
            month: stats(last: "P30D") { id runCount }
            feedbackStats { key n avg values }
        } }
    }""")
    rows = plain["sessions"]["nodes"]
    assert (report["first"], report["more"]) == (3, 6)
    assert report["rows"] == rows
    assert report["refetched"] == rows[0]["name"]
    assert report["polled"] == rows[:3]
    other = await gateway.data(
        'query($id: ID!) { session(id: $id) { extra startTime traceTier week: stats(last: "P7D") { id runCount } } }',
        {"id": rows[0]["id"]},
    )
    assert report["other"] == other["session"]
    assert {(media_type, status) for _, media_type, status in report["exchanges"]} == {(RESPONSE_JSON, 200)}

    # Relay's `@catch` returns the extensions of an error without its message.
    assert report["withoutKey"] == report["unknownKey"] == [{"extensions": {"code": "UNAUTHENTICATED"}}]
    assert report["argument"] == [{"extensions": {"code": "BAD_USER_INPUT", "argument": "id"}}]
    assert [each["extensions"]["code"] for each in report["thrown"]] == ["BAD_USER_INPUT"]


async def test_statistics_of_the_window_that_orders_the_page_need_no_further_request(
    gateway: Gateway, langsmith: Emulator
) -> None:
    window = 'stats: { last: "PT24H" }'
    await gateway.data(
        f"""{{ sessions(orderBy: {{ field: LATENCY_P99 }}, {window}) {{
            nodes {{ id stats(last: "PT24H") {{ id latencyP99 }} }}
        }} }}"""
    )
    assert len(take_recorded_params(langsmith)) == 1


@needs_node
async def test_types_of_the_code_generator_compile_strictly_and_match_the_answers(
    gateway: Gateway, tmp_path: Path
) -> None:
    report = await generate_and_run("graphql-codegen", project("codegen", tmp_path), gateway)
    assert report["answer"] == {"data": await gateway.data(report["query"], report["variables"])}
    assert len(report["tiers"]) == 2
    assert report["refused"]["codes"] == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("name", ["codegen/codegen.ts", "relay/relay.config.json"])
def test_client_configurations_map_every_scalar_of_the_schema(name: str) -> None:
    typed = re.findall(r"""\b(\w+)"?: ['"](?:number|string|unknown)['"]""", (FOLDER / name).read_text())
    assert set(typed) - {"documentMode"} == SCALARS


@needs_node
async def test_graphql_eslint_reports_only_a_field_name_that_langsmith_chose(tmp_path: Path) -> None:
    folder = project("eslint", tmp_path)
    output = await output_of("eslint", "--format", "json", "schema.graphql", cwd=folder, allow_findings=True)
    [file] = msgspec.json.decode(output)
    [finding] = file["messages"]
    assert finding["ruleId"] == "@graphql-eslint/no-typename-prefix"
    assert SDL.splitlines()[finding["line"] - 1].strip().startswith("sessionFeedbackStats")


@needs_node
async def test_apollo_sends_persisted_queries_by_hash(gateway: Gateway, langsmith: Emulator) -> None:
    report = await json_of("apollo/persisted.mjs", url_of(gateway))
    exchanges = [(each["method"], each["hasQuery"], each["status"]) for each in report["exchanges"]]
    assert exchanges == [("GET", False, 400), ("POST", True, 200), ("GET", False, 200), ("POST", False, 200)]
    assert len(take_recorded_params(langsmith)) == 1
    plain = await gateway.data(report["query"])
    assert [without_typenames(each) for each in report["answers"]] == [plain] * 3


@needs_node
async def test_the_gateway_trusts_documents_of_manifests_from_relay_and_the_code_generator(
    serve: Serve, tmp_path: Path
) -> None:
    relay, codegen = project("relay", tmp_path), project("codegen", tmp_path)
    config = msgspec.json.decode((relay / "relay.config.json").read_bytes())
    persisted = {"persistConfig": {"file": "persisted.json", "algorithm": "SHA256"}}
    (relay / "persisted.json").write_text("{}")
    (relay / "relay.config.json").write_bytes(msgspec.json.encode(config | persisted))
    configuration = (codegen / "codegen.ts").read_text()
    preset = "preset: 'client',"
    (codegen / "codegen.ts").write_text(
        configuration.replace(preset, f"{preset} presetConfig: {{ persistedDocuments: true }},")
    )
    await output_of("relay-compiler", cwd=relay)
    await output_of("graphql-codegen", cwd=codegen)
    for manifest in (relay / "persisted.json", codegen / "src/gql/persisted-documents.json"):
        document_id, query = next((name, text) for name, text in msgspec.json.decode(manifest.read_bytes()).items())
        async with serve(trusted_documents=manifest) as gateway:
            headers = {"x-api-key": "demo"}
            body = {"documentId": document_id, "variables": {"id": "002c552a-ed42-4330-8b0c-ef3638120ad1"}}
            by_id = (await gateway.client.post("/graphql", json=body, headers=headers)).json()
            assert by_id == await gateway.run(query, body["variables"])
            assert "errors" not in by_id
            [refused] = await gateway.errors("{ sessions { nodes { id } } }")
            assert refused["extensions"]["code"] == "BAD_USER_INPUT"


async def test_gql_converts_scalars_to_python_types_and_polls(gateway: Gateway, langsmith: Emulator) -> None:
    client = create_client(url_of(gateway), {"x-api-key": "demo"}, SDL)
    query = "query Costs($first: Int!) { sessions(first: $first) { nodes { id startTime totalCost runCount } } }"
    answers = []
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for answer in poll(client, query, {"first": 2}, 0.01):
            answers.append(answer)
            if len(answers) == 3:
                break
    assert answers[0] == answers[1] == answers[2]
    plain = await gateway.data(query, {"first": 2})
    for node, row in zip(answers[0]["sessions"]["nodes"], plain["sessions"]["nodes"], strict=True):
        assert node == {
            **row,
            "startTime": datetime.fromisoformat(row["startTime"]),
            "totalCost": Decimal(row["totalCost"]),
        }
    assert len(take_recorded_params(langsmith)) == 1


async def test_gql_polls_without_variables_and_takes_a_timedelta_as_a_duration(
    gateway: Gateway, langsmith: Emulator
) -> None:
    client = create_client(url_of(gateway), {"x-api-key": "demo"}, SDL)
    plain = "{ sessions(first: 2) { nodes { id } } }"
    for variables in (None, dict[str, str]()):
        async with aclosing(poll(client, plain, variables)) as polled:
            assert len((await anext(polled))["sessions"]["nodes"]) == 2
    take_recorded_params(langsmith)
    query = "query($last: Duration!) { sessions(first: 2, stats: { last: $last }) { nodes { runCount } } }"
    answers = []
    for last in (timedelta(days=1, minutes=1), "PT24H1M"):
        async with aclosing(poll(client, query, {"last": last})) as polled:
            answers.append(await anext(polled))
    assert answers[0] == answers[1]
    assert len(take_recorded_params(langsmith)) == 1


async def test_gql_raises_error_codes_and_validates_operations_before_it_sends_them(gateway: Gateway) -> None:
    async with create_client(url_of(gateway), {}, SDL) as session:
        with pytest.raises(TransportQueryError) as refused:
            await session.execute(gql("{ sessions { nodes { id } } }"))
        assert [each["extensions"]["code"] for each in refused.value.errors or []] == ["UNAUTHENTICATED"]
        with pytest.raises(GraphQLError, match="nmae"):
            await session.execute(gql("{ sessions { nodes { nmae } } }"))

"""Clients in wide use read the gateway as `app/http/clients.md` says, each from the very files that it shows."""

import asyncio
import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gql import gql
from gql.transport.exceptions import TransportQueryError
from graphql import GraphQLError, GraphQLScalarType, build_schema, specified_scalar_types

from app.emulator import Emulator
from tests.clients.node import FOLDER, needs_node, printed_by, project, said_by
from tests.clients.with_gql import connected, polled
from tests.conftest import PATIENCE, Gateway, Serve, asked
from tests.support.paths import APP, ROOT, SCHEMA_FILE

pytestmark = pytest.mark.xdist_group("node")

SDL = SCHEMA_FILE.read_text()
SCALARS = {
    name
    for name, each in build_schema(SDL).type_map.items()
    if isinstance(each, GraphQLScalarType) and name not in specified_scalar_types
}
RESPONSE_JSON = "application/graphql-response+json; charset=utf-8"
SHOWN_FILE = re.compile(r"^\[(\S+)\]\([./]*\1\):\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def url_of(gateway: Gateway) -> str:
    return str(gateway.client.base_url.join("/graphql"))


def without_typenames(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_typenames(each) for name, each in value.items() if name != "__typename"}
    return [without_typenames(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(params=["apollo", "urql"])
async def report(request: pytest.FixtureRequest, gateway: Gateway) -> Any:
    """What a client that keeps objects by id made of the gateway."""
    return await printed_by(f"{request.param}/run.mjs", url_of(gateway))


@needs_node
async def test_two_pages_are_one_list_and_numbered_pages_are_two(report: Any, gateway: Gateway) -> None:
    page = await gateway.data(
        "{ sessions(first: 6, orderBy: { field: NAME }) { nodes { id } pageInfo { hasNextPage endCursor } } }"
    )
    paged = report["paged"]
    assert paged["ids"] == [node["id"] for node in page["sessions"]["nodes"]]
    assert without_typenames(paged["pageInfo"]) == page["sessions"]["pageInfo"]
    assert {(each["status"], each["type"]) for each in paged["seen"]} == {(200, RESPONSE_JSON)}
    four = await gateway.data("{ sessions(first: 4) { nodes { id } } }")
    assert report["numbered"] == [node["id"] for node in four["sessions"]["nodes"]]


@needs_node
async def test_other_fields_windows_and_rows_spoil_nothing_that_is_kept(report: Any, gateway: Gateway) -> None:
    assert len(report["kept"]) == 9
    for each in report["kept"]:
        assert without_typenames(each["read"]) == await gateway.data(each["query"]), each["query"]
    assert report["complaints"] == []


@needs_node
async def test_polling_is_answered_with_304_and_shows_the_same(report: Any, gateway: Gateway) -> None:
    polling = report["polling"]
    assert (polling["statuses"], polling["failures"]) == ([200, 304, 304, 304], [])
    assert without_typenames(polling["data"]) == await gateway.data(polling["query"])


@needs_node
async def test_errors_arrive_with_their_codes_beside_what_succeeded(report: Any) -> None:
    refused = report["refused"]
    assert {name: (each["codes"], each["status"]) for name, each in refused.items()} == {
        "nobody": (["UNAUTHENTICATED"], 200),
        "stranger": (["UNAUTHENTICATED"], 200),
        "argument": (["BAD_USER_INPUT"], 200),
        "validation": (["GRAPHQL_VALIDATION_FAILED"], 400),
    }
    assert refused["argument"]["data"]["other"] is None
    assert len(refused["argument"]["data"]["sessions"]["nodes"]) == 1


async def generated_and_run(generator: str, folder: Path, gateway: Gateway) -> Any:
    """What a project reports whose code is generated, and then held to its types by a strict compiler."""
    await said_by(generator, cwd=folder)
    await said_by("tsc", "--project", ".", cwd=folder)
    return msgspec.json.decode(await said_by("node", "built/run.js", url_of(gateway), cwd=folder))


@needs_node
async def test_relay_compiles_and_runs_fragments_connections_and_refetches(gateway: Gateway, tmp_path: Path) -> None:
    report = await generated_and_run("relay-compiler", project("relay", tmp_path), gateway)

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
    assert {(media_type, status) for _, media_type, status in report["accepted"]} == {(RESPONSE_JSON, 200)}

    # `@catch` keeps the extensions, not the message.
    assert report["nobody"] == report["stranger"] == [{"extensions": {"code": "UNAUTHENTICATED"}}]
    assert report["argument"] == [{"extensions": {"code": "BAD_USER_INPUT", "argument": "id"}}]
    assert [each["extensions"]["code"] for each in report["thrown"]] == ["BAD_USER_INPUT"]


async def test_numbers_of_the_window_that_decides_the_order_cost_nothing_more(
    gateway: Gateway, langsmith: Emulator
) -> None:
    window = 'stats: { last: "PT24H" }'
    await gateway.data(
        f"""{{ sessions(orderBy: {{ field: LATENCY_P99 }}, {window}) {{
            nodes {{ id stats(last: "PT24H") {{ id latencyP99 }} }}
        }} }}"""
    )
    assert len(asked(langsmith)) == 1


@needs_node
async def test_generated_types_hold_for_a_strict_compiler_and_for_the_answers(gateway: Gateway, tmp_path: Path) -> None:
    report = await generated_and_run("graphql-codegen", project("codegen", tmp_path), gateway)
    assert report["answer"] == {"data": await gateway.data(report["query"], report["variables"])}
    assert len(report["tiers"]) == 2
    assert report["refused"]["codes"] == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("name", ["codegen/codegen.ts", "relay/relay.config.json"])
def test_every_scalar_of_the_schema_has_a_type(name: str) -> None:
    typed = re.findall(r"""\b(\w+)"?: ['"](?:number|string|unknown)['"]""", (FOLDER / name).read_text())
    assert set(typed) - {"documentMode"} == SCALARS


@needs_node
async def test_graphql_eslint_finds_nothing_in_the_schema_but_a_name_of_langsmiths(tmp_path: Path) -> None:
    folder = project("eslint", tmp_path)
    said = await said_by("eslint", "--format", "json", "schema.graphql", cwd=folder, may_find=True)
    [file] = msgspec.json.decode(said)
    [found] = file["messages"]
    assert found["ruleId"] == "@graphql-eslint/no-typename-prefix"
    assert SDL.splitlines()[found["line"] - 1].strip().startswith("sessionFeedbackStats")


@needs_node
async def test_apollo_names_documents_by_their_hash(gateway: Gateway, langsmith: Emulator) -> None:
    report = await printed_by("apollo/persisted.mjs", url_of(gateway))
    seen = [(each["method"], "with" if each["has"] else "without", each["status"]) for each in report["seen"]]
    assert seen == [("GET", "without", 400), ("POST", "with", 200), ("GET", "without", 200), ("POST", "without", 200)]
    assert len(asked(langsmith)) == 1
    plain = await gateway.data(report["query"])
    assert [without_typenames(each) for each in report["answers"]] == [plain] * 3


@needs_node
async def test_the_manifests_of_relay_and_the_code_generator_are_trusted(serve: Serve, tmp_path: Path) -> None:
    relay, codegen = project("relay", tmp_path), project("codegen", tmp_path)
    config = msgspec.json.decode((relay / "relay.config.json").read_bytes())
    persisted = {"persistConfig": {"file": "persisted.json", "algorithm": "SHA256"}}
    (relay / "persisted.json").write_text("{}")
    (relay / "relay.config.json").write_bytes(msgspec.json.encode(config | persisted))
    written = (codegen / "codegen.ts").read_text()
    client = "preset: 'client',"
    (codegen / "codegen.ts").write_text(
        written.replace(client, f"{client} presetConfig: {{ persistedDocuments: true }},")
    )
    await said_by("relay-compiler", cwd=relay)
    await said_by("graphql-codegen", cwd=codegen)
    for manifest in (relay / "persisted.json", codegen / "src/gql/persisted-documents.json"):
        name, query = next((name, text) for name, text in msgspec.json.decode(manifest.read_bytes()).items())
        async with serve(trusted_documents=manifest) as gateway:
            headers = {"x-api-key": "demo"}
            body = {"documentId": name, "variables": {"id": "002c552a-ed42-4330-8b0c-ef3638120ad1"}}
            named = (await gateway.client.post("/graphql", json=body, headers=headers)).json()
            assert named == await gateway.run(query, body["variables"])
            assert "errors" not in named
            [refused] = await gateway.errors("{ sessions { nodes { id } } }")
            assert refused["extensions"]["code"] == "BAD_USER_INPUT"


async def test_gql_reads_values_as_pythons_own_and_polls(gateway: Gateway, langsmith: Emulator) -> None:
    client = connected(url_of(gateway), {"x-api-key": "demo"}, SDL)
    query = "query Costs($first: Int!) { sessions(first: $first) { nodes { id startTime totalCost runCount } } }"
    answers = []
    async with asyncio.timeout(PATIENCE):
        async for answer in polled(client, query, {"first": 2}, 0.01):
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
    assert len(asked(langsmith)) == 1


async def test_gql_shows_the_codes_of_errors_and_checks_operations_itself(gateway: Gateway) -> None:
    async with connected(url_of(gateway), {}, SDL) as session:
        with pytest.raises(TransportQueryError) as refused:
            await session.execute(gql("{ sessions { nodes { id } } }"))
        assert [each["extensions"]["code"] for each in refused.value.errors or []] == ["UNAUTHENTICATED"]
        with pytest.raises(GraphQLError, match="nmae"):
            await session.execute(gql("{ sessions { nodes { nmae } } }"))


def test_page_about_clients_shows_the_files_that_run_here() -> None:
    page = (APP / "http" / "clients.md").read_text()
    shown = SHOWN_FILE.findall(page)
    assert len(shown) == page.count("```") // 2 >= 6
    for name, text in shown:
        assert text == (ROOT / name).read_text(), name

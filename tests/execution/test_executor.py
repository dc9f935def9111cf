"""The executor parses, validates and runs operations, and reports errors with stable codes."""

import gc
import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import DocumentNode

from app.emulator import Emulator
from app.execution import Encoding, Executor, Request
from app.execution.limits import OperationLimits
from app.observability.log import create_log
from app.schema.query import create_schema
from app.sessions.fields import AS_ATTRIBUTE
from app.sessions.scalars import PLAIN
from tests.conftest import Gateway, Serve
from tests.observability.test_log import lines
from tests.support.incremental_client import DRAFT

INTERNAL = (
    "This gateway failed to answer; it is not your query's fault. The log has the reason under the request id r1."
)


async def only_error(gateway: Gateway, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    (error,) = await gateway.errors(query, variables)
    return error


@pytest.mark.parametrize(
    "query", ["{", "}", "#", "query", "{ a(: 1) }", "{ a }}", '{ session(id: "\\uD800") { id } }', "{ \N{SNOWMAN} }"]
)
async def test_unparsable_document_reports_the_location_of_the_syntax_error(gateway: Gateway, query: str) -> None:
    error = await only_error(gateway, query)
    assert error["extensions"] == {"code": "GRAPHQL_PARSE_FAILED"}
    assert error["message"].startswith("Syntax Error: ")
    assert error["locations"][0]["line"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "{ nope }",
        "{ sessions }",
        "{ sessions { nodes { id { x } } } }",
        "{ sessions(nope: 1) { nodes { id } } }",
        '{ sessions(first: "x") { nodes { id } } }',
        "{ sessions(orderBy: {field: NOPE}) { nodes { id } } }",
        "{ session { id } }",
        "{ sessions { nodes { id @nope } } }",
        "{ sessions(first: $n) { nodes { id } } }",
        "query ($n: Nope) { __typename }",
        "query ($n: Int) { __typename }",
        "query A { __typename } query A { __typename }",
        "{ __typename } query A { __typename }",
        "{ a: __typename a: sessions { nodes { id } } }",
        "{ sessions { ...F } }",
        "fragment F on Session { id }",
        "type A { a: Int }",
        "mutation { a }",
        "subscription { sessions { nodes { id } } }",
    ],
)
async def test_invalid_document_is_refused_without_a_request(gateway: Gateway, langsmith: Emulator, query: str) -> None:
    body = await gateway.run(query)
    assert {error["extensions"]["code"] for error in body["errors"]} == {"GRAPHQL_VALIDATION_FAILED"}
    assert all(error["locations"] for error in body["errors"])
    assert "data" not in body
    assert langsmith.requests == []


@pytest.mark.parametrize(
    ("query", "argument"),
    [
        ('{ sessions(filter: {ids: ["x"]}) { nodes { id } } }', "filter.ids"),
        ("{ sessions(filter: {metadata: 3}) { nodes { id } } }", "filter.metadata"),
        ('{ sessions(stats: {last: "soon"}) { nodes { id } } }', "stats.last"),
        ('{ sessions(stats: {last: "-PT1H"}) { nodes { id } } }', "stats.last"),
        ('{ sessions(stats: {since: "yesterday"}) { nodes { id } } }', "stats.since"),
        ('{ sessions { nodes { stats(last: "soon") { runCount } } } }', "last"),
        ("fragment F on Session { stats(last: 3) { id } } { sessions { nodes { ...F } } }", "last"),
        ('{ session(id: "x") { id } }', "id"),
        ("{ sessions(first: 0) { nodes { id } } }", "first"),
        ("{ sessions(first: " + "9" * 5000 + ") { nodes { id } } }", "first"),
    ],
)
async def test_bad_literal_is_bad_input_that_names_its_argument(
    gateway: Gateway, langsmith: Emulator, query: str, argument: str
) -> None:
    error = await only_error(gateway, query)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert langsmith.requests == []


@pytest.mark.parametrize(
    ("query", "variables", "argument"),
    [
        ("query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }", {"f": {"ids": ["x"]}}, "filter"),
        ("query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }", {"f": {"nope": 1}}, "filter"),
        ("query ($i: [UUID!]) { sessions(filter: {ids: $i}) { nodes { id } } }", {"i": ["x"]}, "filter.ids"),
        ("query ($l: Duration) { sessions { nodes { stats(last: $l) { id } } } }", {"l": "soon"}, "last"),
        ("query ($o: SessionOrder) { sessions(orderBy: $o) { nodes { id } } }", {"o": {"field": "NOPE"}}, "orderBy"),
        ("query ($n: Int!) { sessions(first: $n) { nodes { id } } }", {}, "first"),
        ("query ($n: Int!) { sessions(first: $n) { nodes { id } } }", {"n": 2**40}, "first"),
        ("query ($y: Boolean!) { sessions { nodes { id @skip(if: $y) } } }", {"y": "yes"}, "if"),
    ],
)
async def test_bad_variable_error_names_the_variable_and_its_argument(
    gateway: Gateway, langsmith: Emulator, query: str, variables: dict[str, Any], argument: str
) -> None:
    error = await only_error(gateway, query, variables)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    name = re.search(r"\$\w+", query)
    assert name is not None
    assert name[0] in error["message"]
    assert langsmith.requests == []


async def test_response_lists_several_errors_up_to_a_limit(gateway: Gateway) -> None:
    variables = " ".join(f"$n{n}: Int!" for n in range(15))
    roots = " ".join(f"a{n}: sessions(first: $n{n}) {{ nodes {{ id }} }}" for n in range(15))
    errors = await gateway.errors(f"query ({variables}) {{ {roots} }}", {})
    assert len(errors) == 5
    errors = await gateway.errors("{ sessions { nodes { " + " ".join(f"nope{n}" for n in range(200)) + " } } }")
    assert len(errors) == 5


async def run_named(gateway: Gateway, query: str, name: str | None) -> dict[str, Any]:
    response = await gateway.client.post("/graphql", json={"query": query, "operationName": name})
    body: dict[str, Any] = response.json()
    return body


async def test_operation_name_picks_one_of_several_operations(gateway: Gateway) -> None:
    both = "query A { a: __typename } query B { b: __typename }"
    assert await run_named(gateway, both, "A") == {"data": {"a": "Query"}}
    assert await run_named(gateway, both, "B") == {"data": {"b": "Query"}}
    assert await run_named(gateway, "query A { a: __typename }", None) == {"data": {"a": "Query"}}
    for query, name in ((both, None), (both, ""), (both, "C"), ("{ __typename }", "A")):
        body = await run_named(gateway, query, name)
        assert body["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "argument": "operationName"}
        assert "data" not in body


async def test_root_answers_its_typename(gateway: Gateway) -> None:
    assert await gateway.data("{ __typename kind: __typename }") == {"__typename": "Query", "kind": "Query"}


async def test_invalid_argument_of_one_root_field_leaves_its_siblings_alone(gateway: Gateway) -> None:
    body = await gateway.run('{ bad: session(id: "x") { id } good: sessions(first: 1) { nodes { __typename } } }')
    assert body["data"] == {"bad": None, "good": {"nodes": [{"__typename": "Session"}]}}
    assert [error["path"] for error in body["errors"]] == [["bad"]]


async def test_bug_is_masked_for_the_client_and_logged_with_its_traceback(serve: Serve) -> None:
    async with serve(now=lambda: None) as gateway:
        query = '{ bad: sessions(stats: {last: "P1D"}) { nodes { id } } good: __typename }'
        body = await gateway.run(query, **{"x-request-id": "r1"})
    assert body["data"] == {"bad": None, "good": "Query"}
    (error,) = body["errors"]
    assert error["message"] == INTERNAL
    assert error["path"] == ["bad"]
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR"}
    (bug,) = lines(gateway, "internal_error")
    assert bug["exception"].startswith("Traceback")
    assert "TypeError" in bug["exception"]
    assert bug["request_id"] == "r1"
    assert [line["outcome"] for line in lines(gateway)] == ["INTERNAL_SERVER_ERROR"]


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "Session") { name } }',
        "{ ...F } fragment F on Query { __schema { queryType { name } } }",
    ],
)
async def test_introspection_is_invalid_if_it_is_switched_off(serve: Serve, query: str) -> None:
    async with serve(introspection=False) as gateway:
        assert {error["extensions"]["code"] for error in await gateway.errors(query)} == {"GRAPHQL_VALIDATION_FAILED"}
        assert await gateway.data("{ __typename }") == {"__typename": "Query"}


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ sessionz { nodes { id } } }", None),
        ("{ sessions(frist: 1) { nodes { id } } }", None),
        ("{ sessions(orderBy: {field: NAMES}) { nodes { id } } }", None),
        ("{ sessions(filter: {nam: 1}) { nodes { id } } }", None),
        ("{ sessions { nodes { ... on Sesion { id } } } }", None),
        ("query ($f: SessionFiltr) { sessions(filter: $f) { nodes { id } } }", None),
        ("query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }", {"f": {"nam": 1}}),
        ("query ($f: SessionOrder) { sessions(orderBy: $f) { nodes { id } } }", {"f": {"field": "NAMES"}}),
    ],
)
async def test_errors_suggest_names_only_if_introspection_is_switched_on(
    serve: Serve, query: str, variables: dict[str, Any] | None
) -> None:
    async with serve(introspection=False) as gateway:
        errors = await gateway.errors(query, variables)
    assert errors
    assert "Did you mean" not in str(errors)
    async with serve() as gateway:
        assert "Did you mean" in str(await gateway.errors(query, variables))


def documents_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, DocumentNode) for each in gc.get_objects())


async def test_document_cache_keeps_within_its_size_limit() -> None:
    limits = OperationLimits(tokens=100, depth=10, aliases=10, cost=10)
    log = create_log("json", "info", io.StringIO())
    executor = Executor(
        create_schema(), limits, lambda *_: 0, Encoding(PLAIN, AS_ATTRIBUTE), introspection=True, log=log
    )

    async def run(query: str) -> None:
        await executor.run(Request(query, {}), SimpleNamespace(extra_errors=[]))

    before = documents_in_memory()
    for _ in range(3):
        await run("{ cached: __typename }")
    assert documents_in_memory() == before + 1
    await run("{ nope }")
    assert documents_in_memory() == before + 1
    # A document's weight follows its length: four documents of 60,000 characters fit.
    for number in range(8):
        await run(f"{{ a{number}: __typename }}" + " " * 60_000)
    assert documents_in_memory() == before + 4


async def test_cached_document_runs_with_other_variables(gateway: Gateway) -> None:
    query = "query ($n: Int!) { sessions(first: $n) { nodes { id } } }"
    for length in (1, 2, 0, 3):
        body = await gateway.run(query, {"n": length})
        assert len((body["data"]["sessions"] or {"nodes": []})["nodes"]) == length


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("accept", ["application/json", DRAFT])
@pytest.mark.parametrize(
    "query",
    [
        "query ($on: Boolean = true) { __typename @include(if: $on) }",
        "query ($on: Boolean = true) { sessions { nodes { id @include(if: $on) } } }",
        "query ($on: Boolean = true) { sessions { nodes { id ... @defer { name @include(if: $on) } } } }",
    ],
)
async def test_null_for_a_condition_is_the_clients_error(
    serve: Serve, query: str, accept: str, *, compiled: bool
) -> None:
    async with serve(compiled=compiled) as gateway:
        response = await gateway.post(query, {"on": None}, accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_USER_INPUT"]
    assert "$on" in response.json()["errors"][0]["message"]

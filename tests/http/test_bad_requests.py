"""Odd and malformed requests get a clear error of the client, in both media types, and never an internal one."""

import codecs
import json

import pytest

from app.errors import INTERNAL
from tests.conftest import Gateway
from tests.http.test_endpoint import PLAIN_JSON, RESPONSE_JSON
from tests.observability.test_log import lines

FORM = 'The body must be one JSON object, such as {"query": "{ sessions { nodes { name } } }"}.'
MISSING = "Send a GraphQL document in `query`, or its id in `documentId`."
NOT_JSON = "The body is not JSON in UTF-8"
SURROGATE = f"{NOT_JSON}: it has half of a surrogate pair."
COUNT = "query ($n: Int) { sessions(first: $n) { nodes { name } } }"
METADATA = "query ($n: JSON) { sessions(filter: {metadata: $n}) { nodes { name } } }"
NAME = "query ($n: String) { sessions(filter: {name: $n}) { nodes { name } } }"
HASH = '{"persistedQuery": {"version": 1, "sha256Hash": %s}}'
LONE = '"\\ud800"'


def member(name: str, value: str, query: str | None = "{ __typename }") -> bytes:
    """A body with one member as given, beside the query."""
    rest = f', "query": {json.dumps(query)}' if query is not None else ""
    return f'{{"{name}": {value}{rest}}}'.encode()


def variable(query: str, value: str) -> bytes:
    return member("variables", f'{{"n": {value}}}', query)


BODIES = [
    (b"", "The body is empty."),
    (b" \n ", "The body is empty."),
    (codecs.BOM_UTF8, "The body is empty."),
    *((body, FORM) for body in (b"null", b"1", b'"x"', b"[]", b'[{"query": "{ __typename }"}]', b"[" * 100_000)),
    (b'{"a":' * 5000, NOT_JSON),  # which fault is found first depends on the version of Python
    (b"{}", MISSING),
    (b'{"Query": "{ __typename }"}', MISSING),
    (b'{"query": "{ __typename }"} x', f"{NOT_JSON}: trailing characters (byte"),
    (b'{"query": "{ __typename }"}{}', f"{NOT_JSON}: trailing characters (byte"),
    (b'{"query": "{ __typename }",}', f"{NOT_JSON}: trailing comma in object (byte 27)."),
    (b"{'query': 1}", f"{NOT_JSON}: object keys must be strings (byte 1)."),
    (b'{"query": "{ __typename }"', f"{NOT_JSON}: it ends too early"),
    (b"{ __typename }", f"{NOT_JSON}: object keys must be strings (byte 2)."),
    (b"query={__typename}", f"{NOT_JSON}: invalid character (byte 0)."),
    (b'{"query": "\x00"}', f"{NOT_JSON}: invalid character (byte 11)."),
    (b'{"query": "\xff"}', f"{NOT_JSON}."),
    (b'{"query": "\xed\xa0\x80"}', f"{NOT_JSON}."),
    (b'{"query": "\xc0\x80"}', f"{NOT_JSON}."),
    *(('{"query": "{ __typename }"}'.encode(encoding), NOT_JSON) for encoding in ("utf-16", "utf-16-le", "utf-32")),
    (b"\x1f\x8b\x08\x00", NOT_JSON),
    (b'{"query": "{ a }", "query": "{ b }"}', "`query` must not occur twice."),
    (b'{"query": "{ a }", "qu\\u0065ry": "{ b }"}', "`query` must not occur twice."),
    (member("note", "NaN"), f"{NOT_JSON}: invalid character"),
    *((member("query", value, None), "`query` must be a string.") for value in ("1", "true", "[]", "{}", '["{ a }"]')),
    *((member("query", value, None), MISSING) for value in ("null", '""')),
    *((member(name, LONE), SURROGATE) for name in ("query2", "operationName", "documentId", "id", "variables")),
    *((member("variables", value), "`variables` must be an object.") for value in ("1", "true", "[]", '"{}"', '""')),
    *((variable(COUNT, value), f"{NOT_JSON}: invalid character") for value in ("NaN", "Infinity", "-Infinity", "-")),
    (variable(COUNT, "01"), f"{NOT_JSON}: invalid number"),
    *(
        (variable(query, value), "`variables` has a number that is out of range.")
        for query in (COUNT, METADATA)
        for value in ("1e400", "-1e400", "[1e999]", "9" * 5000)
    ),
    *((variable(NAME, value), SURROGATE) for value in (LONE, '"\\udfff\\ud800"', '{"\\ud800": 1}')),
    *((member("extensions", value), "`extensions` must be an object.") for value in ("1", "[]", '"x"')),
    (member("extensions", '{"a": 1, "a": 2}'), "`a` must not occur twice."),
    (member("extensions", '{"persistedQuery": 1}'), "`extensions.persistedQuery` must be an object."),
    (member("extensions", '{"persistedQuery": {"version": 2}}'), "Unsupported persisted query version"),
    (member("extensions", HASH % 1), "`extensions.persistedQuery.sha256Hash` must be a string."),
    *((member("operationName", value), "`operationName` must be a string.") for value in ("1", "[]", "{}", "true")),
    *((member("documentId", value, None), "`documentId` must be a string.") for value in ("1", "[]")),
    *((member("id", value, None), MISSING) for value in ("1", "[]", '""', "null")),
]
"""Bodies that are refused with 400 in both media types, and how the message begins."""


@pytest.mark.parametrize(("body", "message"), BODIES)
async def test_malformed_body_is_refused_with_the_fault_and_its_place(
    gateway: Gateway, body: bytes, message: str
) -> None:
    for accept in (PLAIN_JSON, RESPONSE_JSON):
        headers = {"content-type": PLAIN_JSON, "accept": accept, "x-api-key": "demo"}
        response = await gateway.client.post("/graphql", content=body, headers=headers)
        assert response.status_code == 400
        assert response.headers["content-type"] == f"{accept}; charset=utf-8"
        (error,) = response.json()["errors"]
        assert error["message"].startswith(message)
        assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert not lines(gateway, "bug")


OPERATIONS = [
    (member("query", '" "', None), "GRAPHQL_PARSE_FAILED"),
    (member("query", '"\\u0000"', None), "GRAPHQL_PARSE_FAILED"),
    (member("query", '"# a comment"', None), "GRAPHQL_PARSE_FAILED"),
    (member("query", '"mutation { a }"', None), "GRAPHQL_VALIDATION_FAILED"),
    (member("query", '"subscription { a }"', None), "GRAPHQL_VALIDATION_FAILED"),
    (member("query", '"{ __typename } type A { a: Int }"', None), "GRAPHQL_VALIDATION_FAILED"),
    (member("query", '"{ sessions(first: 1e400) { nodes { id } } }"', None), "GRAPHQL_VALIDATION_FAILED"),
    (member("query", '"{ session(id: \\"\\\\ud800\\") { id } }"', None), "GRAPHQL_PARSE_FAILED"),
    (member("operationName", '"x"'), "BAD_USER_INPUT"),
    (member("operationName", '"\\u0000"'), "BAD_USER_INPUT"),
    *((variable(COUNT, value), "BAD_USER_INPUT") for value in ("1.5", "2147483648", "9" * 30, '"1"', "true", "{}")),
    (variable(METADATA, "[" * 400 + "]" * 400), "OPERATION_TOO_EXPENSIVE"),
    (member("extensions", HASH % '"x"', None), "BAD_USER_INPUT"),
    (member("extensions", HASH % f'"{"A" * 64}"', None), "BAD_USER_INPUT"),
    (member("extensions", HASH % f'"{"0" * 64}"', None), "PERSISTED_QUERY_NOT_FOUND"),
    (member("documentId", '"x"', None), "BAD_USER_INPUT"),
    (member("id", '"x"', None), "BAD_USER_INPUT"),
]
"""Well-formed requests whose operation is refused before it runs, and the code of the error."""


@pytest.mark.parametrize(("body", "code"), OPERATIONS)
async def test_operation_that_cannot_run_is_refused_with_its_code(gateway: Gateway, body: bytes, code: str) -> None:
    for accept, status in ((PLAIN_JSON, 200), (RESPONSE_JSON, 400)):
        headers = {"content-type": PLAIN_JSON, "accept": accept, "x-api-key": "demo"}
        response = await gateway.client.post("/graphql", content=body, headers=headers)
        assert response.status_code == status
        assert "data" not in response.json()
        assert {error["extensions"]["code"] for error in response.json()["errors"]} == {code}


@pytest.mark.parametrize(
    "body",
    [
        codecs.BOM_UTF8 + member("variables", "null"),
        b'\r\n\t {"query": "{ __typename }"} ',
        member("query", '"\\ufeff{ __typename }"', None),
        member("note", "1e400"),
        member("note", "9" * 10_000),
        member("variables", '{"__proto__": 1, "": 2}'),
        member("extensions", '{"persistedQuery": null}'),
        member("operationName", '""'),
        variable(COUNT, "-0"),
        variable(COUNT, "1e0"),
        variable(METADATA, '{"a": -0, "b": 12345678901234567890123456789.5, "c": "\\u0000"}'),
        variable(NAME, '"\\u0000\\u202e"'),
    ],
)
async def test_odd_but_valid_request_is_answered(gateway: Gateway, body: bytes) -> None:
    headers = {"content-type": PLAIN_JSON, "accept": RESPONSE_JSON, "x-api-key": "demo"}
    response = await gateway.client.post("/graphql", content=body, headers=headers)
    assert response.status_code == 200
    assert INTERNAL not in response.text


@pytest.mark.parametrize(
    ("query_string", "message"),
    [
        ("", MISSING),
        ("query", MISSING),
        ("query[]={__typename}", MISSING),
        ("&&=", MISSING),
        ("query={a}&query={b}", "`query` must not occur twice."),
        ("query=%FF", "The URL's query string cannot be read."),
        ("query=%ED%A0%80", "The URL's query string cannot be read."),
        ("query={a}" + "&a=1" * 50, "The URL has more than 50 parameters."),
        ("query={a}&variables=1", "`variables` must be an object."),
        ("query={a}&variables=x", "`variables` is not JSON in UTF-8: invalid character (byte 0)."),
        ("query={a}&variables=%20", "`variables` is empty."),
        ('query={a}&variables={"a":1e400}', "`variables` has a number that is out of range."),
        ("query={a}&extensions=x", "`extensions` is not JSON in UTF-8: invalid character (byte 0)."),
    ],
)
async def test_malformed_url_is_refused_with_the_fault(gateway: Gateway, query_string: str, message: str) -> None:
    response = await gateway.client.get(f"/graphql?{query_string}")
    assert (response.status_code, response.json()["errors"][0]["message"]) == (400, message)


async def test_get_runs_no_mutation_and_reads_no_body(gateway: Gateway) -> None:
    response = await gateway.client.get("/graphql", params={"query": "mutation { a }"})
    assert response.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    response = await gateway.client.request("GET", "/graphql", json={"query": "{ __typename }"})
    assert response.json()["errors"][0]["message"] == MISSING


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "*/*",
        "text/plain",
        "text/json",
        "application/graphql",
        "application/graphql-response+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json, application/json",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
    ],
)
async def test_body_of_another_media_type_is_refused(gateway: Gateway, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await gateway.client.post("/graphql", content=b'{"query": "{ __typename }"}', headers=headers)
    assert response.status_code == 415
    assert response.json()["errors"][0]["message"].startswith("Send the ")

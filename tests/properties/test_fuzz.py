"""Whatever a client sends, the answer is JSON, is no 5xx and contains no secret. All runs try the same examples."""

import json
import re
from typing import Any

import httpx
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st

from app.schema.pagination import cursor_at
from tests.conftest import Gateway
from tests.support.paths import SCHEMA_FILE

SECRET = "lsv2_pt_fuzzed"
CODES = {
    "BAD_USER_INPUT",
    "UNAUTHENTICATED",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "OPERATION_TOO_EXPENSIVE",
}
fixed = settings(derandomize=True, database=None)

# Schemathesis refuses schemas with `@defer`, which test_deferral.py generates.
SDL = re.sub(r'(?ms)^""".*?^\) on FRAGMENT_SPREAD \| INLINE_FRAGMENT$', "", SCHEMA_FILE.read_text())
OPERATIONS = schemathesis.graphql.from_file(SDL).as_strategy()


def check_answer(gateway: Gateway, response: httpx.Response, *, codes: set[str] = CODES) -> dict[str, Any]:
    assert response.status_code < 500, response.text
    assert response.headers["content-type"].startswith(("application/json", "application/graphql-response+json"))
    body: dict[str, Any] = response.json()
    for error in body.get("errors", []):
        assert error["message"]
        assert error["extensions"]["code"] in codes, error
    for leaked in (SECRET, "Traceback", "api/v1/sessions", "site-packages"):
        assert leaked not in response.text
        assert leaked not in gateway.log.getvalue()
    return body


@settings(fixed, max_examples=150)
@given(case=OPERATIONS)
async def test_any_valid_operation_is_answered(gateway: Gateway, case: Any) -> None:
    query = case.body if isinstance(case.body, str) else case.body["query"]
    body = check_answer(gateway, await gateway.post(query))
    assert "data" in body or body["errors"]


@settings(fixed, max_examples=300)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        ).map(lambda value: json.dumps(value).encode()),
        st.fixed_dictionaries(
            {},
            optional={
                "query": st.one_of(st.text(), st.sampled_from(["{ __typename }", "query A { __typename }", "{", "#"])),
                "variables": st.one_of(st.none(), st.dictionaries(st.text(), st.integers() | st.text()), st.text()),
                "operationName": st.one_of(st.none(), st.text(), st.just("A"), st.integers()),
                "extensions": st.one_of(st.none(), st.dictionaries(st.text(), st.text()), st.lists(st.none())),
            },
        ).map(lambda value: json.dumps(value).encode()),
    ),
    content_type=st.sampled_from(
        ["application/json", "application/json; charset=utf-8", "text/plain", "", "multipart/x"]
    ),
)
async def test_any_request_body_is_answered(gateway: Gateway, content: bytes, content_type: str) -> None:
    headers = {"content-type": content_type, "x-api-key": "demo"}
    check_answer(gateway, await gateway.client.post("/graphql", content=content, headers=headers))


_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).map(str.strip)
_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: _VALUES if name == "x-request-id" else _VALUES | st.just(SECRET)
        for name in (
            "accept",
            "authorization",
            "x-api-key",
            "x-tenant-id",
            "x-organization-id",
            "x-request-id",
            "x-gateway-explain",
            "if-none-match",
            "cache-control",
            "origin",
            "sec-fetch-site",
            "cookie",
            "accept-encoding",
        )
    },
)


@settings(fixed, max_examples=200)
@given(headers=_HEADERS, method=st.sampled_from(["GET", "POST"]))
async def test_any_request_headers_are_answered(gateway: Gateway, headers: dict[str, str], method: str) -> None:
    query = "{ sessions(first: 1) { nodes { name } } }"
    shown = {**headers, "content-type": "application/json"}
    if method == "GET":
        response = await gateway.client.get("/graphql", params={"query": query}, headers=shown)
    else:
        response = await gateway.client.post("/graphql", json={"query": query}, headers=shown)
    if response.status_code != 304:
        check_answer(gateway, response, codes=CODES | {"FORBIDDEN"})


@settings(fixed, max_examples=200)
@given(
    cursor=st.text(max_size=30) | st.integers(-5, 10**12).map(cursor_at),
    length=st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 600),
    backward=st.booleans(),
)
async def test_any_cursor_and_length_are_answered(gateway: Gateway, cursor: str, length: int, backward: bool) -> None:
    arguments = "last: $length, before: $cursor" if backward else "first: $length, after: $cursor"
    query = f"query ($cursor: String, $length: Int!) {{ sessions({arguments}) {{ nodes {{ id }} }} }}"
    check_answer(gateway, await gateway.post(query, {"cursor": cursor, "length": length}))

"""The endpoint follows the GraphQL over HTTP specification."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.emulator import Emulator
from app.http.params import MAX_BODY_BYTES, MAX_URL_BYTES
from app.main import create_app
from app.settings import Settings
from tests.conftest import TIMEOUT_SECONDS, Gateway, Serve
from tests.observability.test_log import lines

RESPONSE_JSON = "application/graphql-response+json"
PLAIN_JSON = "application/json"
NAMES = "{ sessions(first: 1) { nodes { name } } }"


async def post_body(
    gateway: Gateway, body: bytes | str, content_type: str | None = PLAIN_JSON, **headers: str
) -> httpx.Response:
    headers_sent = {"content-type": content_type} if content_type else {}
    return await gateway.client.post("/graphql", content=body, headers=headers_sent | headers)


def refused(response: httpx.Response) -> tuple[int, str]:
    """Status and message of a refused request, whose body is JSON with an error code for every media type."""
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert response.headers["content-type"].startswith("application/")
    assert "data" not in response.json()
    return response.status_code, error["message"]


async def test_post_runs_the_named_operation_with_its_variables(gateway: Gateway) -> None:
    body = {
        "query": "query A { __typename } query B($n: Int!) { b: sessions(first: $n) { nodes { __typename } } }",
        "variables": {"n": 2},
        "operationName": "B",
        "extensions": {"persistedQuery": {"version": 1}},
    }
    response = await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo"})
    assert response.json() == {"data": {"b": {"nodes": [{"__typename": "Session"}] * 2}}}
    names = ["accept", "accept-encoding", "authorization", "x-api-key", "x-organization-id", "x-tenant-id"]
    assert response.headers["vary"] == ", ".join(names)


async def test_get_runs_the_operation_in_the_url(gateway: Gateway) -> None:
    params = {
        "query": "query A { __typename } query B($n: Int!) { b: sessions(first: $n) { nodes { __typename } } }",
        "variables": '{"n": 2}',
        "operationName": "B",
        "extensions": "{}",
    }
    response = await gateway.client.get("/graphql", params=params, headers={"x-api-key": "demo"})
    assert response.json() == {"data": {"b": {"nodes": [{"__typename": "Session"}] * 2}}}


@pytest.mark.parametrize(
    "body", ['{"query": "{ __typename }", "variables": null, "operationName": null, "extensions": null, "id": 1}']
)
async def test_null_and_unknown_members_of_a_request_are_ignored(gateway: Gateway, body: str) -> None:
    assert (await post_body(gateway, body)).json() == {"data": {"__typename": "Query"}}
    empty = {"query": "{ __typename }", "variables": "", "operationName": "", "extensions": ""}
    assert (await gateway.client.get("/graphql", params=empty)).json() == {"data": {"__typename": "Query"}}


async def test_request_without_a_document_is_refused_with_the_reason(gateway: Gateway) -> None:
    for response in (
        await gateway.client.get("/graphql"),
        await gateway.client.get("/graphql", params={"query": ""}),
        await post_body(gateway, "{}"),
        await post_body(gateway, '{"query": ""}'),
        await post_body(gateway, '{"query": null}'),
    ):
        assert refused(response) == (400, "Send a GraphQL document in `query`, or its id in `documentId`.")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused_with_an_allow_header(gateway: Gateway, method: str) -> None:
    response = await gateway.client.request(method, "/graphql")
    assert refused(response) == (405, "Send operations by POST, or queries by GET.")
    assert response.headers["allow"] == "GET, POST"


async def test_body_of_another_content_type_is_refused(gateway: Gateway) -> None:
    body = json.dumps({"query": "{ __typename }"})
    for kind in (None, "text/plain", "application/graphql", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert refused(await post_body(gateway, body, kind))[0] == 415
    assert refused(await post_body(gateway, body.encode("utf-16"), "application/json; charset=utf-16"))[0] == 415
    for kind in ("Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'):
        assert (await post_body(gateway, body, kind)).status_code == 200


async def test_body_that_is_too_long_is_refused_with_and_without_a_content_length(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (MAX_BODY_BYTES // 2)

    assert refused(await post_body(gateway, b" " * (MAX_BODY_BYTES + 1)))[0] == 413
    response = await gateway.client.post("/graphql", content=chunks(), headers={"content-type": PLAIN_JSON})
    assert refused(response)[0] == 413
    body = json.dumps({"query": "{ __typename }"}).encode()
    assert (await post_body(gateway, body.ljust(MAX_BODY_BYTES))).status_code == 200


async def test_url_that_is_too_long_is_refused(gateway: Gateway) -> None:
    assert refused(await gateway.client.get("/graphql?query=" + "a" * MAX_URL_BYTES))[0] == 414


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{query: 1}",
        b'{"query": "{ __typename }"} {}',
        b'{"query": "\xff"}',
        b'{"query": "{ __typename \\ud800 }"}',
        b'{"query": "{ __typename }", "variables": {"a": NaN}}',
        '{"query": "{ __typename }"}'.encode("utf-16"),
        gzip.compress(b'{"query": "{ __typename }"}', mtime=0),
        b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_body_that_is_not_json_in_utf_8_is_refused(gateway: Gateway, body: bytes) -> None:
    status, message = refused(await post_body(gateway, body))
    assert (status, message.startswith(("The body is not JSON in UTF-8", "The body is empty."))) == (400, True)


@pytest.mark.parametrize("body", ["null", "1", '"{ __typename }"', "[]", '[{"query": "{ __typename }"}]'])
async def test_body_that_is_not_a_json_object_is_refused(gateway: Gateway, body: str) -> None:
    status, message = refused(await post_body(gateway, body))
    assert status == 400
    assert message.startswith("The body must be one JSON object")


@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("query", [1, [], {}, True]),
        ("variables", [1, "{}", [], True]),
        ("operationName", [1, [], {}, False]),
        ("extensions", [1, "{}", [], True]),
    ],
)
async def test_member_of_the_wrong_type_is_named_in_the_error(
    gateway: Gateway, member: str, values: list[object]
) -> None:
    for value in values:
        status, message = refused(await post_body(gateway, json.dumps({"query": "{ __typename }"} | {member: value})))
        assert status == 400
        assert message.startswith(f"`{member}` must ")


@pytest.mark.parametrize(
    "query_string",
    [
        "query=%ff",
        "query={__typename}&variables={",
        "query={__typename}&variables=[]",
        "query={__typename}&variables=%22%ff%22",
        "query={__typename}&extensions=1",
        "query={__typename}" + "&a=1" * 60,
    ],
)
async def test_malformed_query_string_is_refused(gateway: Gateway, query_string: str) -> None:
    assert refused(await gateway.client.get(f"/graphql?{query_string}"))[0] == 400


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, PLAIN_JSON),
        ("", PLAIN_JSON),
        ("*/*", PLAIN_JSON),
        ("application/*", PLAIN_JSON),
        (PLAIN_JSON, PLAIN_JSON),
        (RESPONSE_JSON, RESPONSE_JSON),
        (f"{RESPONSE_JSON}, {PLAIN_JSON}", RESPONSE_JSON),
        (f"{PLAIN_JSON}, {RESPONSE_JSON}", RESPONSE_JSON),
        (f"{RESPONSE_JSON}; charset=utf-8, {PLAIN_JSON}; q=0.9", RESPONSE_JSON),
        (f"{PLAIN_JSON}, {RESPONSE_JSON};q=0.5", PLAIN_JSON),
        (f"{RESPONSE_JSON};q=0, */*", PLAIN_JSON),
        (f"{PLAIN_JSON};q=0, */*", RESPONSE_JSON),
        (f"{RESPONSE_JSON}, */*;q=0.8", RESPONSE_JSON),
        (f"{PLAIN_JSON};q=x, {RESPONSE_JSON};q=0.1", RESPONSE_JSON),
        (f"text/event-stream, {PLAIN_JSON}", PLAIN_JSON),
        ("multipart/mixed;deferSpec=20220824, APPLICATION/JSON", PLAIN_JSON),
    ],
)
async def test_response_has_the_media_type_that_the_client_prefers(
    gateway: Gateway, accept: str | None, media_type: str
) -> None:
    if accept is None:
        del gateway.client.headers["accept"]
    response = await gateway.post("{ __typename }", None, **({} if accept is None else {"accept": accept}))
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"


async def test_accept_header_may_span_several_lines(gateway: Gateway) -> None:
    headers = [("accept", "text/html"), ("accept", RESPONSE_JSON), ("accept", "image/png")]
    response = await gateway.client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert response.headers["content-type"] == f"{RESPONSE_JSON}; charset=utf-8"


@pytest.mark.parametrize(
    "accept", ["text/html", "application/graphql+json", "*/*;q=0", f"{PLAIN_JSON};q=0", "rubbish;;"]
)
async def test_client_that_accepts_no_json_gets_406(gateway: Gateway, accept: str) -> None:
    response = await gateway.post("{ __typename }", accept=accept)
    assert refused(response)[0] == 406
    assert response.headers["content-type"].startswith(PLAIN_JSON)


@pytest.mark.parametrize(
    ("query", "variables", "code", "typed_status"),
    [
        ("{", None, "GRAPHQL_PARSE_FAILED", 400),
        ("{ nope }", None, "GRAPHQL_VALIDATION_FAILED", 400),
        ("query ($n: Int!) { sessions(first: $n) { nodes { id } } }", {"n": "x"}, "BAD_USER_INPUT", 400),
        ("query A { __typename } query B { __typename }", None, "BAD_USER_INPUT", 400),
        ("{ a { " * 20 + "}" * 40, None, "GRAPHQL_PARSE_FAILED", 400),
        ("{ sessions { nodes { " + "... { " * 9 + "id" + "}" * 12, None, None, 200),
        ("{ sessions(first: 0) { nodes { id } } }", None, "BAD_USER_INPUT", 200),
    ],
)
async def test_status_says_whether_the_operation_ran_only_with_the_graphql_media_type(
    gateway: Gateway, query: str, variables: dict[str, Any] | None, code: str | None, typed_status: int
) -> None:
    typed = await gateway.post(query, variables, accept=RESPONSE_JSON)
    plain = await gateway.post(query, variables, accept=PLAIN_JSON)
    assert (typed.status_code, plain.status_code) == (typed_status, 200)
    assert typed.json() == plain.json()
    body = typed.json()
    assert ("data" in body) is (typed_status == 200)
    assert body.get("errors", [{"extensions": {"code": None}}])[0]["extensions"]["code"] == code


async def test_malformed_request_has_status_400_in_both_media_types(gateway: Gateway) -> None:
    for accept in (RESPONSE_JSON, PLAIN_JSON):
        response = await post_body(gateway, "{", accept=accept)
        assert response.status_code == 400
        assert response.headers["content-type"] == f"{accept}; charset=utf-8"


async def test_disconnect_during_an_operation_cancels_its_request_to_langsmith(
    gateway: Gateway, langsmith: Emulator
) -> None:
    langsmith.pause()
    operation = asyncio.create_task(gateway.post("query Q" + NAMES))
    await langsmith.wait_for_requests(1)
    operation.cancel()
    await langsmith.wait_for_disconnects(1)
    assert [(line["name"], line["outcome"]) for line in lines(gateway)] == [("Q", "cancelled")]
    assert 'gateway_operations_total{outcome="cancelled"} 1.0' in (await gateway.client.get("/metrics")).text


async def test_disconnect_within_the_body_is_logged_as_disconnected(gateway: Gateway) -> None:
    url = gateway.client.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /graphql HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    await gateway.client.get("/healthz")
    writer.close()
    await writer.wait_closed()
    await gateway.client.get("/healthz")
    assert [line["outcome"] for line in lines(gateway)] == ["cancelled"]


async def test_bug_is_answered_with_a_generic_error_in_json() -> None:
    def broken() -> Any:
        raise ZeroDivisionError("a secret")

    app = create_app(Settings.load(), now=broken)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            headers = {"accept": RESPONSE_JSON, "x-request-id": "r1"}
            response = await client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert response.status_code == 500
    assert response.headers["content-type"] == f"{RESPONSE_JSON}; charset=utf-8"
    place = "The log has the reason under the request id r1."
    message = f"This gateway failed to answer; it is not your query's fault. {place}"
    assert response.json() == {"errors": [{"message": message, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    ],
)
async def test_get_from_a_page_of_another_site_is_refused(
    gateway: Gateway, langsmith: Emulator, headers: dict[str, str]
) -> None:
    """A browser sends such a GET without a CORS preflight."""
    headers_sent = {"x-api-key": "demo", **headers}
    response = await gateway.client.get("/graphql", params={"query": NAMES}, headers=headers_sent)
    status, message = refused(response)
    assert (status, "POST" in message) == (403, True)
    assert langsmith.requests == []


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}])
async def test_get_from_the_own_origin_or_from_no_page_is_answered(gateway: Gateway, headers: dict[str, str]) -> None:
    own = {"x-api-key": "demo", "origin": str(gateway.client.base_url).rstrip("/")}
    for headers_sent in ({"x-api-key": "demo"}, own):
        response = await gateway.client.get("/graphql", params={"query": NAMES}, headers=headers_sent | headers)
        assert response.json()["data"]["sessions"]["nodes"]


async def test_get_from_a_configured_cors_origin_is_answered(serve: Serve) -> None:
    async with serve(cors_origins=("https://dashboard.example.com",)) as gateway:
        for origin, status in (("https://dashboard.example.com", 200), ("https://evil.example", 403)):
            headers = {"x-api-key": "demo", "origin": origin, "sec-fetch-site": "cross-site"}
            response = await gateway.client.get("/graphql", params={"query": NAMES}, headers=headers)
            assert response.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        '{"query": "{ a }", "query": "{ __typename }"}',
        '{"query": "{ __typename }", "variables": {}, "variables": null}',
        '{"query": "{ a }", "qu\\u0065ry": "{ __typename }"}',
        '{"operationName": "A", "query": "query A { __typename } query B { __typename }", "operationName": "B"}',
    ],
)
async def test_repeated_member_of_a_body_is_refused(gateway: Gateway, body: str) -> None:
    status, message = refused(await post_body(gateway, body))
    assert (status, "must not occur twice" in message) == (400, True)


async def test_repeated_parameter_of_a_url_is_refused(gateway: Gateway) -> None:
    status, message = refused(await gateway.client.get("/graphql?query={a}&query={__typename}"))
    assert (status, message) == (400, "`query` must not occur twice.")


async def test_variables_may_contain_the_names_of_request_members(gateway: Gateway) -> None:
    query = "query ($metadata: JSON) { sessions(filter: {metadata: $metadata}) { nodes { id } } }"
    assert await gateway.data(query, {"metadata": {"query": "query", "variables": {"query": 1}}})


async def test_slow_body_is_refused_with_408_and_the_connection_closed(serve: Serve) -> None:
    async with serve(body_timeout=0.1) as gateway:
        url = gateway.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /graphql HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        answer = await asyncio.wait_for(reader.read(), TIMEOUT_SECONDS)
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The body did not arrive within 0.1 seconds." in answer


@pytest.mark.parametrize("path", ["/graphql?query={__typename}", "/healthz", "/schema.graphql", "/metrics", "/nope"])
async def test_every_response_has_the_security_headers(gateway: Gateway, path: str) -> None:
    headers = (await gateway.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_web_socket_upgrade_is_refused(gateway: Gateway) -> None:
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": "graphql-transport-ws",
    }
    assert (await gateway.client.get("/graphql", headers=headers)).status_code == 400

"""The request that LangSmith receives, and the metrics of its outcome."""

import pytest

from app import __version__
from app.emulator import Emulator
from tests.conftest import Gateway, Serve, take_recorded_params
from tests.langsmith.operations import IMMEDIATELY, SECRET, metric, page
from tests.support.raw_upstream import closes, listed, raw_upstream, response, row, says


async def test_request_carries_only_the_expected_headers(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        headers = {"x-tenant-id": "a-workspace", "cookie": "a=b", "x-other": "c"}
        await gateway.run(page(), None, key=SECRET, **headers)
        (request,) = upstream.requests
        assert sorted(request.headers) == [
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
            ("host", f"127.0.0.1:{upstream.port}"),
            ("user-agent", f"sessions-gateway/{__version__}"),
            ("x-api-key", SECRET),
            ("x-tenant-id", "a-workspace"),
        ]
        assert request.path == "/api/v1/sessions"


async def test_bearer_token_and_organization_are_sent_unchanged(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        headers = {"authorization": "Bearer a.b-c==", "x-organization-id": "an-org"}
        await gateway.run(page(), None, key=None, **headers)
        (request,) = upstream.requests
        assert request.header("authorization") == ["Bearer a.b-c=="]
        assert request.header("x-organization-id") == ["an-org"]
        assert request.header("x-api-key") == []


@pytest.mark.parametrize(
    "value",
    [
        'a+b&c=d é% "',
        "%2B%20%zz%",
        "#fragment?x;y/z\\",
        "\0\x01\x7f\t\r\n",
        "\u2028\U0001f600\u0130",
        "[]{}|^`<>'~*!()@:,",
        " ",
        "é" * 1000,
    ],
)
async def test_parameter_arrives_exactly_as_the_client_gave_it(
    gateway: Gateway, langsmith: Emulator, value: str
) -> None:
    query = "query ($part: String) { sessions(filter: {nameContains: $part}) { nodes { id } } }"
    await gateway.data(query, {"part": value})
    (params,) = take_recorded_params(langsmith)
    assert params == [("name_contains", value), ("limit", "20")]


async def test_arguments_too_long_for_a_url_are_refused_without_a_request(
    gateway: Gateway, langsmith: Emulator
) -> None:
    query = "query ($part: String) { sessions(filter: {nameContains: $part}) { nodes { id } } }"
    (error,) = await gateway.errors(query, {"part": "a" * 70_000})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert langsmith.requests == []


async def test_requests_are_counted_by_outcome(serve: Serve) -> None:
    failing = response(b"", status=503, headers=IMMEDIATELY)
    async with (
        raw_upstream(failing, closes, b"garbage\r\n\r\n") as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        await gateway.run(page())
        upstream.acts = [says(listed(row()))]
        await gateway.data(page(1))
        for status in ("503", "reset", "protocol", "200"):
            assert await metric(gateway, f'gateway_upstream_requests_total{{status="{status}"}}') == 1
        assert await metric(gateway, "gateway_upstream_request_seconds_count") == 4

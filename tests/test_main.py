"""Routes beside GraphQL, and request ids of the assembled gateway."""

import httpx
import pytest

from app.main import create_app
from app.schema.query import create_schema
from app.settings import Settings
from tests.conftest import Gateway, Serve
from tests.observability.test_log import lines
from tests.support.paths import SCHEMA_FILE


def test_schema_file_equals_the_schema_in_the_code() -> None:
    assert SCHEMA_FILE.read_text() == create_schema().as_str() + "\n", (
        "The schema changed. Look at its diff after `.venv/bin/sessions-gateway schema > schema.graphql`."
    )


async def test_schema_route_serves_the_schema_file(gateway: Gateway) -> None:
    response = await gateway.client.get("/schema.graphql")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == SCHEMA_FILE.read_text()


async def test_schema_route_is_not_found_without_introspection(serve: Serve) -> None:
    async with serve(introspection=False) as gateway:
        response = await gateway.client.get("/schema.graphql")
    assert response.status_code == 404
    assert "type" not in response.text


async def test_fastapi_documentation_routes_are_not_found(gateway: Gateway) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/nope"):
        assert (await gateway.client.get(path)).status_code == 404


async def test_readiness_probe_succeeds_only_within_the_lifespan_and_health_probe_always() -> None:
    app = create_app(Settings.load())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:

        async def statuses() -> tuple[int, int]:
            return (await client.get("/healthz")).status_code, (await client.get("/readyz")).status_code

        assert await statuses() == (200, 503)
        async with app.router.lifespan_context(app):
            assert await statuses() == (200, 200)
        assert await statuses() == (200, 503)


async def test_two_gateways_in_one_process_share_no_metrics_and_no_log(serve: Serve) -> None:
    async with serve() as one, serve() as other:
        await one.data("{ __typename }")
        assert 'outcome="ok"} 1.0' in (await one.client.get("/metrics")).text
        assert 'outcome="ok"}' not in (await other.client.get("/metrics")).text
        assert lines(other) == []


async def test_request_id_of_the_client_is_kept(gateway: Gateway) -> None:
    response = await gateway.post("{ __typename }", None, **{"x-request-id": "trace-1:a"})
    assert response.headers["x-request-id"] == "trace-1:a"
    assert [line["request_id"] for line in lines(gateway)] == ["trace-1:a"]


@pytest.mark.parametrize("given", [None, "", "a" * 101, "two words", "a\tb", "é"], ids=lambda given: repr(given)[:12])
async def test_request_without_a_plain_id_gets_a_new_one(gateway: Gateway, given: str | None) -> None:
    headers = [] if given is None else [(b"x-request-id", given.encode())]
    first, second = [
        (await gateway.client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)).headers[
            "x-request-id"
        ]
        for _ in range(2)
    ]
    assert first != second
    assert first != given
    assert first.isalnum()
    assert [line["request_id"] for line in lines(gateway)] == [first, second]


async def test_every_response_has_a_request_id(gateway: Gateway) -> None:
    for path in ("/healthz", "/metrics", "/nope"):
        assert (await gateway.client.get(path)).headers["x-request-id"]

"""What the gateway serves beside GraphQL, and what surrounds every request."""

import httpx
import pytest

from app.main import create_app
from app.schema.query import create_schema
from app.settings import Settings
from tests.conftest import Gateway, Serve
from tests.observability.test_log import lines
from tests.support.paths import SCHEMA_FILE

PREFLIGHT = {"origin": "https://dashboard.example.com", "access-control-request-method": "POST"}


def test_the_schema_on_disk_is_the_one_in_the_code() -> None:
    assert SCHEMA_FILE.read_text() == create_schema().as_str() + "\n", (
        "The schema changed. Look at its diff after `.venv/bin/sessions-gateway schema > schema.graphql`."
    )


async def test_the_schema_is_served_as_it_stands_on_disk(gateway: Gateway) -> None:
    response = await gateway.client.get("/schema.graphql")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == SCHEMA_FILE.read_text()


async def test_the_schema_is_not_served_where_introspection_is_off(serve: Serve) -> None:
    async with serve(introspection=False) as gateway:
        response = await gateway.client.get("/schema.graphql")
    assert response.status_code == 404
    assert "type" not in response.text


async def test_nothing_else_is_there(gateway: Gateway) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/nope"):
        assert (await gateway.client.get(path)).status_code == 404


async def test_it_is_ready_from_start_to_stop_and_alive_all_the_time() -> None:
    app = create_app(Settings.load())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:

        async def statuses() -> tuple[int, int]:
            return (await client.get("/healthz")).status_code, (await client.get("/readyz")).status_code

        assert await statuses() == (200, 503)
        async with app.router.lifespan_context(app):
            assert await statuses() == (200, 200)
        assert await statuses() == (200, 503)


async def test_two_gateways_share_nothing(serve: Serve) -> None:
    async with serve() as one, serve() as other:
        await one.data("{ __typename }")
        assert 'outcome="ok"} 1.0' in (await one.client.get("/metrics")).text
        assert 'outcome="ok"}' not in (await other.client.get("/metrics")).text
        assert lines(other) == []


async def test_a_request_keeps_the_id_it_came_with(gateway: Gateway) -> None:
    response = await gateway.post("{ __typename }", None, **{"x-request-id": "trace-1:a"})
    assert response.headers["x-request-id"] == "trace-1:a"
    assert [line["request_id"] for line in lines(gateway)] == ["trace-1:a"]


@pytest.mark.parametrize("given", [None, "", "a" * 101, "two words", "a\tb", "é"], ids=lambda given: repr(given)[:12])
async def test_a_request_without_a_plain_id_gets_one(gateway: Gateway, given: str | None) -> None:
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


async def test_every_answer_names_its_request(gateway: Gateway) -> None:
    for path in ("/healthz", "/metrics", "/nope"):
        assert (await gateway.client.get(path)).headers["x-request-id"]


async def test_no_other_site_may_ask_unless_it_is_named(gateway: Gateway) -> None:
    response = await gateway.client.options("/graphql", headers=PREFLIGHT)
    assert "access-control-allow-origin" not in response.headers
    response = await gateway.post("{ __typename }", origin="https://dashboard.example.com")
    assert "access-control-allow-origin" not in response.headers


async def test_a_named_site_may_ask_with_every_header_that_the_gateway_reads(serve: Serve) -> None:
    wanted = "content-type,x-api-key,authorization,x-tenant-id,x-organization-id,x-gateway-explain,x-request-id"
    async with serve(cors_origins="https://a.example.com, https://dashboard.example.com") as gateway:
        response = await gateway.client.options(
            "/graphql", headers={**PREFLIGHT, "access-control-request-headers": wanted}
        )
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://dashboard.example.com"
        response = await gateway.post("{ __typename }", origin="https://a.example.com")
        assert response.headers["access-control-allow-origin"] == "https://a.example.com"
        assert "x-request-id" in response.headers["access-control-expose-headers"].lower()
        response = await gateway.client.options("/graphql", headers={**PREFLIGHT, "origin": "https://b.example.com"})
        assert "access-control-allow-origin" not in response.headers

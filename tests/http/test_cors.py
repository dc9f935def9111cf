"""Web pages of configured origins may call the gateway, with any request header, and read what clients need."""

import httpx
import pytest

from tests.conftest import Gateway, Serve
from tests.support.raw_client import connect

ORIGIN = "https://dashboard.example.com"
QUERY = "{ sessions(first: 1) { nodes { name } } }"


async def preflight(gateway: Gateway, *, origin: str = ORIGIN, **headers: str) -> httpx.Response:
    asks = {"origin": origin, "access-control-request-method": "POST"}
    spelled = {f"access-control-request-{name}": value for name, value in headers.items()}
    return await gateway.client.options("/graphql", headers=asks | spelled)


async def test_cors_is_denied_by_default(gateway: Gateway) -> None:
    assert "access-control-allow-origin" not in (await preflight(gateway)).headers
    assert "access-control-allow-origin" not in (await gateway.post(QUERY, origin=ORIGIN)).headers


async def test_only_configured_origins_are_allowed(serve: Serve) -> None:
    async with serve(cors_origins=f"https://a.example.com, {ORIGIN}") as gateway:
        for response in (await preflight(gateway), await gateway.post(QUERY, origin=ORIGIN)):
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == ORIGIN
            assert "origin" in response.headers["vary"].lower()
        for response in (
            await preflight(gateway, origin="https://b.example.com", headers="traceparent"),
            await gateway.post(QUERY, origin="https://b.example.com"),
        ):
            assert "access-control-allow-origin" not in response.headers
            assert "access-control-allow-headers" not in response.headers
            assert "origin" in response.headers["vary"].lower()


@pytest.mark.parametrize("origins", [ORIGIN, "*"])
@pytest.mark.parametrize(
    "names",
    [
        "content-type, x-api-key, authorization, x-tenant-id, x-organization-id, x-gateway-explain, x-request-id",
        "traceparent, tracestate, baggage, sentry-trace",
        "apollographql-client-name,apollographql-client-version",
        "X-Of-A-Client-That-We-Do-Not-Know",
    ],
)
async def test_preflight_allows_by_name_whatever_header_is_requested(serve: Serve, origins: str, names: str) -> None:
    async with serve(cors_origins=origins) as gateway:
        response = await preflight(gateway, headers=names)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origins
    assert response.headers["access-control-allow-headers"].replace(" ", "") == names.replace(" ", "")
    assert "access-control-request-headers" in response.headers["vary"].lower()


async def test_preflight_reads_several_lines_of_requested_headers(serve: Serve) -> None:
    name = "access-control-request-headers"
    headers = [("origin", ORIGIN), ("access-control-request-method", "POST"), (name, "baggage"), (name, "traceparent")]
    async with serve(cors_origins=ORIGIN) as gateway:
        response = await gateway.client.options("/graphql", headers=headers)
    assert response.headers["access-control-allow-headers"] == "baggage, traceparent"


async def test_preflight_repeats_only_a_bounded_number_of_valid_names(serve: Serve) -> None:
    async with serve(cors_origins=ORIGIN) as gateway:
        response = await preflight(gateway, headers="baggage, two words, a:b, , (x), " + "n" * 101)
        assert response.headers["access-control-allow-headers"] == "baggage"
        response = await preflight(gateway, headers=",".join(f"x-{number}" for number in range(1000)))
        assert len(response.headers["access-control-allow-headers"].split(", ")) == 100
        assert "access-control-allow-headers" not in (await preflight(gateway, headers="two words")).headers
        assert "access-control-allow-headers" not in (await preflight(gateway)).headers


async def test_page_of_a_named_origin_may_reach_a_private_network(serve: Serve) -> None:
    async with serve(cors_origins=ORIGIN) as gateway:
        response = await preflight(gateway, **{"private-network": "true"})
        assert response.headers["access-control-allow-private-network"] == "true"
    async with serve(cors_origins="*") as gateway:
        assert (await preflight(gateway, **{"private-network": "true"})).status_code == 400


async def test_scripts_may_read_the_headers_that_clients_need(serve: Serve) -> None:
    async with serve(cors_origins=ORIGIN) as gateway:
        response = await gateway.post(QUERY, origin=ORIGIN)
    assert response.headers["access-control-expose-headers"] == "etag, x-request-id, retry-after"


async def test_origin_that_was_configured_in_another_spelling_is_allowed(serve: Serve) -> None:
    async with serve(cors_origins="HTTPS://Dashboard.Example.com:443/") as gateway:
        assert (await preflight(gateway)).headers["access-control-allow-origin"] == ORIGIN
        query = {"query": "{ __typename }"}
        assert (await gateway.client.get("/graphql", params=query, headers={"origin": ORIGIN})).status_code == 200


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        (b"GET /graphql?query=" + b"a" * 9000 + b" HTTP/1.1\r\n", b"", b"414"),
        (b"POST /graphql HTTP/1.1\r\nHost: other\r\n", b"", b"400"),
        (b"POST /graphql HTTP/1.1\r\nX-Long: " + b"a" * 33_000 + b"\r\n", b"", b"431"),
        (b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"no chunk\r\n", b"400"),
    ],
    ids=["URL", "host", "headers", "chunk"],
)
@pytest.mark.parametrize("origins", [ORIGIN, "*"])
async def test_page_can_read_why_a_request_was_refused_as_http(
    serve: Serve, head: bytes, body: bytes, status: bytes, origins: str
) -> None:
    async with serve(cors_origins=origins) as gateway, connect(gateway) as connection:
        line, _, rest = head.partition(b"\r\n")
        first = b"Host: gateway\r\nOrigin: " + ORIGIN.encode() + b"\r\n"
        response = await connection.request(line + b"\r\n" + first + rest + b"\r\n" + body)
    assert status in response.status
    assert response.headers[b"access-control-allow-origin"] == origins.encode()
    assert response.headers[b"connection"] == b"close"
    assert response.headers[b"x-request-id"]


async def test_page_of_another_origin_cannot_read_why_a_request_was_refused_as_http(serve: Serve) -> None:
    async with serve(cors_origins=ORIGIN) as gateway:
        response = await gateway.client.get(f"/graphql?query={'a' * 9000}", headers={"origin": "https://b.example.com"})
    assert response.status_code == 414
    assert "access-control-allow-origin" not in response.headers

"""A client without a known credential is limited by its address, which it cannot make up."""

import contextlib
import io
import ipaddress
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from app.emulator import Emulator
from app.emulator.server import serving_app
from app.http.client_address import client_network
from app.main import create_app
from app.observability.log import create_log
from app.resilience.rate import Rate
from app.settings import Settings
from tests.conftest import Gateway, Serve, create_http_client

NAMES = "{ sessions(first: 1) { nodes { name } } }"
LIMITED = Rate(3, 3600)
LIMIT_REACHED = [200, 200, 200, 429]
SERVER = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}


async def status(gateway: Gateway, *, key: str | None = None, query: str = NAMES, **headers: str) -> int:
    return (await gateway.post(query, key=key, **headers)).status_code


async def statuses_from(gateway: Gateway, *forwarded: str) -> list[int]:
    return [await status(gateway, **{"x-forwarded-for": each}) for each in forwarded]


async def test_new_made_up_key_for_each_request_does_not_evade_the_rate(serve: Serve, langsmith: Emulator) -> None:
    async with serve(client_rate=LIMITED) as gateway:
        assert [await status(gateway, key=f"made-up-{number}") for number in range(4)] == LIMIT_REACHED
        assert len(langsmith.requests) == 3


@pytest.mark.parametrize(
    "query",
    [
        "{ __typename }",
        "{ nodes(ids: []) { id } }",
        '{ node(id: "none") { id } }',
        "{ sessions(first: 0) { nodes { id } } }",
    ],
)
async def test_answer_without_langsmith_does_not_verify_a_made_up_key(serve: Serve, query: str) -> None:
    async with serve(client_rate=LIMITED) as gateway:
        for number in range(2):
            assert await status(gateway, key="made-up", query=query) == 200, number
        assert await status(gateway, key="made-up") == 200
        assert await status(gateway, key="another") == 429


@pytest.mark.parametrize("cache_ttl", [0, 15])
async def test_key_that_langsmith_has_answered_has_a_rate_of_its_own(serve: Serve, cache_ttl: int) -> None:
    async with serve(client_rate=LIMITED, cache_ttl=cache_ttl) as gateway:
        assert await status(gateway, key="demo") == 200
        assert [await status(gateway, key=f"made-up-{number}") for number in range(3)] == [200, 200, 429]
        assert [await status(gateway, key="demo") for _ in range(3)] == [200, 200, 429]


async def test_workspace_that_a_client_names_does_not_evade_the_rate(serve: Serve) -> None:
    async with serve(client_rate=LIMITED) as gateway:
        headers = [{"x-organization-id": f"{number}"} for number in range(4)]
        assert [await status(gateway, key="demo", **each) for each in headers] == LIMIT_REACHED


async def test_second_credential_that_a_client_makes_up_does_not_evade_the_rate(serve: Serve) -> None:
    """Nothing tells which of a key and `Authorization` LangSmith has checked."""
    async with serve(client_rate=LIMITED) as gateway:
        headers = [{"authorization": f"Bearer {number}"} for number in range(4)]
        assert [await status(gateway, key="demo", **each) for each in headers] == LIMIT_REACHED


async def test_forwarded_address_does_not_count_without_a_named_proxy(serve: Serve) -> None:
    for settings in ({}, {"forwarded_allow_ips": "10.0.0.0/8"}):
        async with serve(client_rate=LIMITED, **SERVER, **settings) as gateway:
            assert await statuses_from(gateway, "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4") == LIMIT_REACHED


async def test_forwarded_address_counts_if_the_proxy_is_named(serve: Serve) -> None:
    async with serve(client_rate=LIMITED, forwarded_allow_ips="127.0.0.1, 10.0.0.0/8", **SERVER) as gateway:
        assert await statuses_from(gateway, *["1.1.1.1"] * 3, "1.1.1.1:4321, 10.0.0.7", "2.2.2.2") == [
            *LIMIT_REACHED,
            200,
        ]
        # What the client itself wrote stands before the address that the proxy has appended.
        assert await statuses_from(gateway, *(f"{number}.0.0.1, 3.3.3.3" for number in range(4))) == LIMIT_REACHED


@contextlib.asynccontextmanager
async def plain_uvicorn(upstream_url: str, trusted: str) -> AsyncIterator[Gateway]:
    """The gateway as `uvicorn app.main:app` serves it. `trusted`: what uvicorn itself has in FORWARDED_ALLOW_IPS."""
    settings = Settings.load(langsmith_endpoint=upstream_url, client_rate="3/h", **SERVER)
    app = create_app(settings, log=create_log("json", "debug", io.StringIO()))
    outer: Any = ProxyHeadersMiddleware(cast("Any", app), trusted_hosts=trusted)
    async with (
        app.router.lifespan_context(app) as state,
        serving_app(outer, state, http=AutoHTTPProtocol) as url,
        create_http_client(url) as client,
    ):
        yield Gateway(client, app)


async def test_forwarded_address_does_not_count_because_uvicorn_believes_this_machine(upstream_url: str) -> None:
    async with plain_uvicorn(upstream_url, "127.0.0.1,::1") as gateway:
        claims = ("1.1.1.1", "[2001:db8::1]:80", "3.3.3.3:99, 127.0.0.1", "4.4.4.4, 5.5.5.5")
        assert await statuses_from(gateway, *claims) == LIMIT_REACHED


async def test_address_from_a_named_proxy_counts_under_uvicorn_too(
    upstream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    async with plain_uvicorn(upstream_url, "127.0.0.1") as gateway:
        assert await statuses_from(gateway, *["1.1.1.1"] * 4, "2.2.2.2") == [*LIMIT_REACHED, 200]


ALL = ("0.0.0.0/0", "::/0")
LOCAL = ("127.0.0.1", "10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "network"),
    [
        ("192.0.2.1", [], (), "192.0.2.1"),
        ("192.0.2.1", ["1.1.1.1"], LOCAL, "192.0.2.1"),
        ("2001:db9:1:2:3:4:5:6", [], (), "2001:db9:1:2::/64"),
        ("2001:db9:1:2:ffff::", [], (), "2001:db9:1:2::/64"),
        ("fe80::1%eth0", [], (), "fe80::/64"),
        ("::ffff:192.0.2.1", [], (), "192.0.2.1"),
        ("::1", [], (), "127.0.0.1"),
        (None, [], (), "unknown"),
        (None, ["1.1.1.1"], LOCAL, "unknown"),
        (None, ["1.1.1.1"], ALL, "1.1.1.1"),
        ("testclient", [], (), "unknown"),
        ("10.0.0.1", [], LOCAL, "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], LOCAL, "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1"], LOCAL, "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6", "1.1.1.1,10.0.0.2", "10.0.0.3"], LOCAL, "1.1.1.1"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], LOCAL, "10.0.0.9"),
        ("10.0.0.1", ["[2001:db9::1]:1234"], LOCAL, "2001:db9::/64"),
        ("10.0.0.1", ["2001:db9::1, [2001:db8::1]"], LOCAL, "2001:db9::/64"),
        ("10.0.0.1", ["1.1.1.1, for=6.6.6.6"], LOCAL, "unknown"),
        ("10.0.0.1", ["1.1.1.1,"], LOCAL, "unknown"),
        ("10.0.0.1", ["x" * 30_000], LOCAL, "unknown"),
        ("6.6.6.6", ["1.1.1.1, 6.6.6.6"], (), "127.0.0.1"),
    ],
)
def test_client_network_is_that_of_the_last_address_which_no_named_proxy_has(
    peer: str | None, forwarded: list[str], proxies: tuple[str, ...], network: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": peer and (peer, 0), "headers": headers}
    assert client_network(scope, [ipaddress.ip_network(each) for each in proxies]) == network


def test_settings_read_the_same_addresses_as_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1, 10.0.0.0/8")
    assert Settings.load().forwarded_allow_ips == tuple(map(ipaddress.ip_network, ("127.0.0.1", "10.0.0.0/8")))

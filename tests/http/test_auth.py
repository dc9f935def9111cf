"""Who asks decides what goes upstream; no credential ever shows anywhere else."""

import itertools
from typing import Any

import httpx
import pytest

from app.credentials import Credential
from app.emulator import Emulator, Fault
from app.http.auth import PassthroughCredential, ServerCredential
from tests.conftest import Gateway, Serve

NAMES = "{ sessions(first: 1) { nodes { name } } }"
MARKER = "lsv2-pt-marker"
SERVER = {"auth": "server", "langsmith_api_key": "demo"}
TOKENS = {**SERVER, "client_tokens": "token-1, token-2"}
ANONYMOUS = {**SERVER, "allow_anonymous": True}
CREDENTIALS = ("x-api-key", "authorization", "x-tenant-id", "x-organization-id")


async def asking(gateway: Gateway, *headers: tuple[str, str | bytes | None], query: str = NAMES) -> httpx.Response:
    """What the gateway answers to these headers; None stands for one that is not sent."""
    shown = [(name, value) for name, value in headers if value is not None]
    encoded = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in shown]
    return await gateway.client.post("/graphql", json={"query": query}, headers=encoded)


def code_of(response: httpx.Response) -> str:
    (error,) = response.json()["errors"]
    return str(error["extensions"]["code"])


def forwarded(langsmith: Emulator) -> dict[str, str]:
    """The credentials in the one request that reached LangSmith."""
    (request,) = langsmith.requests
    return {name: value for name, value in request.headers.items() if name in CREDENTIALS}


async def test_without_a_credential_langsmith_is_not_asked(gateway: Gateway, langsmith: Emulator) -> None:
    response = await asking(gateway)
    assert code_of(response) == "UNAUTHENTICATED"
    assert response.json()["data"] == {"sessions": None}
    assert response.status_code == 200
    for query in ("{ __typename }", "{ __schema { queryType { name } } }"):
        assert "errors" not in (await asking(gateway, query=query)).json()
    assert langsmith.requests == []


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
async def test_an_empty_header_is_none(gateway: Gateway, langsmith: Emulator, name: str) -> None:
    assert code_of(await asking(gateway, (name, ""))) == "UNAUTHENTICATED"
    assert langsmith.requests == []


async def test_a_workspace_alone_is_no_credential(gateway: Gateway, langsmith: Emulator) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    assert code_of(await asking(gateway, ("X-Tenant-Id", tenant))) == "UNAUTHENTICATED"
    assert langsmith.requests == []


async def test_a_key_goes_upstream_as_it_is(gateway: Gateway, langsmith: Emulator) -> None:
    assert "errors" not in (await asking(gateway, ("X-API-Key", "demo-2"))).json()
    assert forwarded(langsmith) == {"x-api-key": "demo-2"}


@pytest.mark.parametrize("scope", ["X-Tenant-Id", "X-Organization-Id"])
async def test_a_token_goes_upstream_with_its_workspace_or_organisation(
    gateway: Gateway, langsmith: Emulator, scope: str
) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    response = await asking(gateway, ("Authorization", "Bearer demo"), (scope, tenant))
    assert "errors" not in response.json()
    assert forwarded(langsmith) == {"authorization": "Bearer demo", scope.lower(): tenant}


async def test_no_other_header_goes_upstream(gateway: Gateway, langsmith: Emulator) -> None:
    await asking(
        gateway, ("X-API-Key", "demo"), ("Cookie", "a=b"), ("X-Forwarded-For", "10.0.0.1"), ("X-User-Id", "me")
    )
    (request,) = langsmith.requests
    assert not {"cookie", "x-forwarded-for", "x-user-id"} & request.headers.keys()


async def test_keys_see_their_own_workspace_only(gateway: Gateway, langsmith: Emulator) -> None:
    for key in ("demo", "demo-2", "demo"):
        nodes = (await gateway.data("{ sessions { nodes { tenantId } } }", key=key))["sessions"]["nodes"]
        assert {node["tenantId"] for node in nodes} == {str(langsmith.workspaces[key].tenant_id)}


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_a_header_that_comes_twice_is_refused(gateway: Gateway, langsmith: Emulator, name: str) -> None:
    headers = [(name, "demo"), (name.title(), MARKER)]
    response = await gateway.client.post("/graphql", json={"query": NAMES}, headers=headers)
    assert response.status_code == 400
    assert response.json()["errors"] == [
        {"message": f"{name}: The header was sent twice.", "extensions": {"code": "BAD_USER_INPUT", "argument": name}}
    ]
    assert langsmith.requests == []


@pytest.mark.parametrize("settings", [{}, TOKENS, ANONYMOUS], ids=["passthrough", "tokens", "anonymous"])
async def test_a_value_that_is_not_one_line_of_visible_ascii_is_refused_unquoted(
    serve: Serve, langsmith: Emulator, settings: dict[str, Any]
) -> None:
    endings = (b"\n", b"\r\nX-Evil: 1", b"\t", b"\x00", b"\x7f", b"\xe9", "ключ".encode(), b" ", b"  two spaces")
    async with serve(**settings) as served, served.in_process() as gateway:
        for name, ending in itertools.product(CREDENTIALS, endings):
            response = await asking(gateway, (name, MARKER.encode() + ending))
            assert response.status_code == 400
            assert code_of(response) == "BAD_USER_INPUT"
            assert response.json()["errors"][0]["extensions"]["argument"] == name
            assert MARKER not in response.text + gateway.log.getvalue()
    assert langsmith.requests == []


async def test_with_a_key_of_its_own_the_gateway_asks_with_that_for_all(serve: Serve, langsmith: Emulator) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    async with serve(**ANONYMOUS, langsmith_workspace_id=tenant) as gateway:
        assert "errors" not in (await asking(gateway)).json()
    assert forwarded(langsmith) == {"x-api-key": "demo", "x-tenant-id": tenant}


@pytest.mark.parametrize("settings", [TOKENS, ANONYMOUS], ids=["tokens", "anonymous"])
@pytest.mark.parametrize("name", ["X-API-Key", "X-Tenant-Id", "X-Organization-Id"])
async def test_with_a_key_of_its_own_the_gateway_takes_no_other(
    serve: Serve, langsmith: Emulator, settings: dict[str, Any], name: str
) -> None:
    async with serve(**settings) as gateway:
        response = await asking(gateway, ("Authorization", "Bearer token-1"), (name, "demo-2"))
    assert response.status_code == 400
    assert code_of(response) == "BAD_USER_INPUT"
    assert langsmith.requests == []


async def test_without_tokens_a_bearer_may_be_a_credential_that_must_not_be_swallowed(serve: Serve) -> None:
    async with serve(**ANONYMOUS) as gateway:
        assert code_of(await asking(gateway, ("Authorization", f"Bearer {MARKER}"))) == "BAD_USER_INPUT"
        # That of a proxy in front is none of the gateway's business.
        assert "errors" not in (await asking(gateway, ("Authorization", "Basic dXNlcjpwYXNz"))).json()


@pytest.mark.parametrize("shown", ["Bearer token-1", "bearer token-2"])
async def test_any_of_the_tokens_opens_the_gateway_and_stays_there(
    serve: Serve, langsmith: Emulator, shown: str
) -> None:
    async with serve(**TOKENS) as gateway:
        assert "errors" not in (await asking(gateway, ("Authorization", shown))).json()
    assert forwarded(langsmith) == {"x-api-key": "demo"}


@pytest.mark.parametrize(
    "shown",
    [None, "", "token-1", "Bearer", "Bearer token-3", "Bearer token-1, token-2", "Basic token-1", "Bearer demo"],
)
async def test_anything_else_is_turned_away(serve: Serve, langsmith: Emulator, shown: str | None) -> None:
    async with serve(**TOKENS) as gateway:
        for query in (NAMES, "{ __typename }"):
            response = await asking(gateway, ("Authorization", shown), query=query)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert code_of(response) == "UNAUTHENTICATED"
            assert "data" not in response.json()
    assert langsmith.requests == []


def test_who_asks_is_told_apart_by_everything_that_decides_what_they_see() -> None:
    def scope(base_url: str = "https://a", **headers: str) -> str:
        return Credential.of(
            base_url, {name.replace("_", "-"): value for name, value in headers.items()}, hash_key=b"key"
        ).scope

    scopes = [
        scope(x_api_key="a"),
        scope(x_api_key="b"),
        scope("https://b", x_api_key="a"),
        scope(authorization="a"),
        scope(x_api_key="a", x_tenant_id="t"),
        scope(x_api_key="a", x_organization_id="t"),
        scope(x_api_key="at"),
    ]
    assert len(set(scopes)) == len(scopes)
    assert scope(x_api_key="a") == scope(x_api_key="a")


def test_no_credential_is_printed_with_what_holds_it() -> None:
    credential = Credential.of("https://a", {"x-api-key": MARKER}, hash_key=b"key")
    gates = (
        PassthroughCredential("https://a", b"key", credential),
        ServerCredential(credential, (MARKER.encode(),), b"key"),
    )
    for value in (credential, *gates):
        assert MARKER not in repr(value)


FAILURES = [
    [],
    [Fault(status=401, body=b'{"detail":"Invalid token lsv2-pt-marker"}')],
    [Fault(status=403, body=b"lsv2-pt-marker")],
    [Fault(status=422, body=b'{"detail":[{"loc":["query","limit"],"msg":"lsv2-pt-marker","input":"lsv2-pt-marker"}]}')],
    [Fault(status=429, headers={"retry-after": "60"}, body=b"lsv2-pt-marker")],
    [Fault(status=500, body=b"lsv2-pt-marker", times=None)],
    [Fault(body=b"lsv2-pt-marker")],
    [Fault(hang_up=True, times=None)],
    [Fault(hang_up=True, body=b"[", times=None)],
    [Fault(status=302, headers={"location": "http://127.0.0.1:9/lsv2-pt-marker"})],
    [Fault(headers={"content-encoding": "gzip"}, body=b"lsv2-pt-marker")],
]


def id_of(faults: list[Fault]) -> str:
    (fault,) = faults or [Fault()]
    return f"{fault.status} {fault.body!r:.12} {fault.hang_up}"


@pytest.mark.parametrize("faults", FAILURES, ids=id_of)
async def test_a_credential_shows_nowhere_whatever_happens(
    serve: Serve, langsmith: Emulator, faults: list[Fault]
) -> None:
    for shown in ({"x-api-key": MARKER}, {"authorization": f"Bearer {MARKER}", "x-tenant-id": MARKER}):
        langsmith.faults[:] = faults
        async with serve(upstream_retries=0) as gateway:
            response = await gateway.post(NAMES, None, key=None, **shown, **{"x-gateway-explain": "1"})
            metrics = await gateway.client.get("/metrics")
        assert "errors" in response.json()
        assert "gateway" in response.json()["extensions"]
        for text in (response.text, str(response.headers), metrics.text, gateway.log.getvalue()):
            assert MARKER not in text


async def test_a_credential_is_not_in_the_traceback_of_a_bug(serve: Serve) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    for now in (broken, lambda: None):
        async with serve(now=now) as gateway:
            response = await gateway.post('{ sessions(stats: {last: "P1D"}) { nodes { runCount } } }', key=MARKER)
        assert "Traceback" in gateway.log.getvalue()
        assert MARKER not in response.text + gateway.log.getvalue()

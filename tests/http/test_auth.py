"""A client's credential decides what the gateway sends to LangSmith, and appears nowhere else."""

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


async def post_with(gateway: Gateway, *headers: tuple[str, str | bytes | None], query: str = NAMES) -> httpx.Response:
    """The response to a request with these headers. A header whose value is None is not sent."""
    shown = [(name, value) for name, value in headers if value is not None]
    encoded = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in shown]
    return await gateway.client.post("/graphql", json={"query": query}, headers=encoded)


def code_of(response: httpx.Response) -> str:
    (error,) = response.json()["errors"]
    return str(error["extensions"]["code"])


def forwarded(langsmith: Emulator) -> dict[str, str]:
    """The credential headers of the only request that reached LangSmith."""
    (request,) = langsmith.requests
    return {name: value for name, value in request.headers.items() if name in CREDENTIALS}


async def test_request_without_a_credential_is_unauthenticated_and_sends_nothing_upstream(
    gateway: Gateway, langsmith: Emulator
) -> None:
    response = await post_with(gateway)
    assert code_of(response) == "UNAUTHENTICATED"
    assert response.json()["data"] == {"sessions": None}
    assert response.status_code == 200
    for query in ("{ __typename }", "{ __schema { queryType { name } } }"):
        assert "errors" not in (await post_with(gateway, query=query)).json()
    assert langsmith.requests == []


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
async def test_empty_credential_header_counts_as_absent(gateway: Gateway, langsmith: Emulator, name: str) -> None:
    assert code_of(await post_with(gateway, (name, ""))) == "UNAUTHENTICATED"
    assert langsmith.requests == []


async def test_workspace_header_alone_is_unauthenticated(gateway: Gateway, langsmith: Emulator) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    assert code_of(await post_with(gateway, ("X-Tenant-Id", tenant))) == "UNAUTHENTICATED"
    assert langsmith.requests == []


async def test_api_key_is_forwarded_unchanged(gateway: Gateway, langsmith: Emulator) -> None:
    assert "errors" not in (await post_with(gateway, ("X-API-Key", "demo-2"))).json()
    assert forwarded(langsmith) == {"x-api-key": "demo-2"}


@pytest.mark.parametrize("scope", ["X-Tenant-Id", "X-Organization-Id"])
async def test_bearer_token_is_forwarded_with_its_workspace_or_organisation(
    gateway: Gateway, langsmith: Emulator, scope: str
) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    response = await post_with(gateway, ("Authorization", "Bearer demo"), (scope, tenant))
    assert "errors" not in response.json()
    assert forwarded(langsmith) == {"authorization": "Bearer demo", scope.lower(): tenant}


async def test_other_headers_are_not_forwarded(gateway: Gateway, langsmith: Emulator) -> None:
    await post_with(
        gateway, ("X-API-Key", "demo"), ("Cookie", "a=b"), ("X-Forwarded-For", "10.0.0.1"), ("X-User-Id", "me")
    )
    (request,) = langsmith.requests
    assert not {"cookie", "x-forwarded-for", "x-user-id"} & request.headers.keys()


async def test_each_api_key_sees_only_its_own_workspace(gateway: Gateway, langsmith: Emulator) -> None:
    for key in ("demo", "demo-2", "demo"):
        nodes = (await gateway.data("{ sessions { nodes { tenantId } } }", key=key))["sessions"]["nodes"]
        assert {node["tenantId"] for node in nodes} == {str(langsmith.workspaces[key].tenant_id)}


@pytest.mark.parametrize("name", CREDENTIALS)
async def test_repeated_credential_header_is_refused(gateway: Gateway, langsmith: Emulator, name: str) -> None:
    headers = [(name, "demo"), (name.title(), MARKER)]
    response = await gateway.client.post("/graphql", json={"query": NAMES}, headers=headers)
    assert response.status_code == 400
    assert response.json()["errors"] == [
        {"message": f"{name}: The header was sent twice.", "extensions": {"code": "BAD_USER_INPUT", "argument": name}}
    ]
    assert langsmith.requests == []


@pytest.mark.parametrize("settings", [{}, TOKENS, ANONYMOUS], ids=["passthrough", "tokens", "anonymous"])
async def test_malformed_credential_header_is_refused_without_quoting_it(
    serve: Serve, langsmith: Emulator, settings: dict[str, Any]
) -> None:
    endings = (b"\n", b"\r\nX-Evil: 1", b"\t", b"\x00", b"\x7f", b"\xe9", "ключ".encode(), b" ", b"  two spaces")
    async with serve(**settings) as served, served.in_process() as gateway:
        for name, ending in itertools.product(CREDENTIALS, endings):
            response = await post_with(gateway, (name, MARKER.encode() + ending))
            assert response.status_code == 400
            assert code_of(response) == "BAD_USER_INPUT"
            assert response.json()["errors"][0]["extensions"]["argument"] == name
            assert MARKER not in response.text + gateway.log.getvalue()
    assert langsmith.requests == []


async def test_server_credential_is_sent_for_every_client(serve: Serve, langsmith: Emulator) -> None:
    tenant = str(langsmith.workspaces["demo"].tenant_id)
    async with serve(**ANONYMOUS, langsmith_workspace_id=tenant) as gateway:
        assert "errors" not in (await post_with(gateway)).json()
    assert forwarded(langsmith) == {"x-api-key": "demo", "x-tenant-id": tenant}


@pytest.mark.parametrize("settings", [TOKENS, ANONYMOUS], ids=["tokens", "anonymous"])
@pytest.mark.parametrize("name", ["X-API-Key", "X-Tenant-Id", "X-Organization-Id"])
async def test_langsmith_credential_of_a_client_is_refused_with_a_server_credential(
    serve: Serve, langsmith: Emulator, settings: dict[str, Any], name: str
) -> None:
    async with serve(**settings) as gateway:
        response = await post_with(gateway, ("Authorization", "Bearer token-1"), (name, "demo-2"))
    assert response.status_code == 400
    assert code_of(response) == "BAD_USER_INPUT"
    assert langsmith.requests == []


async def test_bearer_token_is_refused_if_the_gateway_serves_anybody(serve: Serve) -> None:
    async with serve(**ANONYMOUS) as gateway:
        assert code_of(await post_with(gateway, ("Authorization", f"Bearer {MARKER}"))) == "BAD_USER_INPUT"
        # A proxy in front of the gateway may have added another kind of credential, for itself.
        assert "errors" not in (await post_with(gateway, ("Authorization", "Basic dXNlcjpwYXNz"))).json()


@pytest.mark.parametrize("shown", ["Bearer token-1", "bearer token-2"])
async def test_each_client_token_is_accepted_and_not_forwarded(serve: Serve, langsmith: Emulator, shown: str) -> None:
    async with serve(**TOKENS) as gateway:
        assert "errors" not in (await post_with(gateway, ("Authorization", shown))).json()
    assert forwarded(langsmith) == {"x-api-key": "demo"}


@pytest.mark.parametrize(
    "shown",
    [None, "", "token-1", "Bearer", "Bearer token-3", "Bearer token-1, token-2", "Basic token-1", "Bearer demo"],
)
async def test_wrong_client_token_gets_401_for_every_operation(
    serve: Serve, langsmith: Emulator, shown: str | None
) -> None:
    async with serve(**TOKENS) as gateway:
        for query in (NAMES, "{ __typename }"):
            response = await post_with(gateway, ("Authorization", shown), query=query)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert code_of(response) == "UNAUTHENTICATED"
            assert "data" not in response.json()
    assert langsmith.requests == []


def test_credential_scope_depends_on_base_url_and_on_every_credential_header() -> None:
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


def test_repr_of_credentials_and_authenticators_hides_secrets() -> None:
    credential = Credential.of("https://a", {"x-api-key": MARKER}, hash_key=b"key")
    authenticators = (
        PassthroughCredential("https://a", b"key", credential),
        ServerCredential(credential, (MARKER.encode(),), b"key"),
    )
    for value in (credential, *authenticators):
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


def describe_fault(faults: list[Fault]) -> str:
    (fault,) = faults or [Fault()]
    return f"{fault.status} {fault.body!r:.12} {fault.hang_up}"


@pytest.mark.parametrize("faults", FAILURES, ids=describe_fault)
async def test_credential_never_appears_in_response_metrics_or_log_when_langsmith_fails(
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


async def test_credential_is_not_in_the_traceback_of_a_bug(serve: Serve) -> None:
    def broken() -> Any:
        raise ZeroDivisionError

    for now in (broken, lambda: None):
        async with serve(now=now) as gateway:
            response = await gateway.post('{ sessions(stats: {last: "P1D"}) { nodes { runCount } } }', key=MARKER)
        assert "Traceback" in gateway.log.getvalue()
        assert MARKER not in response.text + gateway.log.getvalue()

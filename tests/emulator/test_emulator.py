"""The routes of the API, and access to workspaces by credential."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.emulator import Emulator
from tests.conftest import create_http_client
from tests.emulator.conftest import Clock
from tests.emulator.expected import NOW, ListSessions, ids, sessions_of


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1", "/api/v1/runs", "/sessions/a/b"])
async def test_an_unknown_path_of_the_api_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})


async def test_methods_other_than_get_are_not_allowed(client: httpx.AsyncClient) -> None:
    response = await client.post("/sessions", json={"name": "x"})
    assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_session_by_id_is_the_row_of_the_list(
    langsmith: Emulator, client: httpx.AsyncClient, page: ListSessions, prefix: str
) -> None:
    identifier = str(sessions_of(langsmith)[3].id)
    for params in ({}, {"include_stats": True}):
        (row,) = await page(id=identifier, **params)
        assert (await client.get(f"{prefix}/sessions/{identifier}", params=params)).json() == row


async def test_a_session_by_id_refuses_stats_select(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    path = f"/sessions/{sessions_of(langsmith)[3].id}"
    assert (await client.get(path, params={"stats_start_time": NOW.isoformat()})).status_code == 200
    assert (await client.get(path, params={"stats_select": "run_count"})).status_code == 422


async def test_an_unknown_session_id_is_not_found(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    for identifier in (uuid4(), sessions_of(langsmith, "demo-2")[0].id):
        response = await client.get(f"/sessions/{identifier}")
        assert (response.status_code, response.json()) == (404, {"detail": "Session not found"})
    assert (await client.get("/sessions/x")).json()["detail"][0]["loc"] == ["path", "session_id"]


@pytest.fixture
async def anonymous(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with create_http_client(url) as client:
        yield client


async def test_each_api_key_has_a_workspace_of_its_own(langsmith: Emulator, anonymous: httpx.AsyncClient) -> None:
    for key, size in (("demo", 100), ("demo-2", 60)):
        rows = (await anonymous.get("/sessions", headers={"X-API-Key": key})).json()
        assert len(rows) == size
        assert {row["tenant_id"] for row in rows} == {str(langsmith.workspaces[key].tenant_id)}
    assert not ids(sessions_of(langsmith)) & ids(sessions_of(langsmith, "demo-2"))


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "demo-3"}, {"X-API-Key": ""}, {"Authorization": "Basic demo"}])
async def test_a_missing_or_unknown_credential_is_refused(
    anonymous: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await anonymous.get("/sessions", headers=headers)
    assert (response.status_code, response.json()) == (401, {"detail": "Invalid token"})


async def test_a_bearer_token_is_accepted_with_an_organization_id(anonymous: httpx.AsyncClient) -> None:
    headers = {"Authorization": "Bearer demo-2", "X-Organization-Id": str(uuid4())}
    assert len((await anonymous.get("/sessions", headers=headers)).json()) == 60


async def test_a_bearer_token_requires_a_workspace_or_an_organization(
    langsmith: Emulator, anonymous: httpx.AsyncClient
) -> None:
    bearer = {"Authorization": "Bearer demo-2"}
    tenant = {"X-Tenant-Id": str(langsmith.workspaces["demo-2"].tenant_id)}
    assert len((await anonymous.get("/sessions", headers=bearer | tenant)).json()) == 60
    response = await anonymous.get("/sessions", headers=bearer)
    assert response.status_code == 403
    assert "X-Tenant-ID" in response.json()["detail"]


async def test_a_workspace_of_another_key_is_forbidden(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    async def request_with(tenant: object) -> tuple[int, Any]:
        response = await client.get("/sessions?limit=1", headers={"X-Tenant-Id": str(tenant)})
        return response.status_code, response.json()

    assert (await request_with(langsmith.workspaces["demo"].tenant_id))[0] == 200
    assert await request_with(langsmith.workspaces["demo-2"].tenant_id) == (403, {"detail": "Forbidden"})
    assert await request_with("default") == (401, {"detail": "UUID header value was not a valid UUID"})


async def test_any_number_of_workspaces_can_be_generated(clock: Clock) -> None:
    langsmith = Emulator(clock=clock, workspaces={f"key-{number}": 20 for number in range(12)})
    workspaces = langsmith.workspaces.values()
    assert len({workspace.tenant_id for workspace in workspaces}) == 12
    assert len({session.id for workspace in workspaces for session in workspace.sessions}) == 240

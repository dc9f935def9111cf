"""LangSmith's own SDK reads the emulator."""

import asyncio
from collections.abc import Iterator

import langsmith as sdk
import pytest

from app.emulator import Emulator
from tests.emulator.expected import counted, ids, sessions_of


@pytest.fixture
def sdk_client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sdk.Client]:
    for name in ("LANGSMITH_WORKSPACE_ID", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    sdk_client = sdk.Client(api_url=url, api_key="demo", auto_batch_tracing=False, disable_prompt_cache=True)
    yield sdk_client
    sdk_client.close()


async def test_the_langsmith_sdk_lists_projects_over_pages(langsmith: Emulator, sdk_client: sdk.Client) -> None:
    projects = await asyncio.to_thread(lambda: list(sdk_client.list_projects()))
    assert ids(projects) == ids(sessions_of(langsmith))
    assert len(await asyncio.to_thread(lambda: list(sdk_client.list_projects(limit=30)))) == 30


async def test_the_langsmith_sdk_filters_projects(langsmith: Emulator, sdk_client: sdk.Client) -> None:
    dataset = langsmith.workspaces["demo"].datasets[0].id
    found = await asyncio.to_thread(lambda: list(sdk_client.list_projects(reference_dataset_id=dataset)))
    assert {project.reference_dataset_id for project in found} == {dataset}
    found = await asyncio.to_thread(
        lambda: list(sdk_client.list_projects(reference_free=True, metadata={"env": "prod"}, include_stats=True))
    )
    assert {project.metadata["env"] for project in found} == {"prod"}


async def test_the_langsmith_sdk_reads_a_project_by_name_and_by_id(langsmith: Emulator, sdk_client: sdk.Client) -> None:
    session = next(session for session in sessions_of(langsmith) if session.name == "support-agent-prod")
    project = await asyncio.to_thread(
        lambda: sdk_client.read_project(project_name="support-agent-prod", include_stats=True)
    )
    assert (project.id, project.run_count) == (session.id, len(counted(session)))
    by_id = await asyncio.to_thread(lambda: sdk_client.read_project(project_id=str(session.id), include_stats=True))
    assert by_id == project
    assert (await asyncio.to_thread(lambda: sdk_client.info)).version

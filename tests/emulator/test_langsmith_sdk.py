"""LangSmith's own SDK reads the emulator."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta

import langsmith as sdk
import pytest

from app.emulator import Emulator
from tests.emulator.expected import NOW, counted, ids, sessions_of


@pytest.fixture
def sdk_client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sdk.Client]:
    for name in ("LANGSMITH_WORKSPACE_ID", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    sdk_client = sdk.Client(api_url=url, api_key="demo", auto_batch_tracing=False, disable_prompt_cache=True)
    yield sdk_client
    sdk_client.close()


@pytest.fixture
async def sdk_api(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[sdk.AsyncLangsmith]:
    """The generated client, which `Client` uses for version 2."""
    for name in ("LANGSMITH_WORKSPACE_ID", "LANGSMITH_TENANT_ID", "LANGSMITH_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    http_client = sdk.DefaultAsyncHttpxClient(trust_env=False, verify=False)
    async with sdk.AsyncLangsmith(base_url=url, api_key="demo", max_retries=0, http_client=http_client) as sdk_api:
        yield sdk_api


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


async def test_the_langsmith_sdk_walks_the_pages_of_version_2(langsmith: Emulator, sdk_api: sdk.AsyncLangsmith) -> None:
    langsmith.page_limit = 40
    pages = sdk_api.sessions.list_v2(page_size=100, sort_by="START_TIME", sort_order="desc", include_stats=True)
    sessions = [session async for session in pages]
    assert len(sessions) == 240
    assert ids(sessions) == ids(sessions_of(langsmith))
    assert [request.path for request in langsmith.requests] == ["/api/v2/sessions"] * 6
    by_id = {str(session.id): session for session in sessions_of(langsmith)}
    for session in sessions:
        assert (session.type, session.run_count) == (by_id[session.id].type, len(counted(by_id[session.id])))
        assert isinstance(session.start_time, datetime)
        assert session.trace_tier in {"LONG_LIVED", "SHORT_LIVED", None}
        assert (session.experiment_progress is None) == (session.type != "EXPERIMENT")
    entries = [entry for session in sessions for entry in (session.feedback_stats or {}).values()]
    assert {entry.type for entry in entries} == {"PRIMARY"}


async def test_the_langsmith_sdk_filters_version_2_with_every_parameter(
    langsmith: Emulator, sdk_api: sdk.AsyncLangsmith
) -> None:
    workspace = langsmith.workspaces["demo"]
    pages = sdk_api.sessions.list_v2(
        id=[*ids(workspace.sessions)][:100],
        dataset_version=datetime.fromisoformat(workspace.datasets[0].versions[1]),
        filter="neq(name, 'my-project')",
        include_facets=True,
        include_stats=True,
        metadata='{"num_repetitions": 1}',
        name_contains="-",
        page_size=1,
        reference_dataset_id=[str(each.id) for each in workspace.datasets],
        sort_by="FEEDBACK",
        sort_by_feedback_key="accuracy",
        sort_by_feedback_source="RUN",
        sort_order="asc",
        stats_filter='eq(run_type, "llm")',
        stats_select=["run_count", "feedback_stats"],
        stats_start_time=NOW - timedelta(days=7),
        type=["EXPERIMENT"],
        use_approx_stats=False,
    )
    sessions = [session async for session in pages]
    assert sessions
    assert {session.type for session in sessions} == {"EXPERIMENT"}
    assert {session.error_rate for session in sessions} == {None}
    tag = workspace.tag_values[0]
    tagged = [session async for session in sdk_api.sessions.list_v2(tag_value_id=[str(tag)])]
    assert ids(tagged) == ids(session for session in workspace.sessions if tag in session.tag_value_ids)


async def test_the_langsmith_sdk_reads_a_session_of_version_2(langsmith: Emulator, sdk_api: sdk.AsyncLangsmith) -> None:
    expected = sessions_of(langsmith)[0]
    session = await sdk_api.sessions.retrieve_v2(str(expected.id), include_stats=True)
    assert (session.name, session.run_count) == (expected.name, len(counted(expected)))


async def test_the_langsmith_sdk_understands_the_problems_of_version_2(sdk_api: sdk.AsyncLangsmith) -> None:
    with pytest.raises(sdk.BadRequestError, match="The cursor is invalid"):
        await sdk_api.sessions.list_v2(cursor="x")

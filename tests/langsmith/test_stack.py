"""The client with its whole stack, in this process, over an httpx transport that answers by itself."""

import asyncio
import io
import json
from typing import Any

import httpx
import pytest

from app.credentials import Credential
from app.errors import UpstreamError
from app.langsmith.call import UpstreamCall
from app.langsmith.client import LangSmithClient
from app.langsmith.stack import UpstreamOptions, create_upstream
from app.langsmith.upstream import Upstream
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.sessions.query import PageQuery
from tests.conftest import Clock
from tests.support.httpx_connections import HttpxConnections
from tests.support.raw_upstream import row

CREDENTIAL = Credential("scope", {"x-api-key": "key"})
OPTIONS = UpstreamOptions(endpoint="https://langsmith", timeout_seconds=30, retries=1, concurrency=2)


def client_over(transport: httpx.AsyncBaseTransport, clock: Clock) -> LangSmithClient:
    return client_with(HttpxConnections(transport), clock)


def client_with(connections: HttpxConnections, clock: Clock) -> LangSmithClient:
    log = create_log("json", "error", io.StringIO())
    return create_upstream(
        OPTIONS, redis=None, metrics=Metrics(), log=log, clock=clock.monotonic, connections=connections
    )


async def test_fetch_creates_no_task(clock: Clock) -> None:
    upstream: Upstream = client_over(httpx.MockTransport(lambda _: httpx.Response(200, json=[row()])), clock)
    loop = asyncio.get_running_loop()
    created: list[object] = []

    def create_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        created.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop.set_task_factory(create_task)
    try:
        page = await upstream.fetch(PageQuery(limit=1), CREDENTIAL, [])
    finally:
        loop.set_task_factory(None)
    assert len(page.rows) == 1
    assert created == []


async def test_page_is_as_old_as_the_last_try(clock: Clock) -> None:
    statuses = [503, 200]

    def answer(_: httpx.Request) -> httpx.Response:
        clock.advance(5)
        return httpx.Response(statuses.pop(0), headers={"retry-after": "0"}, content=json.dumps([row()]))

    began = clock.monotonic()
    calls: list[UpstreamCall] = []
    page = await client_over(httpx.MockTransport(answer), clock).fetch(PageQuery(limit=1), CREDENTIAL, calls)
    assert page.fetched_at == began + 5
    (call,) = calls
    assert (call.attempts, call.status, call.milliseconds) == (2, 200, 10_000)


async def test_record_of_a_failed_request_is_kept(clock: Clock) -> None:
    calls: list[UpstreamCall] = []
    with pytest.raises(UpstreamError):
        await client_over(httpx.MockTransport(lambda _: httpx.Response(404)), clock).fetch(
            PageQuery(limit=1), CREDENTIAL, calls
        )
    assert [(call.path, call.attempts, call.status) for call in calls] == [
        ("/api/v1/sessions", 1, 404),
        ("/api/v2/sessions", 1, 404),
    ]


async def test_closing_the_client_closes_its_connections(clock: Clock) -> None:
    connections = HttpxConnections(httpx.MockTransport(lambda _: httpx.Response(200)))
    await client_with(connections, clock).aclose()
    assert connections.is_closed

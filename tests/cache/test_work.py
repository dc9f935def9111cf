"""What one request costs does not grow with the number of cached pages. Function calls are counted, not seconds."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import pytest

from tests.cache.test_store import held_bytes
from tests.conftest import Clock, Gateway, running_gateway
from tests.support.raw_upstream import Connection, raw_upstream, response, row

IDS = [row(number)["id"] for number in range(1, 6)]
LOOKUP = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Session { runCount } } }"


def page(number: int) -> str:
    return f'{{ sessions(first: 5, filter: {{nameContains: "{number}"}}) {{ nodes {{ id runCount }} }} }}'


async def calls_of(work: Awaitable[Any]) -> int:
    """Number of function calls that the work makes, and whatever runs meanwhile."""
    count = 0

    def record(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(record)
    try:
        await work
    finally:
        sys.setprofile(None)
    return count


class LangSmith:
    """Answers every request with the same five sessions, as long as it accepts the credential."""

    def __init__(self) -> None:
        self.status = 200
        self.is_paused = False
        self.has_paused, self.resume = asyncio.Event(), asyncio.Event()

    async def answer(self, connection: Connection) -> None:
        if self.is_paused:
            self.is_paused = False
            self.has_paused.set()
            await self.resume.wait()
        ids = {value for name, value in connection.request.params if name == "id"}
        rows = [row(number, run_count=1) for number in range(1, 6)]
        body = [each for each in rows if not ids or each["id"] in ids] if self.status == 200 else {"detail": "no"}
        await connection.send(response(json.dumps(body).encode(), status=self.status))


@asynccontextmanager
async def filled_gateway(langsmith: LangSmith, clock: Clock, pages: int) -> AsyncIterator[Gateway]:
    """A gateway without sockets that holds this number of pages, which show the same sessions."""
    async with (
        raw_upstream(langsmith.answer) as upstream,
        running_gateway(upstream.url, clock, cache_stale=60, upstream_retries=0) as gateway,
        gateway.in_process() as direct,
    ):
        for number in range(pages):
            await direct.data(page(number))
        yield direct


async def test_lookup_by_id_costs_the_same_however_many_pages_show_the_session(clock: Clock) -> None:
    counts = []
    for pages in (5, 5, 150):
        async with filled_gateway(LangSmith(), clock, pages) as gateway:
            counts.append(await calls_of(gateway.data(LOOKUP, {"ids": IDS})))
    _, few, many = counts
    assert many < 1.5 * few, counts


async def test_refused_credential_costs_the_same_however_many_pages_it_drops(clock: Clock) -> None:
    counts = []
    for pages in (5, 5, 150):
        langsmith = LangSmith()
        async with filled_gateway(langsmith, clock, pages) as gateway:
            langsmith.status = 401
            counts.append(await calls_of(gateway.errors(page(-1))))
            langsmith.status = 503
            assert await gateway.errors(page(0))  # nothing stale is left
    _, few, many = counts
    assert many < 1.5 * few, counts


async def test_pages_that_are_too_old_to_be_served_are_dropped_when_others_are_stored(clock: Clock) -> None:
    async with filled_gateway(LangSmith(), clock, 40) as gateway:
        held = await held_bytes(gateway)
        clock.advance(76)
        for number in range(40, 60):
            await gateway.data(page(number))
        assert await held_bytes(gateway) == pytest.approx(held / 2, rel=0.05)


async def test_page_that_is_refilled_while_its_credential_is_refused_is_not_stored_again(clock: Clock) -> None:
    langsmith = LangSmith()
    async with filled_gateway(langsmith, clock, 1) as gateway:
        clock.advance(1)
        langsmith.is_paused = True
        refill = asyncio.create_task(gateway.data(page(0).replace("runCount", "totalTokens")))
        await langsmith.has_paused.wait()
        langsmith.status = 401
        assert await gateway.errors(page(-1))
        langsmith.status = 200
        langsmith.resume.set()
        await refill
        explained = await gateway.explain(page(0))
        assert explained["fields"]["sessions"]["cache"] == "MISS"

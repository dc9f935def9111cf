"""The store stays within its bound, and evicts the least recently used page first."""

import gc
import re
import tracemalloc
from datetime import timedelta

import pytest

from app.emulator import Emulator
from app.langsmith.v1 import V1
from app.sessions.fields import FACETS, STATS
from app.sessions.page import Page
from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow
from app.sessions.row import decode_rows
from tests.conftest import Clock, Gateway, Serve, create_http_client, take_recorded_params

EVERY = "id extra runCount latencyP50 totalCost feedbackStats { key } runFacets"


async def held_bytes(gateway: Gateway) -> float:
    metrics = (await gateway.client.get("/metrics")).text
    match = re.search(r"^gateway_cache_bytes (\S+)$", metrics, re.MULTILINE)
    assert match
    return float(match[1])


async def test_store_stays_within_its_bound_of_bytes(serve: Serve) -> None:
    bound = 300_000
    async with serve(cache_max_bytes=bound) as gateway:
        seen = []
        for offset in range(0, 200, 10):
            await gateway.data(f"{{ sessions(first: 10, offset: {offset}) {{ nodes {{ {EVERY} }} }} }}")
            seen.append(await held_bytes(gateway))
    assert max(seen) <= bound
    assert max(seen) > bound / 2


async def test_store_evicts_the_least_recently_used_page(serve: Serve, langsmith: Emulator) -> None:
    async with serve(cache_max_bytes=300_000) as gateway:
        favourite = f"{{ sessions(first: 10) {{ nodes {{ {EVERY} }} }} }}"
        await gateway.data(favourite)
        for offset in range(10, 200, 10):
            await gateway.data(f"{{ sessions(first: 10, offset: {offset}) {{ nodes {{ {EVERY} }} }} }}")
            await gateway.data(favourite)
        take_recorded_params(langsmith)
        await gateway.data(favourite)
        assert take_recorded_params(langsmith) == []
        await gateway.data(f"{{ sessions(first: 10, offset: 10) {{ nodes {{ {EVERY} }} }} }}")
        assert len(take_recorded_params(langsmith)) == 1


async def test_page_larger_than_the_bound_is_served_but_not_stored(serve: Serve, langsmith: Emulator) -> None:
    async with serve(cache_max_bytes=10_000) as gateway:
        query = f"{{ sessions(first: 50) {{ nodes {{ {EVERY} }} }} }}"
        assert len((await gateway.data(query))["sessions"]["nodes"]) == 50
        await gateway.data(query)
        assert len(take_recorded_params(langsmith)) == 2
        assert await held_bytes(gateway) == 0


@pytest.mark.parametrize("statistics", [frozenset(), STATS | FACETS], ids=["columns", "everything"])
async def test_estimated_weight_of_a_page_covers_its_memory(upstream_url: str, statistics: frozenset[str]) -> None:
    query = PageQuery(statistics=statistics)
    async with create_http_client(upstream_url, key="demo") as client:
        answer = await client.get("/sessions", params=[*V1().params(query)])
    copies = 10
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        pages = []
        for _ in range(copies):
            body = bytes(bytearray(answer.content))
            page = Page.from_rows(decode_rows(body), query, statistics=statistics, at=0, body_bytes=len(body))
            by_id = {row.id: row for row in page.rows_in(ALL_RUNS) if row}
            pages.append(page.with_statistics(StatsWindow((("stats.since", "then"),)), STATS, by_id, 0))
        del body, page, by_id
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    weighed = sum(page.weight_bytes for page in pages)
    assert (after - before) <= weighed <= 4 * (after - before)


async def test_expired_page_is_replaced_by_the_next_one(serve: Serve, clock: Clock) -> None:
    async with serve() as gateway:
        query = f"{{ sessions(first: 10) {{ nodes {{ {EVERY} }} }} }}"
        await gateway.data(query)
        held = await held_bytes(gateway)
        clock.at += timedelta(seconds=20)
        await gateway.data(query)
        assert await held_bytes(gateway) == pytest.approx(held, rel=0.05)

"""How soon a client has the first rows, in front of a LangSmith that computes statistics for seconds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import httpx

from app.emulator import Emulator, serving
from app.emulator.server import serving_app
from app.main import create_app
from app.settings import Settings

_ROWS: Final = "sessions(first: 50, orderBy: {field: NAME}) { nodes { id name "
_STATISTICS: Final = 'runCount errorRate day: stats(last: "PT24H") { runCount errorRate } '
_NAMES_ONLY: Final = f"{{ {_ROWS} }} }} }}"
_PLAIN: Final = f"{{ {_ROWS} {_STATISTICS} }} }} }}"
_DEFERRED: Final = f"{{ {_ROWS} ... @defer {{ {_STATISTICS} }} }} }} }}"
_DRAFT: Final = "multipart/mixed;incrementalSpec=v0.2"
_EARLIER: Final = "multipart/mixed;deferSpec=20220824"


@dataclass
class _Times:
    """Seconds until a client has the names, and everything; the bytes that it received; the requests to LangSmith."""

    rows: float
    everything: float
    received_bytes: int
    requests: int


def measure_first_rows(column_seconds: float, statistics_seconds: float) -> str:
    """A table of the ways to ask for 50 rows with one further window, each with nothing in the cache."""
    return asyncio.run(_measure(column_seconds, statistics_seconds))


async def _measure(column_seconds: float, statistics_seconds: float) -> str:
    langsmith = Emulator()
    langsmith.latency, langsmith.stats_latency = column_seconds, statistics_seconds
    ways = {
        "one query": [(_PLAIN, "application/json")],
        "two queries: the names, then all": [(_NAMES_ONLY, "application/json"), (_PLAIN, "application/json")],
        "`@defer`, `incrementalSpec=v0.2`": [(_DEFERRED, _DRAFT)],
        "`@defer`, `deferSpec=20220824`": [(_DEFERRED, _EARLIER)],
        "`@defer`, JSON only": [(_DEFERRED, "application/json")],
    }
    lines = ["| | first rows | everything | requests to LangSmith | bytes |", "|---|---|---|---|---|"]
    for name, requests in ways.items():
        times = await _measure_way(langsmith, requests)
        lines.append(
            f"| {name} | {times.rows:.2f} s | {times.everything:.2f} s | {times.requests} | {times.received_bytes} |"
        )
    return "\n".join(lines)


async def _measure_way(langsmith: Emulator, requests: list[tuple[str, str]]) -> _Times:
    """`requests`: queries with their `Accept`, sent at the same time by one client to a new gateway."""
    langsmith.requests.clear()
    async with _gateway(langsmith) as client:
        await client.get("/healthz")
        began = time.perf_counter()
        arrivals = await asyncio.gather(*(_request(client, query, accept) for query, accept in requests))
        return _Times(
            rows=min(first for first, _, _ in arrivals) - began,
            everything=max(last for _, last, _ in arrivals) - began,
            received_bytes=sum(size for _, _, size in arrivals),
            requests=len(langsmith.requests),
        )


async def _request(client: httpx.AsyncClient, query: str, accept: str) -> tuple[float, float, int]:
    """When the first and the last bytes arrived, and how many did."""
    first, size = 0.0, 0
    async with client.stream("POST", "/graphql", json={"query": query}, headers={"accept": accept}) as response:
        response.raise_for_status()
        async for chunk in response.aiter_raw():
            first = first or time.perf_counter()
            size += len(chunk)
    return first, time.perf_counter(), size


@contextlib.asynccontextmanager
async def _gateway(langsmith: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(langsmith) as upstream_url:
        app = create_app(Settings.load(langsmith_endpoint=upstream_url, log_level="error"))
        async with app.router.lifespan_context(app) as state, serving_app(app, state) as url:
            headers = {"x-api-key": "demo", "accept-encoding": "gzip"}
            async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
                yield client

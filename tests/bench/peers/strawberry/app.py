"""The baseline: the same types in Strawberry's own FastAPI router, executed by graphql-core over a cached page.

Parsing and validation are cached, as Strawberry's documentation recommends. There is no response cache.

https://strawberry.rocks/docs/extensions/parser-cache
https://strawberry.rocks/docs/extensions/validation-cache
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NewType

import aiohttp
import orjson
import strawberry
from fastapi import FastAPI, Request
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info
from strawberry.types.scalar import ScalarDefinition

_URL = f"{os.environ['LANGSMITH']}/sessions?{os.environ['LANGSMITH_PARAMS']}"
_TTL = 0 if os.environ["CACHE"] == "none" else 15

BigInt = NewType("BigInt", int)
Decimal = NewType("Decimal", str)
DateTime = NewType("DateTime", str)
UUID = NewType("UUID", str)
JSON = NewType("JSON", object)


@strawberry.type
class FeedbackStat:
    key: str
    n: BigInt | None
    avg: float | None


@strawberry.type
class Session:
    id: strawberry.ID
    tenant_id: UUID
    start_time: DateTime | None
    end_time: DateTime | None
    extra: JSON | None
    name: str | None
    description: str | None
    default_dataset_id: UUID | None
    reference_dataset_id: UUID | None
    trace_tier: str | None
    last_run_start_time_live: DateTime | None
    test_run_number: BigInt | None
    run_count: BigInt | None
    latency_p50: float | None
    latency_p99: float | None
    first_token_p50: float | None
    first_token_p99: float | None
    total_tokens: BigInt | None
    prompt_tokens: BigInt | None
    completion_tokens: BigInt | None
    total_cost: Decimal | None
    prompt_cost: Decimal | None
    completion_cost: Decimal | None
    last_run_start_time: DateTime | None
    feedback_stats: list[FeedbackStat] | None
    session_feedback_stats: list[FeedbackStat] | None
    run_facets: list[JSON] | None
    error_rate: float | None
    streaming_rate: float | None


@strawberry.type
class SessionConnection:
    nodes: list[Session]


_pages: dict[tuple[str, int, int], tuple[float, SessionConnection]] = {}
_client: list[aiohttp.ClientSession] = []
_NAMES = [name for name in Session.__annotations__ if not name.endswith("feedback_stats")]


async def _page(key: str, first: int, offset: int) -> SessionConnection:
    expires_at, page = _pages.get((key, first, offset), (0.0, None))
    if page is None or expires_at < time.monotonic():
        headers = {"X-API-Key": key}
        async with _client[0].get(f"{_URL}&limit={first}&offset={offset}", headers=headers) as response:
            page = SessionConnection(nodes=[_session(row) for row in orjson.loads(await response.read())])
        if _TTL:
            _pages[key, first, offset] = time.monotonic() + _TTL, page
    return page


def _session(row: dict[str, Any]) -> Session:
    columns: dict[str, Any] = {name: row.get(name) for name in _NAMES}
    return Session(
        **columns,
        feedback_stats=_feedback(row.get("feedback_stats")),
        session_feedback_stats=_feedback(row.get("session_feedback_stats")),
    )


def _feedback(stats: dict[str, dict[str, Any]] | None) -> list[FeedbackStat] | None:
    if stats is None:
        return None
    return [FeedbackStat(key=key, n=stat.get("n"), avg=stat.get("avg")) for key, stat in stats.items()]


@strawberry.type
class Query:
    @strawberry.field
    async def sessions(
        self, info: Info[dict[str, Request], None], first: int = 20, offset: int | None = None
    ) -> SessionConnection:
        return await _page(info.context["request"].headers["x-api-key"], first, offset or 0)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with aiohttp.ClientSession() as client:
        _client.append(client)
        yield


_SCALARS: dict[object, ScalarDefinition] = {
    each: strawberry.scalar(name=each.__name__) for each in (BigInt, Decimal, DateTime, UUID, JSON)
}
_SCHEMA = strawberry.Schema(
    Query,
    extensions=[lambda: ParserCache(maxsize=1000), lambda: ValidationCache(maxsize=1000)],
    config=StrawberryConfig(scalar_map=_SCALARS),
)
app = FastAPI(lifespan=_lifespan)
app.include_router(GraphQLRouter(_SCHEMA, graphql_ide=None), prefix="/graphql")

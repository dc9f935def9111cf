"""The real gateway in front of the embedded LangSmith, both over real HTTP."""

import contextlib
import functools
import gc
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from starlette.types import ASGIApp

from app.emulator import Emulator, serving
from app.emulator.server import serving_app
from app.http.uvicorn_protocol import Protocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.support.real_redis import RealRedis, real_redis

_LONGEST_NAME = 80
PATIENCE = 20.0
"""Seconds after which what should happen at once has not happened, on a busy machine too."""
# No property depends on how fast the machine is.
hypothesis.settings.register_profile("gateway", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile("gateway")
NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)


def pytest_xdist_auto_num_workers() -> int:
    """More than there are cores: many tests wait for time to pass, or for a process."""
    return len(os.sched_getaffinity(0)) * 3 // 2


def pytest_collection_finish() -> None:
    """What is imported and collected stays until the end: collections of garbage need not look through it each time."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Long texts would make each test's name, which every worker sends and keeps, as long."""
    return ascii(val[:_LONGEST_NAME]) if isinstance(val, str | bytes) and len(val) > _LONGEST_NAME else None


@dataclass
class Clock:
    """The time for everybody in a test. It stands still until it is moved."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Gateway:
    """A running gateway, as its clients see it."""

    client: httpx.AsyncClient
    app: ASGIApp
    log: io.StringIO = field(default_factory=io.StringIO)

    @contextlib.asynccontextmanager
    async def in_process(self) -> AsyncIterator["Gateway"]:
        """The same without sockets between: for headers that no HTTP client sends, and requests of one moment."""
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(client, self.app, self.log)

    async def post(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo", **headers: str
    ) -> httpx.Response:
        shown = {"x-api-key": key} if key is not None else {}
        body = {"query": query} | ({"variables": variables} if variables is not None else {})
        return await self.client.post("/graphql", json=body, headers={**shown, **headers})

    async def run(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo", **headers: str
    ) -> dict[str, Any]:
        """The whole response."""
        body: dict[str, Any] = (await self.post(query, variables, key=key, **headers)).json()
        return body

    async def data(self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo") -> Any:
        """The data of an operation that has no errors."""
        body = await self.run(query, variables, key=key)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def errors(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo"
    ) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = (await self.run(query, variables, key=key)).get("errors", [])
        return errors

    async def explain(self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str = "demo") -> Any:
        body = await self.run(query, variables, key=key, **{"x-gateway-explain": "1"})
        return body["extensions"]["gateway"]


Serve = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the environment, or the `.env`, of who runs it."""
    for name in [name for name in os.environ if name.startswith(("GATEWAY_", "LANGSMITH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def redis() -> Iterator[RealRedis]:
    """A server of the test's own, with nothing in it, which it may kill."""
    with real_redis() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    return Emulator(clock=clock.now)


@pytest.fixture
async def upstream_url(langsmith: Emulator) -> AsyncIterator[str]:
    async with serving(langsmith) as url:
        yield url


def http_client(url: str, key: str | None = None) -> httpx.AsyncClient:
    """Without anything of the environment, and in no hurry."""
    headers = {"x-api-key": key} if key is not None else {}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=False, timeout=PATIENCE)


@contextlib.asynccontextmanager
async def started(
    upstream_url: str,
    clock: Clock,
    *,
    now: Callable[[], datetime] | None = None,
    compiled: bool = True,
    body_timeout: float = 10,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with these settings. `now`: its wall clock, where it is not to go with the other."""
    log = io.StringIO()
    app = create_app(
        Settings(**{"langsmith_endpoint": upstream_url, "cache_stale": 0, **settings}),
        log=create_log("json", "debug", log),
        clock=clock.monotonic,
        wall=clock.monotonic,
        now=now or clock.now,
        compiled=compiled,
        body_timeout=body_timeout,
    )
    async with (
        app.router.lifespan_context(app) as state,
        serving_app(app, state, http=Protocol, ws="none") as url,
        http_client(url) as client,
    ):
        yield Gateway(client, app, log)


@pytest.fixture
def serve(upstream_url: str, clock: Clock) -> Serve:
    """Starts a gateway with these settings in front of the embedded LangSmith."""
    return functools.partial(started, upstream_url, clock)


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with serve() as gateway:
        yield gateway


def asked(langsmith: Emulator) -> list[list[tuple[str, str]]]:
    """What LangSmith was asked since this was asked last: the parameters of each request."""
    params = [request.params for request in langsmith.requests]
    langsmith.requests.clear()
    return params

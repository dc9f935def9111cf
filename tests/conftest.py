"""Fixtures: the real gateway in front of the embedded LangSmith, both over real HTTP."""

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
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.support.real_redis import RealRedis, real_redis

_LONGEST_NAME = 80
TIMEOUT_SECONDS = 20.0
"""Time limit in seconds for something that happens at once, long enough for a busy machine."""
# Without a deadline and health checks, no property test depends on the speed of the machine.
hypothesis.settings.register_profile("gateway", deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
hypothesis.settings.load_profile("gateway")
DEFAULT_ORDER = {("sort_by", "start_time"), ("sort_by_desc", "true")}
"""Parameters of the order that a list has without `orderBy`."""
NOON = datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC)


def pytest_xdist_auto_num_workers() -> int:
    """Number of test workers: more than there are cores, because many tests wait for a timer or a process."""
    return len(os.sched_getaffinity(0)) * 3 // 2


def pytest_collection_finish() -> None:
    """Exclude the imported modules and collected tests, which stay in memory anyway, from garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Shorten long texts in the ids of tests, because every worker sends and keeps all ids."""
    return ascii(val[:_LONGEST_NAME]) if isinstance(val, str | bytes) and len(val) > _LONGEST_NAME else None


@dataclass
class Clock:
    """The clock of the gateway and of the embedded LangSmith. It stands still until a test moves it forward."""

    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Gateway:
    """A running gateway with an HTTP client for it, and its log."""

    client: httpx.AsyncClient
    app: ASGIApp
    log: io.StringIO = field(default_factory=io.StringIO)

    @contextlib.asynccontextmanager
    async def in_process(self) -> AsyncIterator["Gateway"]:
        """The same gateway without sockets.

        A test can send headers that HTTP clients refuse to send, and several requests at the same moment.
        """
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Gateway(client, self.app, self.log)

    async def post(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo", **headers: str
    ) -> httpx.Response:
        credential = {"x-api-key": key} if key is not None else {}
        body = {"query": query} | ({"variables": variables} if variables is not None else {})
        return await self.client.post("/graphql", json=body, headers={**credential, **headers})

    async def run(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo", **headers: str
    ) -> dict[str, Any]:
        """Run an operation, and return the body of the response."""
        body: dict[str, Any] = (await self.post(query, variables, key=key, **headers)).json()
        return body

    async def data(self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo") -> Any:
        """Run an operation, assert that it has no errors, and return its data."""
        body = await self.run(query, variables, key=key)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def errors(
        self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str | None = "demo"
    ) -> list[dict[str, Any]]:
        """Run an operation, and return its errors."""
        errors: list[dict[str, Any]] = (await self.run(query, variables, key=key)).get("errors", [])
        return errors

    async def explain(self, query: str, variables: Mapping[str, Any] | None = None, /, *, key: str = "demo") -> Any:
        """Run an operation with the Explain header, and return `extensions.gateway`."""
        body = await self.run(query, variables, key=key, **{"x-gateway-explain": "1"})
        return body["extensions"]["gateway"]


Serve = Callable[..., AbstractAsyncContextManager[Gateway]]
"""Starts a gateway with settings that are given as keyword arguments."""


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings in the environment and the `.env` of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith(("GATEWAY_", "LANGSMITH_", "FORWARDED_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def redis() -> Iterator[RealRedis]:
    """An empty redis-server of the test's own, which the test may kill."""
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


def create_http_client(url: str, key: str | None = None) -> httpx.AsyncClient:
    """An HTTP client that ignores proxies and certificates of the environment, with a long timeout."""
    headers = {"x-api-key": key} if key is not None else {}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, verify=False, timeout=TIMEOUT_SECONDS)


@contextlib.asynccontextmanager
async def running_gateway(
    upstream_url: str,
    clock: Clock,
    *,
    now: Callable[[], datetime] | None = None,
    compiled: bool = True,
    body_timeout: float = 10,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """Start a gateway with these settings.

    `upstream_url`: LangSmith's address. `clock`: source of the gateway's times. `now`: date and time of the gateway, if
    it differs from `clock`. `compiled`: false lets graphql-core execute every operation. `body_timeout`: seconds that
    the body of a request may take to arrive.
    """
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
        serving_app(app, state, http=GatewayProtocol, ws="none") as url,
        create_http_client(url) as client,
    ):
        yield Gateway(client, app, log)


@pytest.fixture
def serve(upstream_url: str, clock: Clock) -> Serve:
    """A function that starts a gateway with the given settings in front of the embedded LangSmith."""
    return functools.partial(running_gateway, upstream_url, clock)


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with serve() as gateway:
        yield gateway


def take_recorded_params(langsmith: Emulator) -> list[list[tuple[str, str]]]:
    """Return the parameters of each request that LangSmith received since the last call, and forget the requests.

    Every request has an order. Where it is the default one, it is left out here.
    """
    params = [request.params for request in langsmith.requests]
    langsmith.requests.clear()
    assert all({"sort_by", "sort_by_desc"} <= dict(each).keys() for each in params)
    return [[pair for pair in each if pair not in DEFAULT_ORDER] for each in params]

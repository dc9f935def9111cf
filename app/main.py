"""create_app: the only place where the parts of the gateway are put together."""

import contextlib
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from strawberry import Schema
from structlog.typing import FilteringBoundLogger

from app.cache.fetcher import Fetcher
from app.cache.freshness import FreshnessPolicy
from app.cache.page_cache import PageCache
from app.cache.prefetch import selection_seconds
from app.cache.shared.redis_records import RedisRecords
from app.cache.shared.shared_cache import SharedCache
from app.cache.store import MemoryStore
from app.errors import SettingsError
from app.execution import Encoding, Executor, graphql_core_schema
from app.execution.documents import DocumentCache
from app.execution.limits import OperationLimits
from app.http import web_pages
from app.http.auth import create_authenticator
from app.http.client_rate_limit import ClientRateLimit
from app.http.endpoint import GraphQLEndpoint
from app.http.graceful_shutdown import draining
from app.http.middleware import PathRoute, RequestIdMiddleware
from app.http.persisted_queries import AutomaticPersistedQueries
from app.http.replay_cache import STATE as REPEATS
from app.http.replay_cache import ReplayCache
from app.http.response_cache import ResponseCache
from app.http.server import Gateway
from app.http.trusted_documents import TrustedDocuments
from app.langsmith.stack import UpstreamOptions, create_upstream
from app.observability import metrics as metering
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.observability.operation_log import OperationRecorder
from app.observability.tracing import NO_TRACING, Tracing, create_tracing
from app.redis.connection import RedisConnection
from app.resilience.clock import Clock, Clocks
from app.schema.cost import cost_by
from app.schema.query import create_schema
from app.sessions.fields import AS_ATTRIBUTE
from app.sessions.scalars import PLAIN
from app.settings import MEMORY, Settings

T = TypeVar("T")

_BODY_SECONDS: Final = 10.0
DEMO_ENDPOINT: Final = "_SESSIONS_GATEWAY_DEMO"
"""The variable that tells the processes of one demo where its LangSmith is."""


class AsyncCloseable(Protocol):
    async def aclose(self) -> None: ...


def create_app(
    settings: Settings,
    *,
    log: FilteringBoundLogger | None = None,
    clock: Clock = time.monotonic,
    wall: Clock = time.time,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    demo: bool = False,
    compiled: bool = True,
    body_timeout: float = _BODY_SECONDS,
    spans: Tracing = NO_TRACING,
) -> Gateway:
    """The gateway. `demo`: a request without credentials counts as one with the embedded LangSmith's key.

    `clock`: monotonic seconds; `wall`: those of the day, by which processes agree. `compiled`: whether operations
    run as plans; without, graphql-core runs them all. `body_timeout`: seconds that a request's body may take to arrive.
    """
    log = log or create_log(settings.log_format, settings.log_level)
    metrics = Metrics()
    account = OperationRecorder(metrics, log, spans)
    store = MemoryStore(settings.cache_max_bytes)
    schema = create_schema()
    limits = OperationLimits(settings.max_tokens, settings.max_depth, settings.max_aliases, settings.max_cost)
    trusted = _trusted(
        settings, DocumentCache(graphql_core_schema(schema), limits, introspection=settings.introspection)
    )
    ready = False

    link = _link(settings, metrics, log, clock)
    upstream = create_upstream(
        UpstreamOptions(
            endpoint=settings.langsmith_endpoint,
            timeout_seconds=settings.upstream_timeout,
            retries=settings.upstream_retries,
            concurrency=settings.upstream_concurrency,
            rate=settings.upstream_rate,
        ),
        redis=link,
        metrics=metrics,
        log=log,
        clock=clock,
        tracing=spans,
    )
    freshness = FreshnessPolicy(settings.cache_ttl, settings.cache_stale)
    clocks = Clocks(clock, wall)
    shared = _shared(settings, link, store, clocks)
    cache = PageCache(Fetcher(upstream, store, freshness, metrics, clock, shared, spans))
    responses = ResponseCache(settings.responses_max_bytes, ends=cache.expires_at, clock=clock)
    metrics.watch_cached_bytes(pages=lambda: store.held_bytes, responses=lambda: responses.held_bytes)
    repeats = ReplayCache(responses, account)
    rate = _rate(settings, metrics, log, clock)
    endpoint = GraphQLEndpoint(
        executor=Executor(
            schema,
            limits,
            cost_by(graphql_core_schema(schema)),
            Encoding(PLAIN, AS_ATTRIBUTE),
            introspection=settings.introspection,
            log=log,
            count=account.record_execution,
            compiled=compiled,
        ),
        documents=trusted or AutomaticPersistedQueries(link, clock),
        gate=create_authenticator(settings, demo=demo),
        cache=cache,
        responses=responses,
        repeats=repeats,
        account=account,
        log=log,
        timeout=settings.upstream_timeout,
        body_timeout=body_timeout,
        origins=settings.cors_origins,
        rate=rate,
        explain=settings.explain,
        now=now,
        clock=clock,
    )

    def turn_off() -> None:
        nonlocal ready
        ready = False

    @contextlib.asynccontextmanager
    async def lifespan(_app: Gateway) -> AsyncIterator[dict[str, Any]]:
        nonlocal ready
        ready = True
        try:
            with draining(turn_off):
                async with metrics.publishing():
                    # Each request is counted where there is a limit, so that all are read; and each is traced.
                    yield {REPEATS: None if rate.is_limited or spans.is_on else repeats}
        finally:
            turn_off()
            parts: tuple[AsyncCloseable | None, ...] = (cache, shared, upstream, link, rate, spans)
            for part in filter(None, parts):
                await part.aclose()

    app = Gateway(title="sessions-gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.put_in_front(PathRoute, path="/graphql", endpoint=account.wrap(endpoint))
    web_pages.add(app, settings, demo=demo)
    if settings.cors_origins:
        app.allow_origins(settings.cors_origins)
    app.put_in_front(RequestIdMiddleware)

    _add_routes(app, settings, schema, metrics, lambda: ready)
    return app


def _add_routes(
    app: Gateway, settings: Settings, schema: Schema, metrics: Metrics, is_ready: Callable[[], bool]
) -> None:
    """Those for machines."""

    async def sdl(_: Request) -> Response:
        if not settings.introspection:
            return PlainTextResponse("Introspection is switched off here.\n", status_code=404)
        return PlainTextResponse(schema.as_str() + "\n")

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "up"})

    async def readyz(_: Request) -> Response:
        if not is_ready():
            return JSONResponse({"status": "stopping"}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def prometheus(_: Request) -> Response:
        return Response(metrics.as_text(), media_type=metering.CONTENT_TYPE)

    # FastAPI's own decorator would keep these, and the gateway with them, in caches of the process.
    app.add_route("/schema.graphql", sdl)
    app.add_route("/healthz", healthz)
    app.add_route("/readyz", readyz)
    app.add_route("/metrics", prometheus)


def _trusted(settings: Settings, checked: DocumentCache) -> TrustedDocuments | None:
    """Where only such documents are to run. Raises SettingsError."""
    return TrustedDocuments.load(settings.trusted_documents, checked) if settings.trusted_documents else None


def _link(settings: Settings, metrics: Metrics, log: FilteringBoundLogger, clock: Clock) -> RedisConnection | None:
    """To the Redis that processes share, if they do."""
    url = settings.cache_url.get_secret_value()
    return None if url == MEMORY else RedisConnection(url, use="cache", metrics=metrics, log=log, clock=clock)


def _shared(settings: Settings, link: RedisConnection | None, store: MemoryStore, clocks: Clocks) -> SharedCache | None:
    """Where nothing is kept, there is nothing to share."""
    if link is None or not settings.cache_ttl:
        return None
    records = RedisRecords(
        link,
        clocks,
        lifetime_seconds=settings.cache_ttl + settings.cache_stale,
        selection_seconds=selection_seconds(settings.cache_ttl),
        on_scope_dropped=store.delete_scope_before,
    )
    return SharedCache(link, clocks, records)


def _rate(settings: Settings, metrics: Metrics, log: FilteringBoundLogger, clock: Clock) -> ClientRateLimit:
    url = settings.client_rate_url.get_secret_value()
    return ClientRateLimit(settings.client_rate, url, metrics=metrics, log=log, clock=clock)


def create_configured() -> Gateway:
    """From the environment."""
    settings, spans = _checked(Settings.load), _traced()
    return _settled(_checked(lambda: create_app(settings, spans=spans)))


def create_demo() -> Gateway:
    """In front of the embedded LangSmith, which `serve --demo` has started."""
    # The demo needs no key and takes none of the gateway's own: it is in passthrough mode, whatever is configured.
    own = {"auth": "passthrough", "client_tokens": (), "allow_anonymous": False, "langsmith_api_key": None}
    settings = _checked(lambda: Settings.load(langsmith_endpoint=os.environ[DEMO_ENDPOINT], **own))
    spans = _traced()
    return _settled(_checked(lambda: create_app(settings, demo=True, spans=spans)))


def _settled(app: Gateway) -> Gateway:
    """What is in memory now stays until the end: a collection that looked through it all stops requests for 50 ms."""
    gc.collect()
    gc.freeze()
    return app


def _traced() -> Tracing:
    return _checked(lambda: create_tracing(os.environ))


def _checked(load: Callable[[], T]) -> T:
    """Says what is wrong with the settings in one line, and exits."""
    try:
        return load()
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")  # there is no log yet
        # A worker that ends with anything but uvicorn's own code is started again, for ever.
        raise SystemExit(2 if multiprocessing.parent_process() is None else 3) from None


def __getattr__(name: str) -> Any:
    """`app`, for `uvicorn app.main:app`; made when it is asked for, because importing decides nothing."""
    if name == "app":
        return create_configured()
    raise AttributeError(name)

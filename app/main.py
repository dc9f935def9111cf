"""create_app: assembles the rooms of the server, from the settings."""

import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

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
from app.http.persisted_queries import AutomaticPersistedQueries
from app.http.server import GatewayApp, create_http_app
from app.http.trusted_documents import TrustedDocuments
from app.langsmith.stack import UpstreamOptions, create_upstream
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

_BODY_TIMEOUT_SECONDS: Final = 10.0
DEMO_ENDPOINT: Final = "_SESSIONS_GATEWAY_DEMO"
"""Environment variable with the URL of the demo's embedded LangSmith, for the demo's worker processes."""


def create_app(
    settings: Settings,
    *,
    log: FilteringBoundLogger | None = None,
    clock: Clock = time.monotonic,
    wall: Clock = time.time,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    demo: bool = False,
    compiled: bool = True,
    body_timeout: float = _BODY_TIMEOUT_SECONDS,
    tracing: Tracing = NO_TRACING,
    owns_process: bool = False,
) -> GatewayApp:
    """The gateway as an ASGI app. Its lifespan must run: it closes connections and marks the gateway as ready.

    Args:
        settings: the gateway's settings.
        log: where to log; by default a log as the settings say.
        clock: monotonic seconds.
        wall: seconds since the epoch, on which the processes that share a Redis agree.
        now: the time of day, from which relative statistics windows are computed.
        demo: whether a request without a credential has the demo workspace's key.
        compiled: whether operations run as compiled plans; otherwise graphql-core executes all of them.
        body_timeout: seconds in which a request's body must arrive.
        tracing: traces operations and requests to LangSmith.
        owns_process: whether the app may decide when the process looks for garbage.

    Raises SettingsError if the trusted documents cannot be used.
    """
    log = log or create_log(settings.log_format, settings.log_level)
    metrics = Metrics()
    recorder = OperationRecorder(metrics, log, tracing)
    schema = create_schema()
    limits = OperationLimits(settings.max_tokens, settings.max_depth, settings.max_aliases, settings.max_cost)
    trusted_documents = _load_trusted_documents(settings, schema, limits)

    redis = _create_redis_connection(settings, metrics, log, clock)
    options = UpstreamOptions(
        endpoint=settings.langsmith_endpoint,
        timeout_seconds=settings.upstream_timeout,
        retries=settings.upstream_retries,
        concurrency=settings.upstream_concurrency,
        rate=settings.upstream_rate,
        version=None if settings.upstream_api == "auto" else settings.upstream_api,
        project_types=settings.upstream_project_types,
        max_requests_per_operation=settings.max_cost,
        has_one_tenant=settings.auth == "server" and len(settings.client_tokens) < 2,
    )
    upstream = create_upstream(options, redis=redis, metrics=metrics, log=log, clock=clock, wall=wall, tracing=tracing)

    freshness = FreshnessPolicy(settings.cache_ttl, settings.cache_stale)
    store = MemoryStore(settings.cache_max_bytes, lifetime_seconds=freshness.longest_seconds, clock=clock)
    shared = _create_shared_cache(settings, redis, store, Clocks(clock, wall))
    cache = PageCache(Fetcher(upstream, store, freshness, metrics, clock, shared, tracing))

    executor = Executor(
        schema,
        limits,
        cost_by(walks=lambda: upstream.tells_whether_rows_follow),
        Encoding(PLAIN, AS_ATTRIBUTE),
        introspection=settings.introspection,
        log=log,
        count=recorder.record_execution,
        compiled=compiled,
    )
    return create_http_app(
        settings,
        schema=schema,
        executor=executor,
        documents=trusted_documents or AutomaticPersistedQueries(redis, clock),
        cache=cache,
        recorder=recorder,
        metrics=metrics,
        log=log,
        clock=clock,
        now=now,
        body_timeout_seconds=body_timeout,
        demo=demo,
        is_traced=tracing.is_on,
        pages_held_bytes=lambda: store.held_bytes,
        owns_process=owns_process,
        closeables=[each for each in (cache, shared, upstream, redis, tracing) if each is not None],
    )


def _load_trusted_documents(settings: Settings, schema: Schema, limits: OperationLimits) -> TrustedDocuments | None:
    """The trusted documents; None without `GATEWAY_TRUSTED_DOCUMENTS`, when every valid document may run."""
    if not settings.trusted_documents:
        return None
    documents = DocumentCache(graphql_core_schema(schema), limits, introspection=settings.introspection)
    return TrustedDocuments.load(settings.trusted_documents, documents)


def _create_redis_connection(
    settings: Settings, metrics: Metrics, log: FilteringBoundLogger, clock: Clock
) -> RedisConnection | None:
    """None if the cache is in memory only."""
    url = settings.cache_url.get_secret_value()
    return None if url == MEMORY else RedisConnection(url, use="cache", metrics=metrics, log=log, clock=clock)


def _create_shared_cache(
    settings: Settings, connection: RedisConnection | None, store: MemoryStore, clocks: Clocks
) -> SharedCache | None:
    """None without a Redis, and if caching is switched off."""
    if connection is None or not settings.cache_ttl:
        return None
    records = RedisRecords(
        connection,
        clocks,
        lifetime_seconds=settings.cache_ttl + settings.cache_stale,
        selection_seconds=selection_seconds(settings.cache_ttl),
        on_scope_dropped=store.delete_scope_before,
    )
    return SharedCache(connection, clocks, records)


def create_app_from_environment() -> GatewayApp:
    """The gateway that the environment configures. Exits with one line on standard error if a setting is wrong."""
    settings, tracing = _exit_on_settings_error(Settings.load), _create_tracing()
    return _freeze_heap(_exit_on_settings_error(lambda: create_app(settings, tracing=tracing, owns_process=True)))


def create_demo() -> GatewayApp:
    """The gateway in front of the embedded LangSmith that `serve --demo` has started."""
    # The demo always passes credentials through, because the embedded LangSmith does not know the configured key.
    fixed = {"auth": "passthrough", "client_tokens": (), "allow_anonymous": False, "langsmith_api_key": None}
    settings = _exit_on_settings_error(lambda: Settings.load(langsmith_endpoint=os.environ[DEMO_ENDPOINT], **fixed))
    tracing = _create_tracing()
    return _freeze_heap(
        _exit_on_settings_error(lambda: create_app(settings, demo=True, tracing=tracing, owns_process=True))
    )


def _freeze_heap(app: GatewayApp) -> GatewayApp:
    """Exempt what is in memory now from garbage collection, which would stop requests for 50 ms to look through it."""
    gc.collect()
    gc.freeze()
    gc.enable()
    return app


def _create_tracing() -> Tracing:
    return _exit_on_settings_error(lambda: create_tracing(os.environ))


def _exit_on_settings_error(load: Callable[[], T]) -> T:
    """The result of `load`. If it raises SettingsError, write its line to standard error and exit."""
    try:
        return load()
    except SettingsError as exc:
        sys.stderr.write(f"{exc}\n")  # no log is configured yet
        # uvicorn restarts a worker forever, unless it exits with uvicorn's own code for a failed start, 3.
        raise SystemExit(2 if multiprocessing.parent_process() is None else 3) from None


def __getattr__(name: str) -> Any:
    """`app`, for `uvicorn app.main:app`: created on the first access, so that importing this module has no effect.

    Exits the process if a setting is wrong, as `create_app_from_environment` does.
    """
    if name == "app":
        return globals().setdefault("app", create_app_from_environment())
    raise AttributeError(name)

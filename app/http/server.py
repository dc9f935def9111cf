"""The HTTP server's app: FastAPI, and the middleware that each request passes before it reaches FastAPI."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry import Schema
from structlog.typing import FilteringBoundLogger

from app.cache.page_cache import PageCache
from app.execution import Executor
from app.http.auth import create_authenticator
from app.http.cached_answers import CachedAnswers
from app.http.client_rate_limit import ClientRateLimit
from app.http.compression import Compressor
from app.http.cors import AnyHeaderCORSMiddleware
from app.http.endpoint import GraphQLEndpoint
from app.http.graceful_shutdown import GRACEFUL_SHUTDOWN, GracefulShutdown, draining
from app.http.known_heads import KNOWN_HEADS, KnownHeads
from app.http.middleware import InternalErrorLog, PathRoute, RequestIdAndSecurityHeadersMiddleware
from app.http.persisted_queries import PersistedDocuments
from app.http.protocol_selection import use_in_running_server
from app.http.request_head import RequestHeadMiddleware
from app.http.response_cache import ResponseCache
from app.http.routes import create_routes
from app.http.web_pages import GraphiQLMiddleware, create_page_routes, page_data
from app.observability.metrics import Metrics
from app.observability.operation_log import OperationRecorder
from app.resilience.clock import Clock
from app.resilience.garbage_collection import GarbageCollection
from app.settings import Settings

GRAPHQL_PATH: Final = "/graphql"


class AsyncCloseable(Protocol):
    async def aclose(self) -> None: ...


class GatewayApp(FastAPI):
    """FastAPI inside a stack of middleware. `middleware`: in the order in which a request meets it.

    The middleware is around `FastAPI.__call__`, not in FastAPI's own stack, so that a request to the GraphQL endpoint
    costs nothing of FastAPI. `asgi_app` is the outermost middleware (Flask calls the same thing `wsgi_app`).
    """

    def __init__(self, middleware: Sequence[Middleware], *, log: FilteringBoundLogger, **options: Any) -> None:
        super().__init__(title="sessions-gateway", docs_url=None, redoc_url=None, openapi_url=None, **options)
        self.log = log
        self.asgi_app: ASGIApp = super().__call__
        for cls, args, kwargs in reversed(middleware):
            self.asgi_app = cls(self.asgi_app, *args, **kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.asgi_app(scope, receive, send)


def create_middleware(
    settings: Settings,
    endpoint: ASGIApp,
    web_page_data: Mapping[str, Any],
    shutdown: GracefulShutdown,
    compressor: Compressor,
    log: FilteringBoundLogger,
) -> list[Middleware]:
    """All middleware, in the order in which a request meets it. `web_page_data`: what their scripts need."""
    cors = Middleware(AnyHeaderCORSMiddleware, origins=settings.cors_origins)
    graphiql = Middleware(GraphiQLMiddleware, path=GRAPHQL_PATH, data=web_page_data, compressor=compressor)
    return [
        Middleware(InternalErrorLog, log),
        Middleware(RequestIdAndSecurityHeadersMiddleware, shutdown),
        *([cors] if settings.cors_origins else []),
        Middleware(RequestHeadMiddleware),
        *([graphiql] if settings.graphiql else []),
        Middleware(PathRoute, path=GRAPHQL_PATH, endpoint=endpoint),
    ]


def create_http_app(
    settings: Settings,
    *,
    schema: Schema,
    executor: Executor,
    documents: PersistedDocuments,
    cache: PageCache,
    recorder: OperationRecorder,
    metrics: Metrics,
    log: FilteringBoundLogger,
    clock: Clock,
    now: Callable[[], datetime],
    body_timeout_seconds: float,
    demo: bool,
    is_traced: bool,
    pages_held_bytes: Callable[[], int],
    owns_process: bool,
    closeables: Sequence[AsyncCloseable],
) -> GatewayApp:
    """The HTTP room, assembled.

    Args:
        settings: the gateway's settings.
        schema: the schema, for `/schema.graphql`.
        executor: runs operations.
        documents: resolves persisted documents.
        cache: cached pages of sessions.
        recorder: records each operation in log and metrics.
        metrics: the gateway's metrics, for `/metrics`.
        log: the gateway's log.
        clock: monotonic seconds.
        now: the time of day.
        body_timeout_seconds: time in which a request's body must arrive.
        demo: whether a request without a credential has the demo workspace's key.
        is_traced: whether each operation needs a span, so that no head may be known.
        pages_held_bytes: memory of the cached pages, for the metrics.
        owns_process: whether the app may decide when the process looks for garbage.
        closeables: what to close, in this order, when the app stops.
    """
    responses = ResponseCache(settings.responses_max_bytes, pages_expire_at=cache.expires_at, clock=clock)
    metrics.watch_cached_bytes(pages=pages_held_bytes, responses=lambda: responses.held_bytes)
    rate_limit = ClientRateLimit(
        settings.client_rate,
        settings.client_rate_url.get_secret_value(),
        proxies=settings.forwarded_allow_ips,
        metrics=metrics,
        log=log,
        clock=clock,
    )
    compressor = Compressor()
    answers = CachedAnswers(responses, compressor)
    endpoint = GraphQLEndpoint(
        executor=executor,
        documents=documents,
        authenticator=create_authenticator(settings, demo=demo),
        cache=cache,
        answers=answers,
        recorder=recorder,
        rate_limit=rate_limit,
        log=log,
        timeout_seconds=settings.upstream_timeout,
        body_timeout_seconds=body_timeout_seconds,
        origins=settings.cors_origins,
        explain=settings.explain,
        now=now,
        clock=clock,
    )
    shutdown = GracefulShutdown()
    garbage = GarbageCollection(lambda: metrics.operations_in_flight == 0, clock)
    operations = recorder.wrap(endpoint)
    # A request with a known head is neither counted by the rate limit nor traced.
    is_fast = settings.fast_path and not rate_limit.is_limited and not is_traced
    heads = KnownHeads(InternalErrorLog(operations, log), answers, recorder, shutdown) if is_fast else None
    is_started = False

    def is_ready() -> bool:
        return is_started and not shutdown.has_begun

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        nonlocal is_started
        is_started = True
        use_in_running_server(log)
        try:
            with draining(shutdown), garbage.running() if owns_process else contextlib.nullcontext():
                async with metrics.publishing():
                    yield {KNOWN_HEADS: heads, GRACEFUL_SHUTDOWN: shutdown}
        finally:
            is_started = False
            for part in (rate_limit, *closeables):
                await part.aclose()

    web_page_data = page_data(settings, demo=demo)
    return GatewayApp(
        create_middleware(settings, operations, web_page_data, shutdown, compressor, log),
        log=log,
        lifespan=lifespan,
        routes=[
            *create_page_routes(web_page_data, compressor),
            *create_routes(schema if settings.introspection else None, metrics, compressor, is_ready=is_ready),
        ],
    )

"""create_upstream: the client of LangSmith with its stack of transports. Only here is the order of the layers."""

import time
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.api_selection import ApiSelection
from app.langsmith.api_version import Version
from app.langsmith.circuit_breaker import CircuitBreakerTransport, FailFastTransport, create_circuit_breaker
from app.langsmith.client import LangSmithClient
from app.langsmith.concurrency_limit import ConcurrencyLimitTransport
from app.langsmith.connection_pool import create_connection_pool
from app.langsmith.http_message import Connections
from app.langsmith.http_transport import HttpTransport
from app.langsmith.known_positions import KnownPositions
from app.langsmith.rate_limit import RateLimitTransport, UpstreamRateLimit
from app.langsmith.retry import RetryTransport
from app.langsmith.v1 import V1
from app.langsmith.v2 import PROJECT_TYPES, V2
from app.langsmith.walker import Walker
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing
from app.redis.connection import RedisConnection
from app.resilience.clock import Clock, Clocks
from app.resilience.rate import Rate


@dataclass(frozen=True, kw_only=True)
class UpstreamOptions:
    """The settings of the upstream.

    endpoint: base URL of LangSmith, in any form that the vendor's SDK takes.
    timeout_seconds: time for one query, retries included.
    retries: tries beyond the first.
    concurrency: maximum number of requests in flight.
    rate: maximum number of requests for each credential; None for no limit of the gateway's own.
    version: the version of the API that is asked; None to find out.
    project_types: types of session that `referenceFree: true` means in version 2.
    max_requests_per_operation: number of requests that one operation may make.
    has_one_tenant: whether all clients share one identity, so that there is nobody to reserve places for.
    """

    endpoint: str
    timeout_seconds: float
    retries: int
    concurrency: int
    rate: Rate | None = None
    version: Version | None = None
    project_types: tuple[str, ...] = PROJECT_TYPES
    max_requests_per_operation: int = 0
    has_one_tenant: bool = False


def create_upstream(
    options: UpstreamOptions,
    *,
    redis: RedisConnection | None,
    metrics: Metrics,
    log: FilteringBoundLogger,
    clock: Clock,
    wall: Clock = time.time,
    tracing: Tracing = NO_TRACING,
    connections: Connections | None = None,
) -> LangSmithClient:
    """The client of LangSmith. Closing it closes its connections, but not the Redis.

    options: the settings of the upstream.
    redis: where the processes count their requests together; None if this process counts alone.
    metrics, log, tracing: where requests, failures and spans are reported.
    clock: monotonic seconds.
    wall: seconds since the epoch, on which the processes that share a Redis agree.
    connections: what takes the place of the gateway's own connection pool.
    """
    if connections is None:
        connections = create_connection_pool(options.concurrency)
    api_changes = ApiChangeReporter(metrics, log)
    breaker = create_circuit_breaker(clock, metrics, log)
    rate_limit = UpstreamRateLimit(options.rate, redis, metrics=metrics, log=log)

    # From the innermost layer to the outermost one.
    http = HttpTransport(
        connections,
        timeout_seconds=options.timeout_seconds,
        metrics=metrics,
        api_changes=api_changes,
        clock=clock,
        tracing=tracing,
    )
    permitted = CircuitBreakerTransport(http, breaker, timeout_seconds=options.timeout_seconds)
    limited = ConcurrencyLimitTransport(
        permitted,
        options.concurrency,
        max_requests_per_operation=options.max_requests_per_operation,
        has_one_tenant=options.has_one_tenant,
    )
    counted = RateLimitTransport(limited, rate_limit)
    failing_fast = FailFastTransport(counted, breaker)
    retrying = RetryTransport(failing_fast, retries=options.retries, clock=clock)

    metrics.watch_upstream(in_flight=lambda: limited.in_flight, waiting=lambda: limited.waiting)
    return LangSmithClient(
        retrying,
        endpoint=options.endpoint,
        versions={"v1": V1(), "v2": V2(options.project_types)},
        selection=ApiSelection(options.version, clock, metrics, log),
        walker=Walker(KnownPositions(redis, Clocks(clock, wall)), clock),
        timeout_seconds=options.timeout_seconds,
        rate_limit=rate_limit,
        api_changes=api_changes,
        connections=connections,
        log=log,
        clock=clock,
    )

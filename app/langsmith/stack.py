"""create_upstream: the client of LangSmith with its stack of transports. Only here is the order of the layers."""

from dataclasses import dataclass

import httpx
from structlog.typing import FilteringBoundLogger

from app.langsmith import v1
from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.circuit_breaker import CircuitBreakerTransport, FailFastTransport, create_circuit_breaker
from app.langsmith.client import LangSmithClient
from app.langsmith.concurrency_limit import ConcurrencyLimitTransport
from app.langsmith.connection_pool import create_connection_pool
from app.langsmith.http_transport import HttpTransport
from app.langsmith.rate_limit import RateLimitTransport, UpstreamRateLimit
from app.langsmith.retry import RetryTransport
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing
from app.redis.connection import RedisConnection
from app.resilience.clock import Clock
from app.resilience.rate import Rate


@dataclass(frozen=True, kw_only=True)
class UpstreamOptions:
    """The settings of the upstream.

    endpoint: base URL of LangSmith, in any form that the vendor's SDK takes.
    timeout_seconds: time for one query, retries included.
    retries: tries beyond the first.
    concurrency: maximum number of requests in flight.
    rate: maximum number of requests for each credential; None for no limit of the gateway's own.
    max_requests_per_operation: number of requests that one operation may make.
    has_one_tenant: whether all clients share one identity, so that there is nobody to reserve places for.
    """

    endpoint: str
    timeout_seconds: float
    retries: int
    concurrency: int
    rate: Rate | None = None
    max_requests_per_operation: int = 0
    has_one_tenant: bool = False


def create_upstream(
    options: UpstreamOptions,
    *,
    redis: RedisConnection | None,
    metrics: Metrics,
    log: FilteringBoundLogger,
    clock: Clock,
    tracing: Tracing = NO_TRACING,
    connections: httpx.AsyncBaseTransport | None = None,
) -> LangSmithClient:
    """The client of LangSmith. Closing it closes its connections, but not the Redis.

    options: the settings of the upstream.
    redis: where the processes count their requests together; None if this process counts alone.
    metrics, log, tracing: where requests, failures and spans are reported.
    clock: monotonic seconds.
    connections: an httpx transport in place of the gateway's own connection pool.
    """
    if connections is None:
        connections = create_connection_pool(options.concurrency)
    url = v1.sessions_url(options.endpoint)
    api_changes = ApiChangeReporter(metrics, log)
    breaker = create_circuit_breaker(clock, metrics, log)
    rate_limit = UpstreamRateLimit(options.rate, redis, metrics=metrics, log=log)

    # From the innermost layer to the outermost one.
    http = HttpTransport(
        connections,
        url,
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
        url=url,
        timeout_seconds=options.timeout_seconds,
        rate_limit=rate_limit,
        api_changes=api_changes,
        connections=connections,
        log=log,
        clock=clock,
    )

"""What is counted, for Prometheus. Labels come from closed sets only."""

import functools
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.operations = Counter(
            "gateway_operations",
            "Operations by outcome: ok, or the code of their first error.",
            ["outcome"],
            registry=self._registry,
        )
        self.operation_seconds = Histogram(
            "gateway_operation_seconds", "Time to answer an operation.", buckets=_SECONDS, registry=self._registry
        )
        self.executions = Counter(
            "gateway_executions",
            "Operations by how they ran: `plan`, or why graphql-core ran them.",
            ["by"],
            registry=self._registry,
        )
        self.cache = Counter(
            "gateway_cache_lookups", "Lookups in the page cache by outcome.", ["outcome"], registry=self._registry
        )
        self.upstream = Counter(
            "gateway_upstream_requests",
            "Requests to LangSmith by status, or how they failed.",
            ["status"],
            registry=self._registry,
        )
        self.upstream_seconds = Histogram(
            "gateway_upstream_request_seconds",
            "Time of one request to LangSmith.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.budget = Counter(
            "gateway_upstream_budget",
            "Requests to LangSmith by whether its rate limit let them pass.",
            ["outcome"],
            registry=self._registry,
        )
        self.breaker_open = Gauge(
            "gateway_upstream_breaker_open",
            "1 while LangSmith is left alone because it keeps failing.",
            registry=self._registry,
        )
        self.unknown_fields = Counter(
            "gateway_upstream_unknown_fields",
            "Fields in LangSmith's answers that this gateway does not know.",
            registry=self._registry,
        )
        self.deprecations = Counter(
            "gateway_upstream_deprecations",
            "Answers of LangSmith with a Deprecation or Sunset header.",
            registry=self._registry,
        )
        self.redis_up = Gauge(
            "gateway_redis_up",
            "0 while a Redis is left alone because it keeps failing, by what it is for.",
            ["use"],
            registry=self._registry,
        )
        self.redis_failures = Counter(
            "gateway_redis_failures",
            "What a Redis did not do, by what it is for and why.",
            ["use", "kind"],
            registry=self._registry,
        )
        self._held_bytes = Gauge("gateway_cache_bytes", "Bytes held by the page cache.", registry=self._registry)
        self._kept_bytes = Gauge("gateway_responses_bytes", "Bytes held by kept responses.", registry=self._registry)

        self.operations_by = functools.cache(self.operations.labels)
        self.executions_by = functools.cache(self.executions.labels)

    def watch_held_bytes(self, *, pages: Callable[[], int], responses: Callable[[], int]) -> None:
        self._held_bytes.set_function(pages)
        self._kept_bytes.set_function(responses)

    def as_text(self) -> bytes:
        return generate_latest(self._registry)

"""Prometheus metrics. Label values come from closed sets, so that no client can create time series.

With several worker processes, each worker writes its metrics to files in one directory, and each serves the totals of
all workers. prometheus_client chooses this mode when it is imported, by the variable `PROMETHEUS_MULTIPROC_DIR`.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

from app.errors import SettingsError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROCESS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the directory in which worker processes add up their metrics."""
_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PUBLISH_SECONDS: Final = 1.0
"""How often a worker writes its gauges for the other workers."""
_multiprocess: Final[Any] = multiprocess  # the module has no type annotations


class Metrics:
    """All metrics of one gateway, in a registry of its own. Other modules increment the attributes directly."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._directory = _multiprocess_directory()
        self._gauge_updates: list[Callable[[], None]] = []
        self.operations_in_flight = 0
        self.operations = Counter(
            "gateway_operations",
            "GraphQL operations by outcome: ok, cancelled (by the client), or the code of the first error.",
            ["outcome"],
            registry=self._registry,
        )
        self.operation_seconds = Histogram(
            "gateway_operation_seconds",
            "Seconds from the arrival of an operation to its response.",
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.first_part_seconds = Histogram(
            "gateway_operation_first_part_seconds",
            "Seconds from the arrival of an operation with deferred fragments to the first part of its answer.",
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.executions = Counter(
            "gateway_executions",
            "Executed operations and deferred fragments: plan (compiled), kept (from the response cache), or why "
            "graphql-core executed them.",
            ["by"],
            registry=self._registry,
        )
        self.cache_lookups = Counter(
            "gateway_cache_lookups", "Lookups in the page cache by outcome.", ["outcome"], registry=self._registry
        )
        self.upstream_requests = Counter(
            "gateway_upstream_requests",
            "Requests to LangSmith by HTTP status, or by the kind of failure.",
            ["status"],
            registry=self._registry,
        )
        self.upstream_request_seconds = Histogram(
            "gateway_upstream_request_seconds",
            "Seconds that a request to LangSmith takes.",
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.retries = Counter("gateway_upstream_retries", "Retries of requests to LangSmith.", registry=self._registry)
        self.upstream_rate_limit = Counter(
            "gateway_upstream_budget",
            "Requests to LangSmith by decision of the upstream rate limit: admitted, waited or refused.",
            ["outcome"],
            registry=self._registry,
        )
        self.upstream_api_v2 = Gauge(
            "gateway_upstream_api_v2",
            "1 while version 2 of LangSmith's API is asked, 0 while it is version 1.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.unknown_fields = Counter(
            "gateway_upstream_unknown_fields",
            "Fields in responses of LangSmith that this version of the gateway does not know.",
            registry=self._registry,
        )
        self.unknown_values = Counter(
            "gateway_upstream_unknown_values",
            "Values in responses of LangSmith that the enumeration of their field does not have, by field.",
            ["field"],
            registry=self._registry,
        )
        self.deprecations = Counter(
            "gateway_upstream_deprecations",
            "Responses of LangSmith with a Deprecation or Sunset header.",
            registry=self._registry,
        )
        self.redis_up = Gauge(
            "gateway_redis_up",
            "1 if Redis is available, 0 while its circuit breaker is open, by use of the Redis.",
            ["use"],
            registry=self._registry,
            multiprocess_mode="livemin",
        )
        self.redis_failures = Counter(
            "gateway_redis_failures",
            "Failed Redis commands, by use of the Redis and kind of failure.",
            ["use", "kind"],
            registry=self._registry,
        )
        self._add_gauge(
            "gateway_operations_under_way", "GraphQL operations in flight.", lambda: self.operations_in_flight
        )

        # Looking up a label costs several times as much as incrementing it.
        self.operations_by = functools.cache(self.operations.labels)
        self.executions_by = functools.cache(self.executions.labels)
        self.upstream_requests_by = functools.cache(self.upstream_requests.labels)
        self.cache_lookups_by = functools.cache(self.cache_lookups.labels)

    def watch_cached_bytes(self, *, pages: Callable[[], int], responses: Callable[[], int]) -> None:
        """Report the sizes of the page cache and of the response cache, in bytes, as these functions return them."""
        self._add_gauge("gateway_cache_bytes", "Bytes in the page cache.", pages)
        self._add_gauge("gateway_responses_bytes", "Bytes in the response cache.", responses)

    def watch_upstream(self, *, in_flight: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Report how many requests to LangSmith are in flight and how many wait, as these functions return them."""
        self._add_gauge("gateway_upstream_under_way", "Requests to LangSmith in flight.", in_flight)
        self._add_gauge(
            "gateway_upstream_waiting", "Requests to LangSmith that wait for the concurrency limit.", waiting
        )

    def watch_circuit_breaker(self, *, is_open: Callable[[], bool]) -> None:
        """Report whether the circuit breaker of LangSmith is open for anybody, as this function returns it."""
        self._add_gauge(
            "gateway_upstream_breaker_open",
            "1 while the circuit breaker stops requests to LangSmith, those of one tenant at least, because they keep "
            "failing.",
            is_open,
            mode="livemax",
        )

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Publish this worker's gauges to the other workers for as long as the context is open."""
        if self._directory is None:
            yield
            return
        task = asyncio.create_task(self._keep_updating_gauges())
        try:
            yield
        finally:
            task.cancel()
            _multiprocess.mark_process_dead(os.getpid(), str(self._directory))

    def as_text(self) -> bytes:
        """All metrics in the Prometheus text format: of this process, or totals over all workers."""
        if self._directory is None:
            return generate_latest(self._registry)
        self._update_gauges()
        _remove_gauges_of_dead_workers(self._directory)
        totals = CollectorRegistry()
        _multiprocess.MultiProcessCollector(totals, str(self._directory))
        return generate_latest(totals)

    def _add_gauge(
        self, name: str, description: str, read: Callable[[], int], *, mode: Literal["livesum", "livemax"] = "livesum"
    ) -> None:
        gauge = Gauge(name, description, registry=self._registry, multiprocess_mode=mode)
        if self._directory is None:
            gauge.set_function(read)
        else:
            # prometheus_client ignores gauge functions in multiprocess mode: only values in the files count.
            self._gauge_updates.append(lambda: gauge.set(read()))

    def _update_gauges(self) -> None:
        for update in self._gauge_updates:
            update()

    async def _keep_updating_gauges(self) -> None:
        while True:
            self._update_gauges()
            await asyncio.sleep(_PUBLISH_SECONDS)


def _multiprocess_directory() -> Path | None:
    if values.ValueClass is values.MutexValue:
        return None
    directory = Path(os.environ[MULTIPROCESS_DIRECTORY])
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(f"{MULTIPROCESS_DIRECTORY}: the directory cannot be used: {exc.strerror}.") from None
    return directory


def _remove_gauges_of_dead_workers(directory: Path) -> None:
    """Remove the gauges of workers that were killed; their counters stay in the totals."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            _multiprocess.mark_process_dead(pid, str(directory))
        except PermissionError:
            pass

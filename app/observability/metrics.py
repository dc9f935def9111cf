"""What is counted, for Prometheus. Labels come from closed sets only.

Where several workers serve, they count in files of one directory, and each shows the sum over all of them. The library
decides that when it is imported, by `PROMETHEUS_MULTIPROC_DIR`.
"""

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable with the directory that workers count in."""
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_MOMENT: Final = 1.0
"""Seconds until the other workers see what this one holds."""
_files: Final[Any] = multiprocess  # which has no types


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._directory = _directory()
        self._looks: list[Callable[[], None]] = []
        self.operations_in_flight = 0
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
        self.retries = Counter(
            "gateway_upstream_retries",
            "Requests to LangSmith that repeat one that failed.",
            registry=self._registry,
        )
        self.upstream_rate_limit = Counter(
            "gateway_upstream_budget",
            "Requests to LangSmith by whether its rate limit let them pass.",
            ["outcome"],
            registry=self._registry,
        )
        self.circuit_breaker_open = Gauge(
            "gateway_upstream_breaker_open",
            "1 while LangSmith is left alone because it keeps failing.",
            registry=self._registry,
            multiprocess_mode="livemax",
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
            multiprocess_mode="livemin",
        )
        self.redis_failures = Counter(
            "gateway_redis_failures",
            "What a Redis did not do, by what it is for and why.",
            ["use", "kind"],
            registry=self._registry,
        )
        self._look_at("gateway_operations_under_way", "Operations under way.", lambda: self.operations_in_flight)

        self.operations_by = functools.cache(self.operations.labels)
        self.executions_by = functools.cache(self.executions.labels)

    def watch_held_bytes(self, *, pages: Callable[[], int], responses: Callable[[], int]) -> None:
        self._look_at("gateway_cache_bytes", "Bytes held by the page cache.", pages)
        self._look_at("gateway_responses_bytes", "Bytes held by kept responses.", responses)

    def watch_upstream(self, *, under_way: Callable[[], int], waiting: Callable[[], int]) -> None:
        self._look_at("gateway_upstream_under_way", "Requests to LangSmith under way.", under_way)
        self._look_at("gateway_upstream_waiting", "Requests to LangSmith that wait until others have ended.", waiting)

    @contextlib.asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """While it serves: what one worker holds is seen by the others, and no longer when it has ended."""
        if self._directory is None:
            yield
            return
        looking = asyncio.create_task(self._look_again())
        try:
            yield
        finally:
            looking.cancel()
            _files.mark_process_dead(os.getpid(), str(self._directory))

    def as_text(self) -> bytes:
        if self._directory is None:
            return generate_latest(self._registry)
        self._look()
        _forget_the_dead(self._directory)
        everybody = CollectorRegistry()
        _files.MultiProcessCollector(everybody, str(self._directory))
        return generate_latest(everybody)

    def _look_at(self, name: str, what: str, count: Callable[[], int]) -> None:
        """A gauge of what is there now. In files, a value is what was written last."""
        gauge = Gauge(name, what, registry=self._registry, multiprocess_mode="livesum")
        if self._directory is None:
            gauge.set_function(count)
        else:
            self._looks.append(lambda: gauge.set(count()))

    def _look(self) -> None:
        for look in self._looks:
            look()

    async def _look_again(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(_MOMENT)


def _directory() -> Path | None:
    if values.ValueClass is values.MutexValue:
        return None
    directory = Path(os.environ[DIRECTORY])
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _forget_the_dead(directory: Path) -> None:
    """What a worker that was killed held is held no longer; what it counted stays."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in directory.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            _files.mark_process_dead(pid, str(directory))
        except PermissionError:
            pass

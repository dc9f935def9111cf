"""Two real workers under load: without Redis, with a real Redis, while that Redis is killed, and after its restart.

The workers share core 0; wrk, the fixed LangSmith and Redis share core 1.
"""

import http.client
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT
from tests.support.real_redis import RealRedis, real_redis

from . import nginx
from .contenders import OURS
from .load import Figures, measure
from .process import HEADERS, LOAD_CORE, PEER_CORE, Command, Running, free_port, running
from .workload import SCENARIOS, Cell, Kind

WORKERS: Final = 2
_CONNECTIONS: Final = 8
_PROBE_PAUSE: Final = 0.005
_NO_RESPONSES: Final = {"GATEWAY_RESPONSES_MAX_BYTES": "0"}
_LEGEND: Final = f"""{WORKERS} workers, {_CONNECTIONS} connections. *CPU* is the time per request in µs.
*longest* is the longest wait of a probe that runs next to wrk and pauses {_PROBE_PAUSE * 1000:g} ms after each answer.

| scene | Redis | requests/s | CPU | CPU of Redis | p50 ms | p99 ms | longest ms | upstream/s | failed |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True)
class Scene:
    """A kind of request, with the settings of the gateway that it needs."""

    name: str
    kind: Kind
    settings: Mapping[str, str]


SCENES: Final = (
    Scene("repeated", Kind.REPEATED, {}),
    Scene("cached", Kind.CACHED, _NO_RESPONSES),
    Scene("expired", Kind.CACHED, {**_NO_RESPONSES, "GATEWAY_CACHE_TTL": "0.1", "GATEWAY_CACHE_STALE": "0"}),
)


@dataclass(frozen=True)
class Row:
    """Figures of one load. `redis_cpu` is in microseconds per request, 0 without Redis; `longest` is in seconds."""

    scene: str
    redis: str
    figures: Figures
    redis_cpu: float = 0.0
    longest: float = 0.0


def measure_fleet(seconds: int) -> str:
    """Measure all scenes with loads of so many seconds, and return a table in Markdown."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        command = nginx.langsmith(folder / "langsmith", port)
        langsmith = stack.enter_context(running(command, port, folder / "langsmith.log", core=LOAD_CORE))
        redis = stack.enter_context(real_redis())
        move_to_load_core(redis)
        return as_markdown([row for scene in SCENES for row in _measure(scene, folder, langsmith, redis, seconds)])


def as_markdown(rows: list[Row]) -> str:
    return "\n".join([_LEGEND, *map(_as_line, rows)])


def _as_line(row: Row) -> str:
    figures = row.figures
    waits = f"{figures.p50 / 1000:.2f} | {figures.p99 / 1000:.2f} | {row.longest * 1000:.0f}"
    costs = f"{figures.per_second:.0f} | {figures.cpu:.0f} | {row.redis_cpu:.0f}"
    upstream = f"{figures.upstream_per_request * figures.per_second:.1f}"
    return f"| {row.scene} | {row.redis} | {costs} | {waits} | {upstream} | {figures.failed} |"


def _measure(scene: Scene, folder: Path, langsmith: Running, redis: RealRedis, seconds: int) -> Iterator[Row]:
    bodies = folder / f"{scene.name}.requests"
    bodies.write_text("".join(f"{body}\n" for body in Cell(SCENARIOS["10x3"], scene.kind).requests(OURS.dialect)))

    def load(gateway: Running, redis: str, seconds: int, meanwhile: Callable[[], None] = lambda: None) -> Row:
        with ThreadPoolExecutor(2) as pool:
            end = time.monotonic() + seconds
            probing = pool.submit(_longest_wait, gateway, bodies.read_text().splitlines(), end)
            loading = pool.submit(measure, gateway, bodies, langsmith, connections=_CONNECTIONS, seconds=seconds)
            meanwhile()
            return Row(scene.name, redis, loading.result(), longest=probing.result())

    def interrupt() -> None:
        """Kill Redis for the middle third of the load."""
        time.sleep(seconds)
        redis.kill()
        time.sleep(seconds)
        redis.start()
        move_to_load_core(redis)

    with _gateway(scene, folder, langsmith) as gateway:
        load(gateway, "", 2)
        yield load(gateway, "none", seconds)
    with _gateway(scene, folder, langsmith, GATEWAY_CACHE_URL=redis.url) as gateway:
        load(gateway, "", 2)
        before = _cpu(redis)
        row = load(gateway, "running", seconds)
        used = (_cpu(redis) - before) / (row.figures.per_second * seconds) * 1e6
        yield replace(row, redis_cpu=used)
        yield load(gateway, "killed and restarted", 3 * seconds, interrupt)
        yield load(gateway, "running again", seconds)


def _longest_wait(gateway: Running, bodies: list[str], end: float) -> float:
    """Send one request at a time until `end`, and return the longest wait for an answer in seconds."""
    longest = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        for body in itertools.cycle(bodies):
            sent_at = time.monotonic()
            if sent_at > end:
                return longest
            connection.request("POST", gateway.path, body, HEADERS)
            connection.getresponse().read()
            longest = max(longest, time.monotonic() - sent_at)
            time.sleep(_PROBE_PAUSE)
    finally:
        connection.close()
    return longest


@contextmanager
def _gateway(scene: Scene, folder: Path, langsmith: Running, **settings: str) -> Iterator[Running]:
    port = free_port()
    program = Path(sys.executable).with_name("sessions-gateway")
    argv = [str(program), "serve", "--port", str(port), "--workers", str(WORKERS)]
    env = {"LANGSMITH_ENDPOINT": langsmith.origin, "GATEWAY_LOG_FORMAT": "json", **scene.settings, **settings}
    with running(Command(argv, env, ROOT), port, folder / "gateway.log", core=PEER_CORE) as gateway:
        yield gateway


def move_to_load_core(redis: RealRedis) -> None:
    """Move Redis to the core of the load generator."""
    assert redis.process
    os.sched_setaffinity(redis.process.pid, {LOAD_CORE})


def _cpu(redis: RealRedis) -> float:
    """Seconds of CPU time that Redis has used."""
    assert redis.process
    return Running(redis.process, redis.port, "", Path()).cpu()

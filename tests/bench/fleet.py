"""Two real workers under load, with a real Redis between them and without, and what it costs when that Redis dies.

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

from . import fixed
from .contenders import OURS
from .load import Figures, measure
from .process import HEADERS, LOAD_CORE, PEER_CORE, Command, Running, free_port, running
from .workload import SCENARIOS, Cell, Kind

WORKERS: Final = 2
_CONNECTIONS: Final = 8
_PAUSE: Final = 0.005
_NO_RESPONSES: Final = {"GATEWAY_RESPONSES_MAX_BYTES": "0"}
_LEGEND: Final = f"""{WORKERS} workers, {_CONNECTIONS} connections. *CPU* is of one request, in µs;
*longest* is what one beside wrk waited at most, who asks anew {_PAUSE * 1000:g} ms after each answer.

| scene | Redis | requests/s | CPU | CPU of Redis | p50 ms | p99 ms | longest ms | upstream/s | failed |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


@dataclass(frozen=True)
class Scene:
    """What is asked, and the settings with which that is so."""

    name: str
    kind: Kind
    settings: Mapping[str, str]


SCENES: Final = (
    Scene("repeated", Kind.REPEATED, {}),
    Scene("held", Kind.HELD, _NO_RESPONSES),
    Scene("expired", Kind.HELD, {**_NO_RESPONSES, "GATEWAY_CACHE_TTL": "0.1", "GATEWAY_CACHE_STALE": "0"}),
)


@dataclass(frozen=True)
class Shown:
    """Of one load; `redis_cpu` in microseconds for one request, where there is a Redis; `longest` in seconds."""

    scene: str
    redis: str
    figures: Figures
    redis_cpu: float = 0.0
    longest: float = 0.0


def measured(seconds: int) -> str:
    """As Markdown."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        command = fixed.langsmith(folder / "langsmith", port)
        langsmith = stack.enter_context(running(command, port, folder / "langsmith.log", core=LOAD_CORE))
        redis = stack.enter_context(real_redis())
        _settle(redis)
        return as_markdown([shown for scene in SCENES for shown in _played(scene, folder, langsmith, redis, seconds)])


def as_markdown(shown: list[Shown]) -> str:
    return "\n".join([_LEGEND, *map(_as_row, shown)])


def _as_row(shown: Shown) -> str:
    of = shown.figures
    waits = f"{of.p50 / 1000:.2f} | {of.p99 / 1000:.2f} | {shown.longest * 1000:.0f}"
    costs = f"{of.per_second:.0f} | {of.cpu:.0f} | {shown.redis_cpu:.0f}"
    return f"| {shown.scene} | {shown.redis} | {costs} | {waits} | {of.asked * of.per_second:.1f} | {of.failed} |"


def _played(scene: Scene, folder: Path, langsmith: Running, redis: RealRedis, seconds: int) -> Iterator[Shown]:
    bodies = folder / f"{scene.name}.requests"
    bodies.write_text("".join(f"{body}\n" for body in Cell(SCENARIOS["10x3"], scene.kind).requests(OURS.dialect)))

    def load(gateway: Running, redis: str, seconds: int, meanwhile: Callable[[], None] = lambda: None) -> Shown:
        with ThreadPoolExecutor(2) as pool:
            end = time.monotonic() + seconds
            probing = pool.submit(_longest, gateway, bodies.read_text().splitlines(), end)
            loading = pool.submit(measure, gateway, bodies, langsmith, connections=_CONNECTIONS, seconds=seconds)
            meanwhile()
            return Shown(scene.name, redis, loading.result(), longest=probing.result())

    def interrupt() -> None:
        """Without a Redis for the middle third."""
        time.sleep(seconds)
        redis.kill()
        time.sleep(seconds)
        redis.start()
        _settle(redis)

    with _gateway(scene, folder, langsmith) as gateway:
        load(gateway, "", 2)
        yield load(gateway, "none", seconds)
    with _gateway(scene, folder, langsmith, GATEWAY_CACHE_URL=redis.url) as gateway:
        load(gateway, "", 2)
        before = _cpu(redis)
        shown = load(gateway, "there", seconds)
        used = (_cpu(redis) - before) / (shown.figures.per_second * seconds) * 1e6
        yield replace(shown, redis_cpu=used)
        yield load(gateway, "killed, and back", 3 * seconds, interrupt)
        yield load(gateway, "there again", seconds)


def _longest(gateway: Running, bodies: list[str], end: float) -> float:
    """Seconds that somebody waited who asks now and then."""
    longest = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    try:
        for body in itertools.cycle(bodies):
            began = time.monotonic()
            if began > end:
                return longest
            connection.request("POST", gateway.path, body, HEADERS)
            connection.getresponse().read()
            longest = max(longest, time.monotonic() - began)
            time.sleep(_PAUSE)
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


def _settle(redis: RealRedis) -> None:
    assert redis.process
    os.sched_setaffinity(redis.process.pid, {LOAD_CORE})


def _cpu(redis: RealRedis) -> float:
    """Seconds that it has used."""
    assert redis.process
    return Running(redis.process, redis.port, "", Path()).cpu()

"""Generates load with wrk, and measures the CPU time that it costs the contender."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import nginx
from .process import LOAD_CORE, Running, pinned

_SCRIPT: Final = Path(__file__).with_name("load.lua")


class LoadError(Exception):
    """wrk ended without a report."""


@dataclass(frozen=True)
class Figures:
    """Figures of one load. `cpu` (time per request), `p50` and `p99` (latencies) are in microseconds."""

    connections: int
    per_second: float
    cpu: float
    p50: float
    p99: float
    failed: int
    size: float
    """Mean bytes of an answer, headers included."""
    upstream_per_request: float
    """Requests that LangSmith received per request that was answered."""


def measure(contender: Running, bodies: Path, langsmith: Running, *, connections: int, seconds: float) -> Figures:
    """Put load on the contender, and return the figures. `bodies`: file of request bodies, one per line.

    Raises LoadError if wrk fails.
    """
    upstream_before, cpu_before = nginx.requests(langsmith), contender.cpu()
    reported = _wrk(contender.url, bodies, connections, seconds)
    cpu = contender.cpu() - cpu_before
    # nginx has counted the first reading of its counter by the time of the second.
    upstream = nginx.requests(langsmith) - upstream_before - 1
    requests = max(int(reported["requests"]), 1)
    return Figures(
        connections=connections,
        per_second=requests / reported["seconds"],
        cpu=cpu / requests * 1e6,
        p50=reported["p50"],
        p99=reported["p99"],
        failed=int(reported["failed"]),
        size=reported["bytes"] / requests,
        upstream_per_request=upstream / requests,
    )


def _wrk(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    # wrk accepts whole seconds only.
    options = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "20s", "-s", str(_SCRIPT)]
    # Each run starts at other offsets, so that no page is cached from the run before. An offset has to fit 32 bits.
    first_offset = str(int(time.time() * 100) % 10_000_000 * 100)
    done = subprocess.run(
        pinned(["wrk", *options, url, "--", str(bodies), first_offset], LOAD_CORE),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise LoadError((done.stdout + done.stderr).strip())
    reported: dict[str, float] = json.loads(lines[-1])
    return reported

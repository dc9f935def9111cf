"""Load by wrk, and what it cost the one who answered."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import fixed
from .process import LOAD_CORE, Running, pinned

_SCRIPT: Final = Path(__file__).with_name("load.lua")


class LoadError(Exception):
    """wrk did not report."""


@dataclass(frozen=True)
class Figures:
    """One stretch of load; `p50` and `p99` in microseconds, as `cpu` is, for one request."""

    connections: int
    per_second: float
    cpu: float
    p50: float
    p99: float
    failed: int
    size: float
    """Bytes of an answer, headers included."""
    asked: float
    """How many requests LangSmith got for one."""


def measure(contender: Running, bodies: Path, langsmith: Running, *, connections: int, seconds: float) -> Figures:
    asked, before = fixed.requests(langsmith), contender.cpu()
    found = _wrk(contender.url, bodies, connections, seconds)
    # The request that counts is counted the next time.
    used, asked = contender.cpu() - before, fixed.requests(langsmith) - asked - 1
    requests = max(int(found["requests"]), 1)
    return Figures(
        connections=connections,
        per_second=requests / found["seconds"],
        cpu=used / requests * 1e6,
        p50=found["p50"],
        p99=found["p99"],
        failed=int(found["failed"]),
        size=found["bytes"] / requests,
        asked=asked / requests,
    )


def _wrk(url: str, bodies: Path, connections: int, seconds: float) -> dict[str, float]:
    # wrk takes whole seconds only.
    options = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "20s", "-s", str(_SCRIPT)]
    # Runs never repeat each other's offsets, and an offset stays a 32-bit integer.
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
    found: dict[str, float] = json.loads(lines[-1])
    return found

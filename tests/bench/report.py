"""The report: a table for each cell, and the measured ratios next to their targets."""

import platform
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from .contenders import OURS, PEERS, STATIC, WITH_REDIS
from .load import Figures
from .workload import SCENARIOS, Kind

CONNECTIONS: Final = (1, 8, 64)
"""Numbers of connections of the loads."""
_COMPARED: Final = 8
"""The number of connections whose CPU time is compared."""


@dataclass
class Result:
    """Figures of one contender in one cell, from all rounds. `ready` is in seconds, `rss` in bytes."""

    ready: float
    rss: int = 0
    figures: list[Figures] = field(default_factory=list)

    def of(self, connections: int, pick: Callable[[Figures], float]) -> float:
        """Median of one figure over the loads with so many connections."""
        return median(pick(figures) for figures in self.figures if figures.connections == connections)

    @property
    def cpu(self) -> float:
        """CPU time per request in microseconds, at 8 connections."""
        return self.of(_COMPARED, lambda figures: figures.cpu)

    def ratios_to(self, ours: "Result") -> list[float]:
        """CPU time as a multiple of ours in each round, in ascending order. Loads of a round follow each other."""
        rounds = zip(self._cpu_of_rounds(), ours._cpu_of_rounds(), strict=False)
        return sorted(theirs / own for theirs, own in rounds)

    def _cpu_of_rounds(self) -> list[float]:
        return [figures.cpu for figures in self.figures if figures.connections == _COMPARED]

    @property
    def failed(self) -> int:
        return sum(figures.failed for figures in self.figures)


Results = Mapping[tuple[str, Kind], Mapping[str, Result]]
"""By scenario and kind, then by contender."""


@dataclass(frozen=True)
class Target:
    """A measured value with its target.

    `measured` is None if the run did not measure it. `against` names the contender of a ratio. `at_least` is true if
    more is better.
    """

    text: str
    required: float
    measured: float | None
    against: str = ""
    at_least: bool = True

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.required if self.at_least else self.measured <= self.required
        return "met" if met else "missed"


_LEGEND: Final = """# The gateway and its peers

Each figure is the median of all rounds; *1*, *8* and *64* are numbers of connections. *CPU* is the time per request, in
all threads and child processes; *to ours* is its ratio to ours at 8 connections, with the smallest and the largest
ratio of a round; *KB* is the size of an answer with its headers; *upstream* is the number of requests to LangSmith per
request; *RSS* is the memory after the run; *ready* is the time from the start to the first answer. Python is"""


def is_optimized() -> bool:
    """Whether this Python was built with profile-guided optimization (PGO).

    Debian's Python is, although its `CONFIG_ARGS` do not say so: they are those of the shared library.
    """
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return "--enable-optimizations" in options or "/usr/share/python-wheels" in options


def python_build() -> str:
    """Version and build of the Python that runs the gateway: `3.11.7, without PGO`."""
    return f"{platform.python_version()}, {'with' if is_optimized() else 'without'} PGO"


def as_markdown(results: Results, excluded: Mapping[str, str], notes: Iterable[str]) -> str:
    parts = [f"{_LEGEND} {python_build()}."]
    parts += [_cell(f"{scenario}, {kind}", cell) for (scenario, kind), cell in results.items() if cell]
    parts.append(_targets(targets(results)))
    if excluded:
        parts.append("## Excluded\n\n" + "\n".join(_reason(*each) for each in excluded.items()))
    lines = [f"- {note}" for note in notes]
    if lines:
        parts.append("## Notes\n\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def as_json(results: Results, excluded: Mapping[str, str], notes: Iterable[str]) -> dict[str, Any]:
    cells = [
        {
            "scenario": scenario,
            "kind": str(kind),
            "contender": name,
            "ready_seconds": result.ready,
            "rss_bytes": result.rss,
            "figures": [vars(each) for each in result.figures],
        }
        for (scenario, kind), cell in results.items()
        for name, result in cell.items()
    ]
    verdicts = [
        {"target": each.text, "required": each.required, "measured": each.measured, "verdict": each.verdict}
        for each in targets(results)
    ]
    return {
        "python": python_build(),
        "cells": cells,
        "targets": verdicts,
        "excluded": dict(excluded),
        "notes": list(notes),
    }


_REQUIRED: Final[Mapping[Kind, Mapping[str, tuple[float, float]]]] = {
    Kind.REPEATED: {"100xall": (15, 15), "100x3": (3.3, 3.7), "10x3": (2, 2.5)},
    Kind.CACHED: {"100xall": (4.5, 5), "100x3": (1.2, 1.4), "10x3": (0.9, 1.1)},
    Kind.MISS: {"100xall": (1.8, 2.3), "100x3": (1.4, 1.5), "10x3": (0.4, 0.5)},
}
"""CPU time of the cheapest peer as a multiple of ours: without PGO, and with it."""
_MAX_TAIL: Final = 5
"""p99 at 64 connections as a multiple of the median."""
_MAX_REDIS: Final = 1.25
"""CPU time of a miss with Redis as a multiple of one without."""


def targets(results: Results) -> list[Target]:
    """Targets of this run: ratios of CPU time per request, latencies, and memory and start-up time of one worker."""
    judged = [each for kind in _REQUIRED for each in _ratios(results, kind)]
    judged += [each for kind in (Kind.CACHED, Kind.MIXED) for each in _tails(results, kind)]
    kept, repeated = (results.get(("100xall", kind), {}) for kind in (Kind.KEPT_MISS, Kind.REPEATED))
    judged.append(_at_most("100xall kept-miss, with Redis to without", _MAX_REDIS, _ratio(kept, WITH_REDIS, OURS.name)))
    judged.append(_at_most("100xall repeated, ours to nginx's static file", 3, _ratio(repeated, OURS.name, STATIC)))
    # Where misses are kept, the memory is that of a full cache, which is a setting.
    ours = [cell[OURS.name] for (_, kind), cell in results.items() if kind in _REQUIRED and OURS.name in cell]
    rss = max((each.rss / 1e6 for each in ours), default=None)
    ready = median(each.ready for each in ours) if ours else None
    judged.append(_at_most("memory of one worker after a run, MB", 120, rss))
    judged.append(_at_most("seconds until ready", 0.8, ready))
    return judged


def _at_most(text: str, required: float, measured: float | None) -> Target:
    return Target(text, required, measured, at_least=False)


def _ratio(cell: Mapping[str, Result], name: str, other: str) -> float | None:
    return cell[name].cpu / cell[other].cpu if name in cell and other in cell else None


def _ratios(results: Results, kind: Kind) -> Iterable[Target]:
    """Targets by scenario: CPU time of the cheapest peer as a multiple of ours."""
    for scenario in SCENARIOS:
        cell = results.get((scenario, kind), {})
        peers = {each.name: cell[each.name].cpu for each in PEERS if each.name in cell and OURS.name in cell}
        best = min(peers, key=lambda name: peers[name], default="")
        required = _REQUIRED[kind][scenario][is_optimized()]
        yield Target(f"{scenario} {kind}, cheapest peer to ours", required, _ratio(cell, best, OURS.name), best)


def _tails(results: Results, kind: Kind) -> Iterable[Target]:
    for scenario in SCENARIOS:
        ours = results.get((scenario, kind), {}).get(OURS.name)
        tail = None
        if ours:
            tail = ours.of(64, lambda figures: figures.p99) / ours.of(64, lambda figures: figures.p50)
        yield _at_most(f"{scenario} {kind}, p99 to median at 64 connections", _MAX_TAIL, tail)


_COLUMNS: Final = (
    *(f"req/s, {count}" for count in CONNECTIONS),
    *(f"CPU µs, {count}" for count in CONNECTIONS),
    "to ours",
    *(f"{percentile} ms, {count}" for count in CONNECTIONS for percentile in ("p50", "p99")),
    *("KB", "upstream", "RSS MB", "ready s", "failed"),
)


def _cell(title: str, cell: Mapping[str, Result]) -> str:
    rows = [
        "| " + " | ".join(("", *_COLUMNS)) + " |",
        "|---|" + "--:|" * len(_COLUMNS),
    ]
    rows += [_row(name, result, cell.get(OURS.name)) for name, result in cell.items()]
    return f"## {title}\n\n" + "\n".join(rows)


def _row(name: str, result: Result, ours: Result | None) -> str:
    per_second = [f"{result.of(count, lambda figures: figures.per_second):.0f}" for count in CONNECTIONS]
    cpu = [f"{result.of(count, lambda figures: figures.cpu):.0f}" for count in CONNECTIONS]
    percentiles = (lambda figures: figures.p50, lambda figures: figures.p99)
    latency = [f"{result.of(count, percentile) / 1000:.2f}" for count in CONNECTIONS for percentile in percentiles]
    size = f"{result.of(_COMPARED, lambda figures: figures.size) / 1000:.1f}"
    upstream = f"{result.of(_COMPARED, lambda figures: figures.upstream_per_request):.2f}"
    rest = [size, upstream, f"{result.rss / 1e6:.0f}", f"{result.ready:.2f}", result.failed]
    cells = [name, *per_second, *cpu, _ratio_to(ours, result) if ours else "", *latency, *rest]
    return "| " + " | ".join(map(str, cells)) + " |"


def _ratio_to(ours: Result, result: Result) -> str:
    """The ratio of the medians, and its range: `1.52 (1.48 to 1.60)`."""
    if result is ours:
        return "1"
    ratios = result.ratios_to(ours)
    return f"{result.cpu / ours.cpu:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _reason(name: str, reason: str) -> str:
    first, *log = reason.splitlines()
    return "\n".join([f"- {name}: {first}", *(f"      {line}" for line in log)])


def _targets(judged: Iterable[Target]) -> str:
    rows = ["| target | required | measured | against | |", "|---|--:|--:|---|---|"]
    for each in judged:
        sign = "≥" if each.at_least else "≤"
        measured = "" if each.measured is None else f"{each.measured:.2f}"
        rows.append(f"| {each.text} | {sign} {each.required:g} | {measured} | {each.against} | {each.verdict} |")
    return "## Targets\n\n" + "\n".join(rows)

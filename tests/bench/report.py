"""The report: a table for each cell, and the measured ratios next to their targets."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from .contenders import OURS, PEERS, STATIC
from .load import Figures
from .workload import SCENARIOS, Kind


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
        return self.of(8, lambda figures: figures.cpu)

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

Each figure is the median of all rounds; *1* and *8* are numbers of connections. *CPU* is the time per request, in all
threads and child processes; *to ours* is its ratio to ours at 8 connections; *KB* is the size of an answer with its
headers; *upstream* is the number of requests to LangSmith per request; *RSS* is the memory after the run; *ready* is
the time from the start to the first answer."""


def as_markdown(results: Results, excluded: Mapping[str, str], notes: Iterable[str]) -> str:
    parts = [_LEGEND]
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
    return {"cells": cells, "targets": verdicts, "excluded": dict(excluded), "notes": list(notes)}


def targets(results: Results) -> list[Target]:
    """Targets of this run: ratios of CPU time per request, and memory and start-up time of one worker."""
    judged = [
        *_ratios(results, Kind.REPEATED, "best peer", _is_peer, {"100xall": 10, "100x3": 2.5, "10x3": 1.2}),
        *_ratios(results, Kind.CACHED, "best peer", _is_peer, {"100xall": 4, "100x3": 1.6, "10x3": 0.8}),
        *_ratios(results, Kind.MISS, "best Node peer", _is_node, {"100xall": 3, "100x3": 3, "10x3": 1.5}),
        *_ratios(results, Kind.MISS, "Tailcall", _is_tailcall, {"100xall": 1.2, "100x3": 1.2, "10x3": 0.4}),
    ]
    cell = results.get(("100xall", Kind.REPEATED), {})
    limit = cell[OURS.name].cpu / cell[STATIC].cpu if OURS.name in cell and STATIC in cell else None
    judged.append(Target("100xall repeated, ours to nginx's static file", 3, limit, STATIC, at_least=False))
    ours = [each[OURS.name] for each in results.values() if OURS.name in each]
    rss = max((each.rss for each in ours), default=None)
    ready = median(each.ready for each in ours) if ours else None
    judged.append(
        Target("memory of one worker after a run, MB", 120, None if rss is None else rss / 1e6, at_least=False)
    )
    judged.append(Target("seconds until ready", 1.5, ready, at_least=False))
    return judged


def _ratios(
    results: Results, kind: Kind, rival: str, is_rival: Callable[[str], bool], required: Mapping[str, float]
) -> Iterable[Target]:
    """Targets by scenario: CPU time of the best rival as a multiple of ours."""
    for scenario in SCENARIOS:
        cell = results.get((scenario, kind), {})
        rivals = {name: result.cpu for name, result in cell.items() if is_rival(name)}
        best = min(rivals, key=lambda name: rivals[name]) if rivals and OURS.name in cell else ""
        measured = rivals[best] / cell[OURS.name].cpu if best else None
        yield Target(f"{scenario} {kind}, {rival} to ours", required[scenario], measured, best)


def _is_peer(name: str) -> bool:
    return any(each.name == name for each in PEERS)


def _is_node(name: str) -> bool:
    return any(each.name == name and each.is_node for each in PEERS)


def _is_tailcall(name: str) -> bool:
    return name == "tailcall"


_COLUMNS: Final = (
    *("req/s, 1", "req/s, 8", "CPU µs, 1", "CPU µs, 8", "to ours"),
    *("p50 ms, 1", "p99 ms, 1", "p50 ms, 8", "p99 ms, 8"),
    *("KB", "upstream", "RSS MB", "ready s", "failed"),
)


def _cell(title: str, cell: Mapping[str, Result]) -> str:
    ours = cell[OURS.name].cpu if OURS.name in cell else None
    rows = [
        "| " + " | ".join(("", *_COLUMNS)) + " |",
        "|---|" + "--:|" * len(_COLUMNS),
    ]
    rows += [_row(name, result, ours) for name, result in cell.items()]
    return f"## {title}\n\n" + "\n".join(rows)


def _row(name: str, result: Result, ours: float | None) -> str:
    per_second = [f"{result.of(count, lambda figures: figures.per_second):.0f}" for count in (1, 8)]
    cpu = [f"{result.of(count, lambda figures: figures.cpu):.0f}" for count in (1, 8)]
    percentiles = (lambda figures: figures.p50, lambda figures: figures.p99)
    latency = [f"{result.of(count, percentile) / 1000:.2f}" for count in (1, 8) for percentile in percentiles]
    ratio = f"{result.cpu / ours:.2f}" if ours else ""
    size = f"{result.of(8, lambda figures: figures.size) / 1000:.1f}"
    upstream = f"{result.of(8, lambda figures: figures.upstream_per_request):.2f}"
    rest = [size, upstream, f"{result.rss / 1e6:.0f}", f"{result.ready:.2f}", result.failed]
    cells = [name, *per_second, *cpu, ratio, *latency, *rest]
    return "| " + " | ".join(map(str, cells)) + " |"


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

"""What is printed: a table for each cell, and the ratios beside what was wanted of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from .contenders import OURS, PEERS, STATIC
from .load import Figures
from .workload import SCENARIOS, Kind


@dataclass
class Result:
    """What one contender showed in one cell; `figures` are of all rounds, memory is in bytes."""

    ready: float
    rss: int = 0
    figures: list[Figures] = field(default_factory=list)

    def of(self, connections: int, pick: Callable[[Figures], float]) -> float:
        return median(pick(each) for each in self.figures if each.connections == connections)

    @property
    def cpu(self) -> float:
        """Microseconds for one request, at 8 connections."""
        return self.of(8, lambda each: each.cpu)

    @property
    def failed(self) -> int:
        return sum(each.failed for each in self.figures)


Results = Mapping[tuple[str, Kind], Mapping[str, Result]]
"""By scenario and kind, then by contender."""


@dataclass(frozen=True)
class Target:
    """`measured` is None where it was not measured. `at_least`: more is better."""

    text: str
    wanted: float
    measured: float | None
    against: str = ""
    at_least: bool = True

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.wanted if self.at_least else self.measured <= self.wanted
        return "met" if met else "missed"


_LEGEND: Final = """# The gateway and its peers

Each figure is the median of all rounds; *1* and *8* are connections. *CPU* is the time of one request, with all threads
and children; *to ours* compares it at 8 connections; *KB* is an answer with its headers; *asked* is how many requests
LangSmith got for one; *RSS* is after the run; *ready* is from the start to the first answer."""


def as_markdown(results: Results, left_out: Mapping[str, str], notes: Iterable[str]) -> str:
    parts = [_LEGEND]
    parts += [_cell(f"{scenario}, {kind}", found) for (scenario, kind), found in results.items() if found]
    parts.append(_targets(targets(results)))
    if left_out:
        parts.append("## Left out\n\n" + "\n".join(_reason(*each) for each in left_out.items()))
    said = list(notes)
    if said:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in said))
    return "\n\n".join(parts) + "\n"


def as_json(results: Results, left_out: Mapping[str, str], notes: Iterable[str]) -> dict[str, Any]:
    cells = [
        {
            "scenario": scenario,
            "kind": str(kind),
            "contender": name,
            "ready_seconds": result.ready,
            "rss_bytes": result.rss,
            "figures": [vars(each) for each in result.figures],
        }
        for (scenario, kind), found in results.items()
        for name, result in found.items()
    ]
    judged = [
        {"target": each.text, "wanted": each.wanted, "measured": each.measured, "verdict": each.verdict}
        for each in targets(results)
    ]
    return {"cells": cells, "targets": judged, "left_out": dict(left_out), "notes": list(notes)}


def targets(results: Results) -> list[Target]:
    """CPU time per request within this run, as ratios, and what one worker of ours takes."""
    found = [
        *_ratios(results, Kind.REPEATED, "best peer", _is_peer, {"100xall": 10, "100x3": 2.5, "10x3": 1.2}),
        *_ratios(results, Kind.HELD, "best peer", _is_peer, {"100xall": 4, "100x3": 1.6, "10x3": 0.8}),
        *_ratios(results, Kind.MISS, "best Node peer", _is_node, {"100xall": 3, "100x3": 3, "10x3": 1.5}),
        *_ratios(results, Kind.MISS, "Tailcall", _is_tailcall, {"100xall": 1.2, "100x3": 1.2, "10x3": 0.4}),
    ]
    cell = results.get(("100xall", Kind.REPEATED), {})
    limit = cell[OURS.name].cpu / cell[STATIC].cpu if OURS.name in cell and STATIC in cell else None
    found.append(Target("100xall repeated, ours to nginx's static file", 3, limit, STATIC, at_least=False))
    ours = [each[OURS.name] for each in results.values() if OURS.name in each]
    rss = max((each.rss for each in ours), default=None)
    ready = median(each.ready for each in ours) if ours else None
    found.append(
        Target("memory of one worker after a run, MB", 120, None if rss is None else rss / 1e6, at_least=False)
    )
    found.append(Target("seconds until ready", 1.5, ready, at_least=False))
    return found


def _ratios(
    results: Results, kind: Kind, whom: str, counts: Callable[[str], bool], wanted: Mapping[str, float]
) -> Iterable[Target]:
    for scenario in SCENARIOS:
        cell = results.get((scenario, kind), {})
        rivals = {name: result.cpu for name, result in cell.items() if counts(name)}
        best = min(rivals, key=lambda name: rivals[name]) if rivals and OURS.name in cell else ""
        measured = rivals[best] / cell[OURS.name].cpu if best else None
        yield Target(f"{scenario} {kind}, {whom} to ours", wanted[scenario], measured, best)


def _is_peer(name: str) -> bool:
    return any(each.name == name for each in PEERS)


def _is_node(name: str) -> bool:
    return any(each.name == name and each.is_node for each in PEERS)


def _is_tailcall(name: str) -> bool:
    return name == "tailcall"


_COLUMNS: Final = (
    *("req/s, 1", "req/s, 8", "CPU µs, 1", "CPU µs, 8", "to ours"),
    *("p50 ms, 1", "p99 ms, 1", "p50 ms, 8", "p99 ms, 8"),
    *("KB", "asked", "RSS MB", "ready s", "failed"),
)


def _cell(title: str, found: Mapping[str, Result]) -> str:
    ours = found[OURS.name].cpu if OURS.name in found else None
    rows = [
        "| " + " | ".join(("", *_COLUMNS)) + " |",
        "|---|" + "--:|" * len(_COLUMNS),
    ]
    rows += [_row(name, result, ours) for name, result in found.items()]
    return f"## {title}\n\n" + "\n".join(rows)


def _row(name: str, result: Result, ours: float | None) -> str:
    per_second = [f"{result.of(each, lambda one: one.per_second):.0f}" for each in (1, 8)]
    cpu = [f"{result.of(each, lambda one: one.cpu):.0f}" for each in (1, 8)]
    latency = [
        f"{result.of(each, pick) / 1000:.2f}" for each in (1, 8) for pick in (lambda one: one.p50, lambda one: one.p99)
    ]
    ratio = f"{result.cpu / ours:.2f}" if ours else ""
    size = f"{result.of(8, lambda one: one.size) / 1000:.1f}"
    asked = f"{result.of(8, lambda one: one.asked):.2f}"
    rest = [size, asked, f"{result.rss / 1e6:.0f}", f"{result.ready:.2f}", result.failed]
    cells = [name, *per_second, *cpu, ratio, *latency, *rest]
    return "| " + " | ".join(map(str, cells)) + " |"


def _reason(name: str, reason: str) -> str:
    first, *log = reason.splitlines()
    return "\n".join([f"- {name}: {first}", *(f"      {line}" for line in log)])


def _targets(found: Iterable[Target]) -> str:
    rows = ["| target | wanted | measured | against | |", "|---|--:|--:|---|---|"]
    for each in found:
        sign = "≥" if each.at_least else "≤"
        measured = "" if each.measured is None else f"{each.measured:.2f}"
        rows.append(f"| {each.text} | {sign} {each.wanted:g} | {measured} | {each.against} | {each.verdict} |")
    return "## Targets\n\n" + "\n".join(rows)

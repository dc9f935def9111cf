"""The figures of a session, each computed from its runs, and remembered for a while."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import fsum, sqrt
from typing import Any

from .moment import SECOND
from .run import DOLLAR, Feedback, Run
from .session import Session

Figure = Callable[[Session, Sequence[Run]], Any]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which runs count: those started from `since` up to `until` that `chosen` accepts (`filter` is its text)."""

    since: int | None
    until: int
    filter: str | None = None
    chosen: Callable[[Run], bool] | None = None


class Statistics:
    """Figures by session and counted runs; what was computed before is not computed again."""

    def __init__(self, size: int = 8192) -> None:
        self._size = size
        self._known: dict[tuple[object, ...], dict[str, Any]] = {}

    def of(self, session: Session, window: Window, names: Iterable[str]) -> dict[str, Any]:
        places = session.runs.places(window.since, window.until)
        known = self._remembered((session.id, places, window.filter))
        wanted = list(names)
        missing = [name for name in wanted if name not in known]
        if missing:
            runs: Sequence[Run] = session.runs.all[slice(*places)]
            if window.chosen is not None:
                runs = [run for run in runs if window.chosen(run)]
            known.update((name, _FIGURES[name](session, runs)) for name in missing)
        return {name: known[name] for name in wanted}

    def _remembered(self, key: tuple[object, ...]) -> dict[str, Any]:
        known = self._known[key] = self._known.pop(key, {})
        while len(self._known) > self._size:
            del self._known[next(iter(self._known))]
        return known


def feedback_stats(feedback: Iterable[Feedback], *, old_style: bool) -> dict[str, Any]:
    by_key: dict[str, list[Feedback]] = {}
    for verdict in feedback:
        by_key.setdefault(verdict.key, []).append(verdict)
    return {key: _feedback_stat(by_key[key], old_style=old_style) for key in sorted(by_key)}


def _feedback_stat(verdicts: list[Feedback], *, old_style: bool) -> dict[str, Any]:
    scores = sorted(verdict.score for verdict in verdicts if verdict.score is not None)
    labels = Counter(verdict.value for verdict in verdicts if verdict.value is not None)
    sources = sorted({verdict.source for verdict in verdicts})
    mean = fsum(scores) / len(scores) if scores else 0.0
    # Assumed: `n` counts scores, not labels, and `stdev` is that of the whole population.
    stat = {
        "n": len(scores),
        "avg": round(mean, 6) if scores else None,
        "stdev": round(sqrt(fsum((score - mean) ** 2 for score in scores) / len(scores)), 6) if scores else None,
        "errors": sum(verdict.failed for verdict in verdicts),
        "values": dict(sorted(labels.items())),
        "min": scores[0] if scores else None,
        "max": scores[-1] if scores else None,
        "median": _quantile(scores, 0.5),
        "comments": list(dict.fromkeys(verdict.comment for verdict in verdicts if verdict.comment)),
        "sources": sources if old_style else [{"type": source} for source in sources],
    }
    return stat if old_style else stat | {"contains_thread_feedback": False}


def _run_facets(_: Session, runs: Sequence[Run]) -> list[dict[str, Any]]:
    # Assumed: a facet is one value of one run field, with the run filter that picks it and how many it picks.
    counts = Counter(("name", run.name) for run in runs)
    counts.update(("run_type", run.run_type) for run in runs)
    counts.update(("tags", tag) for run in runs for tag in run.tags)
    return [
        {"key": key, "value": value, "query": f'{"has" if key == "tags" else "eq"}({key}, "{value}")', "n": n}
        for (key, value), n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 6)


def _latency(share: float) -> Figure:
    return lambda _, runs: _quantile(sorted(run.latency / SECOND for run in runs), share)


def _first_token(share: float) -> Figure:
    return lambda _, runs: _quantile(
        sorted(run.first_token / SECOND for run in runs if run.first_token is not None), share
    )


def _cost(billionths: int) -> Decimal | None:
    # Assumed: what cost nothing has no cost, rather than a cost of zero.
    return Decimal(billionths) / DOLLAR if billionths else None


def _rate(runs: Sequence[Run], claim: Callable[[Run], bool]) -> float | None:
    return sum(map(claim, runs)) / len(runs) if runs else None


# Assumed: without runs a count is 0, and a percentile, a rate or a time is null.
STATISTICS: Mapping[str, Figure] = {
    "run_count": lambda _, runs: len(runs),
    "latency_p50": _latency(0.50),
    "latency_p99": _latency(0.99),
    "first_token_p50": _first_token(0.50),
    "first_token_p99": _first_token(0.99),
    "total_tokens": lambda _, runs: sum(run.prompt_tokens + run.completion_tokens for run in runs),
    "prompt_tokens": lambda _, runs: sum(run.prompt_tokens for run in runs),
    "completion_tokens": lambda _, runs: sum(run.completion_tokens for run in runs),
    "total_cost": lambda _, runs: _cost(sum(run.prompt_cost + run.completion_cost for run in runs)),
    "prompt_cost": lambda _, runs: _cost(sum(run.prompt_cost for run in runs)),
    "completion_cost": lambda _, runs: _cost(sum(run.completion_cost for run in runs)),
    "last_run_start_time": lambda session, runs: session.as_text(runs[-1].started) if runs else None,
    "feedback_stats": lambda session, runs: feedback_stats(
        (verdict for run in runs for verdict in run.feedback), old_style=session.old_style
    ),
    # Assumed: no window and no run filter narrows the feedback that a session itself has.
    "session_feedback_stats": lambda session, _: feedback_stats(session.feedback, old_style=session.old_style),
    "error_rate": lambda _, runs: _rate(runs, lambda run: run.error is not None),
    "streaming_rate": lambda _, runs: _rate(runs, lambda run: run.streaming),
}

FACETS = ("run_facets",)

_FIGURES: Mapping[str, Figure] = {**STATISTICS, FACETS[0]: _run_facets}

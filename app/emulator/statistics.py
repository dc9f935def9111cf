"""Statistics of sessions, computed from their runs and cached."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import fsum, sqrt
from typing import Any

from app.emulator.run import DOLLAR, Feedback, Run
from app.emulator.session import Session
from app.emulator.timestamps import SECOND

Statistic = Callable[[Session, Sequence[Run]], Any]


@dataclass(frozen=True, kw_only=True)
class RunWindow:
    """The runs that statistics are computed from.

    Args:
        since: Timestamp of the earliest start; None for all earlier runs.
        until: Timestamp of the latest start.
        filter: Text of the run filter.
        matches: Predicate of the run filter.
    """

    since: int | None
    until: int
    filter: str | None = None
    matches: Callable[[Run], bool] | None = None


class Statistics:
    """Computes statistics, and caches them by session and runs. `size` is the number of entries of the cache."""

    def __init__(self, size: int = 8192) -> None:
        self._size = size
        self._cache: dict[tuple[object, ...], dict[str, Any]] = {}

    def compute(self, session: Session, window: RunWindow, names: Iterable[str]) -> dict[str, Any]:
        """Statistics and facets of a session in a window, by name in the given order.

        Costs are decimals, times are timestamps, and feedback has all parts that either version of the API sends.
        """
        run_range = session.runs.range_of(window.since, window.until)
        cached = self._cached((session.id, run_range, window.filter))
        requested = list(names)
        missing = [name for name in requested if name not in cached]
        if missing:
            runs: Sequence[Run] = session.runs.all[slice(*run_range)]
            if window.matches is not None:
                runs = [run for run in runs if window.matches(run)]
            cached.update((name, _COMPUTED[name](session, runs)) for name in missing)
        return {name: cached[name] for name in requested}

    def _cached(self, key: tuple[object, ...]) -> dict[str, Any]:
        """The cache entry of a key, which becomes the most recently used; an empty new one if there is none."""
        cached = self._cache[key] = self._cache.pop(key, {})
        while len(self._cache) > self._size:
            del self._cache[next(iter(self._cache))]
        return cached


def feedback_stats(feedback: Iterable[Feedback]) -> dict[str, Any]:
    """Aggregated feedback by key, as LangSmith's columns `feedback_stats` and `session_feedback_stats` have it."""
    by_key: dict[str, list[Feedback]] = {}
    for each in feedback:
        by_key.setdefault(each.key, []).append(each)
    return {key: _feedback_stat(by_key[key]) for key in sorted(by_key)}


def _feedback_stat(group: list[Feedback]) -> dict[str, Any]:
    scores = sorted(each.score for each in group if each.score is not None)
    labels = Counter(each.value for each in group if each.value is not None)
    mean = fsum(scores) / len(scores) if scores else 0.0
    # Assumed (feedback-numbers): `n` counts scores, not labels, and `stdev` is the population standard deviation.
    return {
        "n": len(scores),
        "avg": round(mean, 6) if scores else None,
        "stdev": round(sqrt(fsum((score - mean) ** 2 for score in scores) / len(scores)), 6) if scores else None,
        "errors": sum(each.failed for each in group),
        "values": dict(sorted(labels.items())),
        "min": scores[0] if scores else None,
        "max": scores[-1] if scores else None,
        "median": _quantile(scores, 0.5),
        "comments": list(dict.fromkeys(each.comment for each in group if each.comment)),
        "sources": sorted({each.source for each in group}),
        "contains_thread_feedback": False,
    }


def _run_facets(_: Session, runs: Sequence[Run]) -> list[dict[str, Any]]:
    # Assumed (facet-items): a facet is one value of one run field, with the filter that finds its runs and their
    # number.
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
    position = (len(ordered) - 1) * share
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return round(ordered[low] + (ordered[high] - ordered[low]) * (position - low), 6)


def _latency(share: float) -> Statistic:
    return lambda _, runs: _quantile(sorted(run.latency / SECOND for run in runs), share)


def _first_token(share: float) -> Statistic:
    return lambda _, runs: _quantile(
        sorted(run.first_token / SECOND for run in runs if run.first_token is not None), share
    )


def _cost(billionths: int) -> Decimal | None:
    # Assumed (cost-without-costs): the cost of runs without a cost is null, not zero.
    return Decimal(billionths) / DOLLAR if billionths else None


def _rate(runs: Sequence[Run], predicate: Callable[[Run], bool]) -> float | None:
    return sum(map(predicate, runs)) / len(runs) if runs else None


# Assumed (statistics-without-runs): without runs, a count is 0; a percentile, a rate and a time are null.
STATISTICS: Mapping[str, Statistic] = {
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
    "last_run_start_time": lambda _, runs: runs[-1].started if runs else None,
    "feedback_stats": lambda _, runs: feedback_stats(each for run in runs for each in run.feedback),
    # Assumed (session-feedback): windows and run filters do not apply to the feedback of the session itself.
    "session_feedback_stats": lambda session, _: feedback_stats(session.feedback),
    "error_rate": lambda _, runs: _rate(runs, lambda run: run.error is not None),
    "streaming_rate": lambda _, runs: _rate(runs, lambda run: run.streaming),
}

FACETS = ("run_facets",)

_COMPUTED: Mapping[str, Statistic] = {**STATISTICS, FACETS[0]: _run_facets}

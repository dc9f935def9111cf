"""Probes of statistics: how they are selected, filtered, sorted by and sent. Each judges the answers of one version."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.doctor.answers import Evidence, NoEvidenceError
from app.doctor.survey import SELECTED, sample_names
from app.doctor.verdict import Verdict, differs, holds
from app.sessions.fields import STATS

_COSTS: Final = ("total_cost", "prompt_cost", "completion_cost")
_SLOW_SECONDS: Final = 2.0
_OTHERS: Final = STATS - {SELECTED}
_NO_RUNS: Final = "no runs to tell by"

_Rows = Iterable[Mapping[str, Any]]


def judge_stats_select(evidence: Evidence) -> Verdict:
    answer = evidence.answer("selected")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    others = _filled(evidence.rows("statistics")) & _OTHERS
    if not others:
        raise NoEvidenceError(_NO_RUNS)
    still = _filled(answer.rows) & others
    return differs(f"{len(still)} others are sent too") if still else holds(f"{len(others)} others are not sent")


def judge_stats_select_names(evidence: Evidence) -> Verdict:
    rows = evidence.rows("selected")
    if SELECTED not in _filled(evidence.rows("statistics")):
        raise NoEvidenceError(_NO_RUNS)
    return holds(f"`{SELECTED}` is sent") if SELECTED in _filled(rows) else differs(f"`{SELECTED}` is not sent")


def judge_stats_select_refusal(evidence: Evidence) -> Verdict:
    answer = evidence.answer("selected")
    if answer.rows is not None:
        raise NoEvidenceError("not refused")
    named = answer.names_stats_select
    return holds(f"named ({answer.status})") if named else differs(f"not named ({answer.status})")


def judge_unselected_null(evidence: Evidence) -> Verdict:
    rows = evidence.rows("selected")
    if not rows or _filled(rows) & _OTHERS:
        raise NoEvidenceError("no statistic is unselected")
    absent = {name for name in _OTHERS if any(name not in row for row in rows)}
    return differs(f"{len(absent)} of {len(_OTHERS)} are absent") if absent else holds("null")


def judge_facets_without_statistics(evidence: Evidence) -> Verdict:
    answer = evidence.answer("facets")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    if _has_facets(answer.rows):
        return holds("sent")
    if _has_facets(evidence.rows("facets-again")):
        return differs("sent with statistics only")
    raise NoEvidenceError("no facets at all")


def judge_sort_without_statistics(evidence: Evidence) -> Verdict:
    answer = evidence.answer("by-statistic")
    return differs(f"refused ({answer.status})") if answer.rows is None else holds("answered")


def judge_run_count_order(evidence: Evidence) -> Verdict:
    answer = evidence.answer("by-run-count")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    counts = [count for row in answer.rows if isinstance(count := row.get(SELECTED), int)]
    if len(set(counts)) < 2:
        raise NoEvidenceError(_NO_RUNS)
    return holds("sorted") if counts == sorted(counts, reverse=True) else differs("taken, but in another order")


def judge_early_window(evidence: Evidence) -> Verdict:
    answer = evidence.answer("early-window")
    return holds(f"refused ({answer.status})") if answer.rows is None else differs("answered for 40 days")


def judge_run_time_filter(evidence: Evidence) -> Verdict:
    answer = evidence.answer("run-times")
    if answer.rows is None:
        return differs(f"refused ({answer.status})")
    if not _has_runs(evidence.rows("statistics")):
        raise NoEvidenceError(_NO_RUNS)
    return differs("taken, without effect") if _has_runs(answer.rows) else holds("taken")


def judge_cost_numbers(evidence: Evidence) -> Verdict:
    costs = [row[name] for row in evidence.rows("statistics") for name in _COSTS if row.get(name) is not None]
    if not costs:
        raise NoEvidenceError("no costs")
    texts = [cost for cost in costs if isinstance(cost, str)]
    return differs(f"{len(texts)} of {len(costs)} are texts") if texts else holds(f"{len(costs)} costs are")


def judge_last_run_column(evidence: Evidence) -> Verdict:
    rows = evidence.rows("columns")
    filled = [row for row in rows if row.get("last_run_start_time_live") is not None]
    if filled:
        return holds(f"sent in {len(filled)} of {len(rows)} rows")
    if "last_run_start_time" not in _filled(evidence.rows("statistics")):
        raise NoEvidenceError(_NO_RUNS)
    return differs("not sent")


def judge_statistics_latency(evidence: Evidence) -> Verdict:
    without, with_statistics = (_median_seconds(evidence, name) for name in ("columns", "statistics"))
    seen = f"{with_statistics:.2f} s, and {without:.2f} s without"
    return differs(seen) if with_statistics > _SLOW_SECONDS else holds(seen)


def _median_seconds(evidence: Evidence, name: str) -> float:
    for each in (names := sample_names(name)):
        evidence.rows(each)
    return statistics.median(evidence.answer(each).seconds for each in names)


def _filled(rows: _Rows) -> set[str]:
    """Names of the statistics that have a value in some row."""
    return {name for row in rows for name in STATS if row.get(name) is not None}


def _has_facets(rows: _Rows) -> bool:
    return any(row.get("run_facets") for row in rows)


def _has_runs(rows: _Rows) -> bool:
    return any(row.get(SELECTED) for row in rows)

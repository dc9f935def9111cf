"""Who looks at what, and when: a trace of requests, made once per seed, that every configuration is given."""

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeVar

from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow

from .workspaces import Workspace

T = TypeVar("T")

_ZIPF: Final = 1.0
_STAYS: Final = 0.92
"""How likely a poll is followed by another of the same view."""
_ARRIVALS: Final = 60.0
"""Seconds in which most viewers open their first view."""


@dataclass(frozen=True)
class View:
    """One query text: a page, sessions by id, or a page whose rows are then looked at over another window."""

    kind: str
    query: PageQuery | None = None
    ids: tuple[str, ...] = ()
    statistics: frozenset[str] = frozenset()
    window: str = ""
    """Of what is looked up: none, "since" an instant, or the "last" day, which goes on with each minute."""

    @cached_property
    def text(self) -> tuple[object, ...]:
        """What a cache of answers finds it by."""
        query = self.query
        page = (query.key, query.limit, tuple(sorted(query.statistics))) if query else ()
        return self.kind, page, self.ids, tuple(sorted(self.statistics)), self.window

    def window_at(self, now: float) -> StatsWindow:
        if not self.window:
            return ALL_RUNS
        minute = int(now // 60) if self.window == "last" else 0
        return StatsWindow((("stats.since", f"2026-11-19T{minute // 60:02}:{minute % 60:02}:00Z"),))


@dataclass(frozen=True)
class Request:
    """`to`: where among the workers the load balancer sends it, 0 to 1."""

    at: float
    tenant: int
    view: View
    to: float


_SELECTIONS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "projects": (
        ("run_count", "error_rate", "latency_p50"),
        ("run_count", "latency_p50", "latency_p99", "error_rate", "total_tokens", "total_cost", "last_run_start_time"),
        (),
        ("run_count", "total_tokens", "prompt_tokens", "completion_tokens", "total_cost"),
        ("run_count", "error_rate", "latency_p99", "streaming_rate", "first_token_p50"),
        ("run_count", "feedback_stats"),
    ),
    "search": ((), ("run_count", "last_run_start_time"), ("run_count", "error_rate", "latency_p50", "total_cost")),
    "experiments": (
        ("run_count", "feedback_stats"),
        ("run_count", "feedback_stats", "latency_p50", "latency_p99", "error_rate", "total_cost"),
        (),
        ("feedback_stats", "session_feedback_stats"),
    ),
    "session": (
        ("run_count", "latency_p50", "latency_p99", "error_rate", "total_tokens", "total_cost", "feedback_stats"),
        ("run_count", "error_rate"),
        ("run_facets",),
    ),
    "windows": (("run_count", "error_rate"), ("run_count", "latency_p50", "latency_p99")),
}
"""By kind, the most popular first."""
_TERMS: Final = ("project", "a", "3", "b7")
_LENGTHS: Final = (20, 50, 10, 100)
_AT_ONCE: Final = 0.05
"""Seconds within which the panels of a dashboard ask."""
_ASTRAY: Final = 0.1
"""How likely a viewer looks elsewhere: at the next page, for another word, at another session."""


def trace(seed: int, *, tenants: int, viewers: int, minutes: float, workspaces: Sequence[Workspace]) -> list[Request]:
    """In the order of time. Most viewers belong to few tenants, and look at a few dashboards of theirs."""
    rng = random.Random(f"trace {seed}")
    where = rng.choices(range(tenants), cum_weights=_cumulated(tenants), k=viewers)
    requests = [each for tenant in where for each in _watched(rng, tenant, workspaces[tenant], minutes * 60)]
    return sorted(requests, key=lambda each: each.at)


def _watched(rng: random.Random, tenant: int, workspace: Workspace, until: float) -> list[Request]:
    requests = []
    at = rng.uniform(0, min(_ARRIVALS, until) if rng.random() < 0.8 else until)
    panels, pause = _dashboard(rng, workspace), rng.uniform(5, 30)
    while at < until:
        requests += [Request(at + rng.uniform(0, _AT_ONCE), tenant, view, rng.random()) for view in panels]
        at += pause * rng.uniform(0.9, 1.1)
        if rng.random() > _STAYS:
            panels, pause = _dashboard(rng, workspace), rng.uniform(5, 30)
    return requests


def _dashboard(rng: random.Random, workspace: Workspace) -> list[View]:
    """What one viewer has open: one panel, or several that select different things of the same page or session."""
    kind = _popular(rng, ("projects", "session", "experiments", "windows", "search"))
    most = len(_SELECTIONS[kind])
    selections = dict.fromkeys(_popular(rng, _SELECTIONS[kind]) for _ in range(rng.randint(1, 2 * most)))
    goes_astray = rng.random() < _ASTRAY
    where = random.Random(rng.random())
    state = where.getstate()
    panels = []
    for statistics in selections:
        where.setstate(state)
        panels.append(_view(where, workspace, kind, frozenset(statistics), goes_astray=goes_astray))
    return panels


def _view(
    rng: random.Random, workspace: Workspace, kind: str, statistics: frozenset[str], *, goes_astray: bool
) -> View:
    if kind == "session":
        return View(kind, ids=(_some(rng, workspace.projects[:8], goes_astray),), statistics=statistics)
    if kind == "windows":
        query = _query(("filter.referenceFree", "true"), frozenset(("run_count", "error_rate")), limit=20)
        return View(kind, query, statistics=statistics, window=_some(rng, ("last", "since"), goes_astray))
    if kind == "experiments":
        dataset = _some(rng, [*workspace.experiments], goes_astray)
        return View(kind, _query(("filter.referenceDatasets", dataset), statistics, limit=100))
    if kind == "search":
        return View(kind, _query(("filter.nameContains", _some(rng, _TERMS, goes_astray)), statistics, limit=20))
    query = _query(("filter.referenceFree", "true"), statistics, limit=_popular(rng, _LENGTHS))
    return View(kind, replace(query, offset=query.limit) if goes_astray else query)


def _query(where: tuple[str, str], statistics: frozenset[str], *, limit: int) -> PageQuery:
    return PageQuery(arguments=(where,), limit=limit, statistics=statistics)


def _some(rng: random.Random, each: Sequence[T], goes_astray: bool) -> T:
    """The one that the tenant's dashboard shows, or another."""
    return _popular(rng, each[1:]) if goes_astray else each[0]


def _popular(rng: random.Random, each: Sequence[T]) -> T:
    return rng.choices(each, cum_weights=_cumulated(len(each)))[0]


_sums: dict[int, list[float]] = {}


def _cumulated(count: int) -> list[float]:
    if count not in _sums:
        _sums[count] = list(itertools.accumulate(1 / rank**_ZIPF for rank in range(1, count + 1)))
    return _sums[count]


def least(trace: Sequence[Request], bound: float) -> int:
    """How often LangSmith must be asked, about: for each page, session and window once in so many seconds, for all."""
    asked: dict[tuple[object, ...], float] = {}
    count = 0
    for each in trace:
        for what in _seen(each):
            if each.at - asked.get(what, -math.inf) > bound:
                asked[what] = each.at
                count += 1
    return count


def _seen(request: Request) -> Iterator[tuple[object, ...]]:
    view = request.view
    for session_id in view.ids:
        yield request.tenant, session_id
    if view.query:
        yield request.tenant, view.query.key
        if view.window:
            yield request.tenant, view.query.key, view.window_at(request.at)

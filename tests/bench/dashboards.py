"""The trace of requests that the viewers of dashboards make: generated once per seed, the same for every contender."""

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

_ZIPF_EXPONENT: Final = 1.0
_POLL_AGAIN: Final = 0.92
"""Probability that a viewer polls the same dashboard again after a poll."""
_ARRIVAL_SECONDS: Final = 60.0
"""Most viewers open their first dashboard within this time."""


@dataclass(frozen=True)
class View:
    """One GraphQL query: a page, sessions by id, or a page whose rows show statistics of a second window."""

    kind: str
    query: PageQuery | None = None
    ids: tuple[str, ...] = ()
    statistics: frozenset[str] = frozenset()
    window: str = ""
    """Window of the lookup by id: "" for all runs, "since" an instant, or the "last" day, which moves every minute."""

    @cached_property
    def text(self) -> tuple[object, ...]:
        """Key of this query in a cache of whole answers."""
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
    """One request of the trace, at a time in seconds. `balance` from 0 to 1 is the load balancer's choice of worker."""

    at: float
    tenant: int
    view: View
    balance: float


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
"""Statistics that dashboards select, by kind of view, the most popular first."""
_TERMS: Final = ("project", "a", "3", "b7")
_PAGE_SIZES: Final = (20, 50, 10, 100)
_BURST_SECONDS: Final = 0.05
"""The panels of a dashboard send their requests within this time."""
_BROWSE: Final = 0.1
"""Probability that a viewer leaves the usual view for the next page, another search term or another session."""


def trace(seed: int, *, tenants: int, viewers: int, minutes: float, workspaces: Sequence[Workspace]) -> list[Request]:
    """Return all requests in the order of time.

    Tenants, and the dashboards within a tenant, are Zipf-distributed: few of them have most of the viewers.
    """
    rng = random.Random(f"trace {seed}")
    tenant_of_viewers = rng.choices(range(tenants), cum_weights=_cumulative_weights(tenants), k=viewers)
    requests = [
        request
        for tenant in tenant_of_viewers
        for request in _requests_of_viewer(rng, tenant, workspaces[tenant], minutes * 60)
    ]
    return sorted(requests, key=lambda request: request.at)


def _requests_of_viewer(rng: random.Random, tenant: int, workspace: Workspace, until: float) -> list[Request]:
    requests = []
    at = rng.uniform(0, min(_ARRIVAL_SECONDS, until) if rng.random() < 0.8 else until)
    panels, pause = _dashboard(rng, workspace), rng.uniform(5, 30)
    while at < until:
        requests += [Request(at + rng.uniform(0, _BURST_SECONDS), tenant, view, rng.random()) for view in panels]
        at += pause * rng.uniform(0.9, 1.1)
        if rng.random() > _POLL_AGAIN:
            panels, pause = _dashboard(rng, workspace), rng.uniform(5, 30)
    return requests


def _dashboard(rng: random.Random, workspace: Workspace) -> list[View]:
    """Choose a dashboard: one panel, or several that select different statistics of the same page or session."""
    kind = _zipf_choice(rng, ("projects", "session", "experiments", "windows", "search"))
    most = len(_SELECTIONS[kind])
    selections = dict.fromkeys(_zipf_choice(rng, _SELECTIONS[kind]) for _ in range(rng.randint(1, 2 * most)))
    browses = rng.random() < _BROWSE
    # Every panel draws from the same state, so that all panels show the same page or session.
    view_rng = random.Random(rng.random())
    state = view_rng.getstate()
    panels = []
    for statistics in selections:
        view_rng.setstate(state)
        panels.append(_view(view_rng, workspace, kind, frozenset(statistics), browses=browses))
    return panels


def _view(rng: random.Random, workspace: Workspace, kind: str, statistics: frozenset[str], *, browses: bool) -> View:
    if kind == "session":
        return View(kind, ids=(_usual_or_other(rng, workspace.projects[:8], browses),), statistics=statistics)
    if kind == "windows":
        query = _query(("filter.referenceFree", "true"), frozenset(("run_count", "error_rate")), limit=20)
        return View(kind, query, statistics=statistics, window=_usual_or_other(rng, ("last", "since"), browses))
    if kind == "experiments":
        dataset = _usual_or_other(rng, [*workspace.experiments], browses)
        return View(kind, _query(("filter.referenceDatasets", dataset), statistics, limit=100))
    if kind == "search":
        term = _usual_or_other(rng, _TERMS, browses)
        return View(kind, _query(("filter.nameContains", term), statistics, limit=20))
    query = _query(("filter.referenceFree", "true"), statistics, limit=_zipf_choice(rng, _PAGE_SIZES))
    return View(kind, replace(query, offset=query.limit) if browses else query)


def _query(argument: tuple[str, str], statistics: frozenset[str], *, limit: int) -> PageQuery:
    return PageQuery(arguments=(argument,), limit=limit, statistics=statistics)


def _usual_or_other(rng: random.Random, choices: Sequence[T], browses: bool) -> T:
    """Return the first choice, which the tenant's dashboard shows, or one of the others if the viewer browses."""
    return _zipf_choice(rng, choices[1:]) if browses else choices[0]


def _zipf_choice(rng: random.Random, choices: Sequence[T]) -> T:
    return rng.choices(choices, cum_weights=_cumulative_weights(len(choices)))[0]


_weights: dict[int, list[float]] = {}


def _cumulative_weights(count: int) -> list[float]:
    if count not in _weights:
        _weights[count] = list(itertools.accumulate(1 / rank**_ZIPF_EXPONENT for rank in range(1, count + 1)))
    return _weights[count]


def fewest_upstream_requests(trace: Sequence[Request], max_age_seconds: float) -> int:
    """Estimate how few requests to LangSmith suffice for answers within this age.

    The estimate is one request per `max_age_seconds` for each page, session and window that anybody looks at.
    """
    fetched_at: dict[tuple[object, ...], float] = {}
    count = 0
    for request in trace:
        for resource in _resources(request):
            if request.at - fetched_at.get(resource, -math.inf) > max_age_seconds:
                fetched_at[resource] = request.at
                count += 1
    return count


def _resources(request: Request) -> Iterator[tuple[object, ...]]:
    """Keys of the sessions, pages and windows that an answer shows."""
    view = request.view
    for session_id in view.ids:
        yield request.tenant, session_id
    if view.query:
        yield request.tenant, view.query.key
        if view.window:
            yield request.tenant, view.query.key, view.window_at(request.at)

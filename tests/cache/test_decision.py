"""The rules of the cache, as tables. A page is fresh for 15 s and stale for 60 s more; an empty page is fresh for 2 s.

`age` is the age of the page in seconds, `statistics` the ages of the statistics that were fetched for it. The request
selects `run_count` of the first ten rows, unless the table says otherwise.
"""

import json
from collections.abc import Mapping
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.decision import (
    Decision,
    Hit,
    Miss,
    Need,
    Refill,
    ServeStale,
    decide,
    fetches,
    heaviest,
    is_useful,
)
from app.cache.freshness import FreshnessPolicy
from app.sessions.page import Page, WindowStats
from app.sessions.query import ALL_RUNS, StatsWindow
from app.sessions.row import decode_rows

NOW = 1000.0
POLICY = FreshnessPolicy(ttl_seconds=15, stale_seconds=60)
RUN_COUNT = frozenset({"run_count"})
LAST_HOUR = StatsWindow((("stats.last", "PT1H"),))
ROWS = decode_rows(
    json.dumps([{"id": str(UUID(int=each)), "tenant_id": str(UUID(int=0))} for each in range(10)]).encode()
)

Ages = Mapping[str, float]


def cached_page(age: float, statistics: Ages, *, count: int = 10, limit: int = 10) -> Page:
    kept = tuple(ROWS[:count])
    known = WindowStats(kept, {name: NOW - each for name, each in statistics.items()})
    return Page(rows=kept, limit=limit, fetched_at=NOW - age, stats_by_window={ALL_RUNS: known} if statistics else {})


def decided(
    page: Page | None, *, selected: frozenset[str] = RUN_COUNT, limit: int = 10, max_age: float | None = None
) -> str:
    return summary(decide(page, Need(ALL_RUNS, selected, limit, max_age), POLICY, NOW))


def summary(decision: Decision) -> str:
    match decision:
        case Hit():
            return "hit"
        case ServeStale(refresh=refresh):
            return f"stale, then {summary(refresh)}"
        case Refill(missing=missing):
            return f"refill {', '.join(sorted(missing))}"
        case Miss():
            return "miss"


def test_decision_without_cached_page_is_a_miss() -> None:
    assert decided(None) == "miss"


@pytest.mark.parametrize(
    ("age", "decision"),
    [
        (14.9, "hit"),
        (15, "stale, then miss"),
        (74.9, "stale, then miss"),
        (75, "miss"),
    ],
)
def test_a_page_is_fresh_then_stale_then_a_miss(age: float, decision: str) -> None:
    assert decided(cached_page(age, {"run_count": age})) == decision


@pytest.mark.parametrize(
    ("age", "statistics", "decision"),
    [
        (5, {"run_count": 5, "error_rate": 5}, "hit"),
        (5, {"error_rate": 5}, "refill run_count"),
        (5, {}, "refill run_count"),
        (20, {"error_rate": 20}, "miss"),
    ],
)
def test_a_fresh_page_that_lacks_a_statistic_is_refilled(age: float, statistics: Ages, decision: str) -> None:
    assert decided(cached_page(age, statistics)) == decision


def test_a_refill_requests_only_the_statistics_that_are_not_fresh() -> None:
    page = cached_page(5, {"run_count": 5, "error_rate": 80})
    need = Need(ALL_RUNS, frozenset({"run_count", "error_rate", "total_cost"}), 10)
    assert decide(page, need, POLICY, NOW) == Refill(page, frozenset({"error_rate", "total_cost"}))


@pytest.mark.parametrize(
    ("age", "statistics", "decision"),
    [
        (5, {"run_count": 20}, "stale, then refill run_count"),
        (20, {"run_count": 5}, "stale, then miss"),
        (5, {"run_count": 75}, "refill run_count"),
        (75, {"run_count": 5}, "miss"),
    ],
)
def test_a_page_and_each_of_its_statistics_age_separately(age: float, statistics: Ages, decision: str) -> None:
    assert decided(cached_page(age, statistics)) == decision


@pytest.mark.parametrize(
    ("count", "fetched_limit", "limit", "decision"),
    [
        (10, 10, 3, "hit"),
        (10, 10, 11, "miss"),
        (4, 10, 90, "hit"),  # the list ends there
    ],
)
def test_a_page_serves_the_rows_that_it_has(count: int, fetched_limit: int, limit: int, decision: str) -> None:
    assert decided(cached_page(5, {"run_count": 5}, count=count, limit=fetched_limit), limit=limit) == decision


@pytest.mark.parametrize(
    ("age", "max_age", "decision"),
    [
        (5, 6, "hit"),
        (5, 5, "miss"),
        (0, 0, "miss"),
        (14, 60, "hit"),
        (20, 60, "miss"),  # older than the time to live: a client that sends max-age gets no stale page
    ],
)
def test_a_client_that_sends_max_age_gets_nothing_older_and_nothing_stale(
    age: float, max_age: float, decision: str
) -> None:
    assert decided(cached_page(age, {"run_count": age}), max_age=max_age) == decision


def test_max_age_applies_to_each_statistic() -> None:
    assert decided(cached_page(2, {"run_count": 8}), max_age=5) == "refill run_count"


@pytest.mark.parametrize(
    ("age", "max_age", "decision"),
    [
        (1.9, None, "hit"),
        (2, None, "miss"),  # never stale
        (1.5, 1, "miss"),
    ],
)
def test_an_empty_page_is_fresh_for_two_seconds_and_lacks_no_statistic(
    age: float, max_age: float | None, decision: str
) -> None:
    assert decided(cached_page(age, {}, count=0), max_age=max_age) == decision


def test_an_empty_page_is_fresh_no_longer_than_the_time_to_live() -> None:
    short = FreshnessPolicy(ttl_seconds=1, stale_seconds=60)
    assert decide(cached_page(1.5, {}, count=0), Need(ALL_RUNS, RUN_COUNT, 10), short, NOW) == Miss()


def test_statistics_over_another_window_do_not_count() -> None:
    page = cached_page(5, {"run_count": 5})
    assert decide(page, Need(LAST_HOUR, RUN_COUNT, 10), POLICY, NOW) == Refill(page, RUN_COUNT)


@pytest.mark.parametrize(
    ("age", "statistics", "selected", "fetched_ago"),
    [
        (10, {"run_count": 3, "error_rate": 7}, {"run_count", "error_rate"}, 7),
        (10, {"run_count": 3}, {"run_count"}, 3),
        (10, {"run_count": 3}, set(), 10),
    ],
)
def test_a_hit_is_as_old_as_its_oldest_selected_statistic(
    age: float, statistics: Ages, selected: set[str], fetched_ago: float
) -> None:
    page = cached_page(age, statistics)
    assert decide(page, Need(ALL_RUNS, frozenset(selected), 10), POLICY, NOW) == Hit(page, NOW - fetched_ago)


SECONDS = st.floats(0, 100)


@given(
    age=SECONDS,
    statistics=st.dictionaries(st.sampled_from(["run_count", "error_rate"]), SECONDS),
    selected=st.frozensets(st.sampled_from(["run_count", "error_rate"])),
    count=st.integers(0, 10),
    max_age=st.none() | SECONDS,
)
def test_no_decision_serves_a_value_that_is_missing_or_too_old(
    age: float, statistics: dict[str, float], selected: frozenset[str], count: int, max_age: float | None
) -> None:
    page = cached_page(age, statistics, count=count)
    match decide(page, Need(ALL_RUNS, selected, 10, max_age), POLICY, NOW):
        case Hit(served):
            limit = 15.0 if max_age is None else min(15.0, max_age)
        case ServeStale(served):
            limit = 75.0
            assert max_age is None
            assert served.rows
        case Refill(served, missing):
            limit = 15.0 if max_age is None else min(15.0, max_age)
            selected -= missing
        case Miss():
            return
    assert served is page
    assert NOW - served.fetched_at <= limit
    if page.rows:
        assert all(NOW - served.stats_by_window[ALL_RUNS].fetched_at[name] <= limit for name in selected)


FRESH = cached_page(5, {"run_count": 5}, count=1, limit=1)
STALE = cached_page(20, {"run_count": 20}, count=1, limit=1)
LACKING = cached_page(5, {}, count=1, limit=1)


@pytest.mark.parametrize(
    ("pages", "decision"),
    [
        ([FRESH, FRESH], "hit"),
        ([FRESH, STALE], "stale, then miss"),
        ([FRESH, STALE, LACKING], "refill run_count"),
        ([STALE, None], "miss"),
    ],
)
def test_a_lookup_serves_stale_sessions_only_if_none_has_to_be_fetched(pages: list[Page | None], decision: str) -> None:
    overall = heaviest(decide(page, Need(ALL_RUNS, RUN_COUNT, 1), POLICY, NOW) for page in pages)
    assert overall is not None
    assert summary(overall) == decision


def test_all_sessions_but_the_hits_are_fetched() -> None:
    pages = {"fresh": FRESH, "stale": STALE, "lacking": LACKING, "unknown": None}
    decisions = {name: decide(page, Need(ALL_RUNS, RUN_COUNT, 1), POLICY, NOW) for name, page in pages.items()}
    assert fetches(decisions) == {"stale": Miss(), "lacking": Refill(LACKING, RUN_COUNT), "unknown": Miss()}


def test_decisions_are_ordered_by_what_they_ask_of_langsmith() -> None:
    hit, stale, refill, miss = Hit(FRESH, 0), ServeStale(STALE, 0, Miss()), Refill(LACKING, RUN_COUNT), Miss()
    assert heaviest([hit]) is hit
    assert heaviest([hit, stale]) is stale
    assert heaviest([stale, refill, hit]) is refill
    assert heaviest([refill, miss]) is miss
    assert heaviest([]) is None


@pytest.mark.parametrize(
    ("age", "statistics", "selected", "useful"),
    [
        (74, {}, set(), True),
        (75, {}, set(), False),
        (20, {"run_count": 74}, {"run_count", "error_rate"}, True),
        (20, {"run_count": 75}, {"run_count", "error_rate"}, False),
    ],
)
def test_a_page_is_useful_for_a_session_if_it_has_one_needed_value_that_may_be_served(
    age: float, statistics: Ages, selected: set[str], useful: bool
) -> None:
    page = cached_page(age, statistics)
    assert is_useful(page, Need(ALL_RUNS, frozenset(selected), 1), POLICY, NOW) is useful

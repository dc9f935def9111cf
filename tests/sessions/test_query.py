"""PageQuery: which queries are for the same page, and which query's answer answers another one."""

from dataclasses import replace
from typing import Any

import pytest

from app.sessions.query import ALL_RUNS, PageQuery, StatsWindow

DAY = StatsWindow((("stats.since", "2026-11-19T12:00:00Z"),))
NAMED = (("filter.name", "a"),)
COUNTS = frozenset({"run_count"})
RATES = frozenset({"error_rate"})


@pytest.mark.parametrize(
    "changes",
    [{"limit": 3}, {"statistics": COUNTS}, {"prefetch": COUNTS}, {"statistics": COUNTS, "window": DAY}],
)
def test_length_statistics_and_window_do_not_change_the_key_of_a_page(changes: dict[str, Any]) -> None:
    assert PageQuery(arguments=NAMED, **changes).key == PageQuery(arguments=NAMED).key


@pytest.mark.parametrize(
    "other",
    [
        PageQuery(),
        PageQuery(arguments=(("filter.nameContains", "a"),)),
        PageQuery(arguments=(("filter.name", "a&filter.ids=b"),)),
        PageQuery(arguments=NAMED, offset=100),
    ],
    ids=lambda query: query.key,
)
def test_filter_and_offset_change_the_key_of_a_page(other: PageQuery) -> None:
    assert other.key != PageQuery(arguments=NAMED).key
    assert other.digest != PageQuery(arguments=NAMED).digest


def test_window_changes_the_key_of_a_page_that_is_sorted_by_a_statistic() -> None:
    by_statistic = PageQuery(arguments=(("orderBy.field", "error_rate"),), sorted_by_stat=True)
    assert replace(by_statistic, window=DAY).key != by_statistic.key


@pytest.mark.parametrize(
    ("query", "other", "covers"),
    [
        (PageQuery(limit=20), PageQuery(limit=10), True),
        (PageQuery(limit=10), PageQuery(limit=20), False),
        (PageQuery(statistics=COUNTS), PageQuery(), True),
        (PageQuery(prefetch=COUNTS), PageQuery(statistics=COUNTS), True),
        (PageQuery(statistics=COUNTS), PageQuery(statistics=COUNTS | RATES), False),
        (PageQuery(statistics=COUNTS), PageQuery(statistics=COUNTS, prefetch=RATES), True),
        (PageQuery(window=DAY, statistics=COUNTS), PageQuery(window=DAY), True),
        (PageQuery(window=DAY, statistics=COUNTS), PageQuery(), False),
    ],
)
def test_query_covers_another_of_the_same_window_with_fewer_rows_and_statistics(
    query: PageQuery, other: PageQuery, covers: bool
) -> None:
    assert query.covers(other) is covers


def test_merged_query_covers_both_queries() -> None:
    one, other = PageQuery(limit=5, statistics=COUNTS), PageQuery(limit=9, statistics=RATES)
    assert one.widened_by(other).covers(one)
    assert one.widened_by(other).covers(other)


@pytest.mark.parametrize(
    ("statistics", "sorted_by_stat", "window"),
    [(COUNTS, False, DAY), (frozenset[str](), True, DAY), (frozenset[str](), False, ALL_RUNS)],
)
def test_query_keeps_a_window_only_if_something_depends_on_it(
    statistics: frozenset[str], sorted_by_stat: bool, window: StatsWindow
) -> None:
    assert PageQuery(sorted_by_stat=sorted_by_stat).with_statistics(statistics, DAY).window == window

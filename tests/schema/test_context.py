"""The context of an operation: which windows its options mean, and how they are labelled."""

from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import pytest

from app.cache.page_cache import PageCache
from app.errors import BadUserInputError
from app.schema.context import OperationContext
from app.sessions.arguments import StatsOptions
from app.sessions.query import StatsWindow
from tests.conftest import NOON


def operation(now: datetime = NOON) -> OperationContext:
    return OperationContext(cast(PageCache, None), None, now, 0.0)


SINCE = datetime(2026, 11, 18, tzinfo=UTC)
EQUAL = [
    (StatsOptions(), StatsOptions(since=None, last=None, filter=None)),
    (StatsOptions(last=timedelta(days=1)), StatsOptions(last=timedelta(hours=24))),
    (StatsOptions(since=SINCE), StatsOptions(since=SINCE, approximate=False)),
]
DISTINCT = [
    StatsOptions(),
    StatsOptions(last=timedelta(days=1)),
    StatsOptions(last=timedelta(days=2)),
    StatsOptions(since=SINCE),
    StatsOptions(since=SINCE, filter="eq(error, true)"),
    StatsOptions(filter="eq(error, true)"),
    StatsOptions(filter=""),
    StatsOptions(approximate=True),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_options_have_the_same_window_and_label(one: StatsOptions, other: StatsOptions) -> None:
    assert operation().window(one, "sessions") == operation().window(other, "sessions")


def test_distinct_options_have_distinct_labels_that_are_the_same_in_every_operation() -> None:
    shared = operation()
    labels = [shared.window(each, "sessions")[1] for each in DISTINCT]
    assert len(set(labels)) == len({shared.window(each, "sessions")[0] for each in DISTINCT}) == len(DISTINCT)
    assert labels == [operation().window(each, "sessions")[1] for each in DISTINCT]


def test_label_of_a_duration_stays_the_same_while_its_window_moves() -> None:
    last = StatsOptions(last=timedelta(days=1))
    before, after = operation().window(last, "sessions"), operation(NOON + timedelta(hours=1)).window(last, "sessions")
    assert before[1] == after[1]
    assert (before[0], after[0]) == (
        StatsWindow((("stats.since", "2026-11-19T12:00:00Z"),)),
        StatsWindow((("stats.since", "2026-11-19T13:00:00Z"),)),
    )


@pytest.mark.parametrize("seconds", [0, 1, 29.9])
def test_duration_means_one_window_within_a_minute(seconds: float) -> None:
    moved = operation(NOON + timedelta(seconds=seconds))
    assert moved.window(StatsOptions(last=timedelta(hours=1)), "sessions") == operation().window(
        StatsOptions(last=timedelta(hours=1)), "sessions"
    )


def test_zero_duration_is_refused_after_a_window_without_a_duration() -> None:
    shared = operation()
    shared.window(StatsOptions(), "sessions")
    with pytest.raises(BadUserInputError, match="must be positive"):
        shared.window(StatsOptions(last=timedelta()), "sessions")


def test_offset_of_a_time_does_not_change_its_window() -> None:
    elsewhere = SINCE.astimezone(timezone(timedelta(hours=5)))
    assert (
        operation().window(StatsOptions(since=elsewhere), "sessions")[0]
        == operation().window(StatsOptions(since=SINCE), "sessions")[0]
    )

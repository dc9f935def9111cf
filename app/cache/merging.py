"""How two answers about the same rows become one page: each value from the answer that was requested later.

A value that is replaced by an equal one is the same value: an answer that was made from it is still right. What is
stored therefore keeps its versions until one of its values changes, or is no longer known.
"""

import math
from collections.abc import Set as AbstractSet
from dataclasses import replace
from operator import attrgetter
from typing import Final

from app.cache.freshness import Use
from app.sessions.fields import FIELDS, Kind
from app.sessions.page import NEVER, Page, WindowStats, next_version
from app.sessions.query import StatsWindow
from app.sessions.row import Row, detached

_columns_of: Final = attrgetter(*(name for name, field in FIELDS.items() if field.kind is Kind.COLUMN))


def merged(page: Page | None, other: Page, *, longest_spread: float = math.inf) -> Page:
    """One page of two that answer the same query. The rows are those of the page that was requested later.

    It also gets the statistics that the other page knows better, if that has its rows in the same order.
    `longest_spread`: seconds by which a statistic may be older than the rows.
    """
    if page is None:
        return other
    older, newer = by_age(page, other)
    if not (older.rows and newer.rows):
        return newer
    better = {
        window: known
        for window in older.stats_by_window
        if (known := _known_better(older, newer, window, newer.fetched_at - longest_spread))
    }
    if not better or not _has_rows_of(older, newer):
        return newer
    result = newer
    for window, fetched_at in better.items():
        rows = older.stats_by_window[window].rows
        by_id = {row.id: detached(row) if len(rows) > 1 else row for row in rows if row}
        for at in {*fetched_at.values()}:
            names = frozenset(name for name, its_time in fetched_at.items() if its_time == at)
            result = result.with_statistics(window, names, by_id, at)
    return replace(result, body_bytes=max(older.body_bytes, newer.body_bytes))


def with_versions_of(page: Page, replaced: Page) -> Page:
    """The page, with the versions of the one that it replaces for what has not changed."""
    has_same_ids = [row and row.id for row in page.rows] == [row and row.id for row in replaced.rows]
    stats_by_window = dict(page.stats_by_window)
    for window, before in replaced.stats_by_window.items():
        if known := stats_by_window.get(window):
            is_same = has_same_ids and _have_same_statistics(known, before, before.fetched_at.keys())
            stats_by_window[window] = replace(known, version=before.version if is_same else next_version())
    version = replaced.version if _have_same_rows(page, replaced) else next_version()
    return replace(page, stats_by_window=stats_by_window, version=version)


def has_used_values(stored: Page, page: Page, use: Use) -> bool:
    """Whether what is used of a page has the same values in the stored page."""
    for window in use.parts_of(page):
        if window is None:
            if not _have_same_rows(stored, page):
                return False
        else:
            known = stored.stats_by_window.get(window)
            if known is None or not _have_same_statistics(known, page.stats_by_window[window], use.statistics):
                return False
    return True


def by_age(page: Page, other: Page) -> tuple[Page, Page]:
    """The two pages, the older one first. Of two that were requested at the same time, `other` is the newer one."""
    return (page, other) if page.fetched_at <= other.fetched_at else (other, page)


def is_start_of(page: Page, longer: Page) -> bool:
    """Whether a page without statistics shows nothing that the longer page does not begin with."""
    count = len(page.rows)
    is_part = 0 < count < len(longer.rows) and count == page.limit and not page.stats_by_window
    return is_part and _have_same_columns(page.rows, longer.rows[:count])


def lost_windows(page: Page, kept: Page, since: float) -> list[StatsWindow]:
    """The windows over which a page knows statistics better than the one that is kept.

    `since`: only what was requested after this time counts (monotonic seconds).
    """
    return [window for window in page.stats_by_window if _known_better(page, kept, window, since)]


def _known_better(page: Page, other: Page, window: StatsWindow, since: float) -> dict[str, float]:
    """The statistics that `page` requested later than the other page, and after `since`; each with its time."""
    known: WindowStats | None = other.stats_by_window.get(window)
    times = known.fetched_at if known else {}
    fetched_at = page.stats_by_window[window].fetched_at
    return {name: at for name, at in fetched_at.items() if at > since and at > times.get(name, NEVER)}


def _has_rows_of(page: Page, other: Page) -> bool:
    """Whether the page has all rows of the other one, in the same order."""
    ids = [row and row.id for row in other.rows]
    return ids == [row.id for row in page.rows if row and row.id in other.ids]


def _have_same_rows(page: Page, other: Page) -> bool:
    """Whether two pages show the same sessions with the same columns, and know the same of the rows after them."""
    has_same_length = (page.limit, len(page.rows), page.has_more) == (other.limit, len(other.rows), other.has_more)
    return has_same_length and _have_same_columns(page.rows, other.rows)


def _have_same_statistics(stats: WindowStats, other: WindowStats, names: AbstractSet[str]) -> bool:
    """Whether the first one knows all these statistics that the other one knows, with the same values, row by row."""
    if not names <= stats.fetched_at.keys() or len(stats.rows) != len(other.rows):
        return False
    if stats.rows is other.rows:
        return True
    values_of = attrgetter("id", *names)
    return all(
        row is each or (row is not None and each is not None and values_of(row) == values_of(each))
        for row, each in zip(stats.rows, other.rows, strict=True)
    )


def _have_same_columns(rows: tuple[Row | None, ...], others: tuple[Row | None, ...]) -> bool:
    return rows is others or all(
        row is other or (row is not None and other is not None and _columns_of(row) == _columns_of(other))
        for row, other in zip(rows, others, strict=True)
    )

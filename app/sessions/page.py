"""A page of sessions: the rows of one answer, with the statistics that are known of them by window."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Self

import msgspec

from app.sessions.query import PageQuery, StatsWindow
from app.sessions.row import Row, detached

NEVER: Final = float("-inf")
"""The fetch time of a value that was never fetched."""
next_version: Final = itertools.count(1).__next__
"""A number that no other values have."""


@dataclass(frozen=True)
class WindowStats:
    """The rows with the statistics over one window.

    `fetched_at` holds the time at which each statistic was requested, in monotonic seconds. A statistic that is not in
    it is unknown, whatever the row's value. `version` identifies the values; with more statistics it stays the same.
    """

    rows: tuple[Row | None, ...]
    fetched_at: Mapping[str, float]
    version: int = field(default_factory=next_version)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The rows of one answer. A page is a value; statistics that arrive later make a new page.

    Args:
        rows: The rows in LangSmith's order. None takes the place of a row that was dropped because it lacked an id or
            a workspace.
        limit: The number of rows that were requested.
        fetched_at: The time at which the rows were requested, in monotonic seconds.
        stats_by_window: The known statistics, by window.
        has_more: Whether LangSmith said that rows follow the page, or that none do; None if it did not say.
        body_bytes: Size of the answer's body.
        version: Identifies the rows and their columns. The statistics over each window have a version of their own.
    """

    rows: tuple[Row | None, ...]
    limit: int
    fetched_at: float
    stats_by_window: Mapping[StatsWindow, WindowStats] = field(default_factory=dict)
    has_more: bool | None = None
    body_bytes: int = 0
    version: int = field(default_factory=next_version)

    @classmethod
    def from_rows(
        cls,
        rows: list[Row | None],
        query: PageQuery,
        *,
        statistics: frozenset[str],
        at: float,
        body_bytes: int,
        has_more: bool | None = None,
    ) -> Self:
        """The page of an answer.

        Args:
            rows: The decoded rows of the answer.
            query: The query that it answers.
            statistics: Names of the statistics that the answer makes known. They can be more than the selected ones.
            at: The time at which it was requested, in monotonic seconds.
            body_bytes: Size of its decompressed body.
            has_more: Whether it says that rows follow.
        """
        rows_ = tuple(rows)
        stats = {query.window: WindowStats(rows_, dict.fromkeys(statistics, at))} if statistics else {}
        return cls(
            rows=rows_,
            limit=query.limit,
            fetched_at=at,
            stats_by_window=stats,
            has_more=has_more,
            body_bytes=body_bytes,
        )

    @property
    def weight_bytes(self) -> int:
        """Estimate of the memory that the page takes, rather too high than too low (a test measures it).

        The decoded values take about as much memory as the body, which stays alive because opaque values are slices
        of it.
        """
        windows = sum(400 + 100 * len(stats.fetched_at) for stats in self.stats_by_window.values())
        texts = sum(window.text_bytes for window in self.stats_by_window)
        return 2 * self.body_bytes + 1000 + len(self.rows) * (400 + windows) + texts

    @cached_property
    def versions(self) -> Mapping[StatsWindow | None, int]:
        """The version of the statistics over each window, and of the rows and columns under None."""
        return {None: self.version, **{window: stats.version for window, stats in self.stats_by_window.items()}}

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of the sessions."""
        return frozenset(row.id for row in self.rows if row)

    @property
    def dropped_rows(self) -> int:
        """The number of rows that were dropped."""
        return self.rows.count(None)

    def holds_rows(self, limit: int) -> bool:
        """Whether the page has that many rows, or all rows that there are."""
        return len(self.rows) >= limit or len(self.rows) < self.limit

    def continues_after(self, count: int) -> bool | None:
        """Whether the list has rows after the first `count` rows of the page; None if that is unknown."""
        if len(self.rows) > count:
            return True
        return False if len(self.rows) < self.limit else self.has_more

    def first(self, limit: int) -> Self:
        """A page of the first `limit` rows."""
        if limit >= len(self.rows):
            return self
        stats = {window: replace(each, rows=each.rows[:limit]) for window, each in self.stats_by_window.items()}
        return replace(self, rows=self.rows[:limit], limit=limit, stats_by_window=stats, has_more=True)

    def missing_statistics(self, window: StatsWindow, statistics: frozenset[str], *, since: float) -> frozenset[str]:
        """Those of the statistics that were not requested after the time `since`, in monotonic seconds."""
        if not statistics:
            return statistics
        fetched_at = stats.fetched_at if (stats := self.stats_by_window.get(window)) else {}
        return frozenset(name for name in statistics if fetched_at.get(name, since) <= since)

    def row_page(self, row: Row) -> Self:
        """A page of one row. The row replaces the page's rows in every window."""
        single = (row,)
        stats = {window: replace(each, rows=single) for window, each in self.stats_by_window.items()}
        size = self.body_bytes // len(self.rows)
        return replace(self, rows=single, limit=1, stats_by_window=stats, has_more=None, body_bytes=size)

    def detached_row_page(self, position: int, window: StatsWindow | None) -> Self:
        """A page of the row at this position, which does not keep the body of the other rows in memory.

        It has the statistics over one window; none if the window is None.
        """

        def single(rows: tuple[Row | None, ...]) -> tuple[Row | None, ...]:
            return tuple(detached(row) for row in rows[position : position + 1] if row)

        known = self.stats_by_window.get(window) if window else None
        stats = {window: replace(known, rows=single(known.rows))} if window and known else {}
        size = self.body_bytes // len(self.rows)
        rows = single(self.rows)
        return replace(self, rows=rows, limit=1, stats_by_window=stats, has_more=None, body_bytes=size)

    def oldest_fetch(self, window: StatsWindow, statistics: frozenset[str]) -> float:
        """The time at which the oldest of these statistics was requested; without any, the time of the page.

        It is `NEVER` if one of them was not requested over this window.
        """
        if not statistics:
            return self.fetched_at
        stats = self.stats_by_window.get(window)
        if stats is None:
            return NEVER
        try:
            return min(map(stats.fetched_at.__getitem__, statistics))
        except KeyError:
            return NEVER

    def rows_in(self, window: StatsWindow) -> tuple[Row | None, ...]:
        """The rows, with the known statistics over the window."""
        stats = self.stats_by_window.get(window)
        return stats.rows if stats else self.rows

    def with_statistics(
        self, window: StatsWindow, statistics: frozenset[str], by_id: Mapping[str, Row], at: float
    ) -> Self:
        """This page with further statistics of its rows over a window, which were requested `at` that time.

        `by_id` holds a row with the statistics for each id of the page.
        """
        before = self.stats_by_window.get(window)
        rows = tuple(
            row and msgspec.structs.replace(row, **{name: getattr(by_id[row.id], name) for name in statistics})
            for row in self.rows_in(window)
        )
        known = before.fetched_at if before else {}
        version = before.version if before and not statistics & known.keys() else next_version()
        stats = WindowStats(rows, {**known, **dict.fromkeys(statistics, at)}, version)
        return replace(self, stats_by_window={**self.stats_by_window, window: stats})

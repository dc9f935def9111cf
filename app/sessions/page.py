"""What is asked of LangSmith, and what it answered: values, without I/O."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import msgspec

from app.sessions.query import PageQuery, StatsWindow
from app.sessions.row import Row, detached

_versions: Final = itertools.count(1)


@dataclass(frozen=True)
class WindowStats:
    """The rows with one window's statistics, and when each statistic was asked for (monotonic seconds)."""

    rows: tuple[Row | None, ...]
    fetched_at: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Rows in LangSmith's order; None stands where one was dropped because it lacked its id or workspace.

    `version` tells one answer from the next; statistics that are added later leave it.
    """

    rows: tuple[Row | None, ...]
    limit: int
    fetched_at: float
    stats_by_window: Mapping[StatsWindow, WindowStats] = field(default_factory=dict)
    body_bytes: int = 0
    version: int = field(default_factory=_versions.__next__)

    @classmethod
    def from_rows(
        cls, rows: list[Row | None], query: PageQuery, *, statistics: frozenset[str], at: float, body_bytes: int
    ) -> Self:
        """The answer to a query, which settles these statistics."""
        kept = tuple(rows)
        known = {query.window: WindowStats(kept, dict.fromkeys(statistics, at))} if statistics else {}
        return cls(rows=kept, limit=query.limit, fetched_at=at, stats_by_window=known, body_bytes=body_bytes)

    @property
    def weight_bytes(self) -> int:
        """Bytes in memory, rather too many than too few (a test measures them).

        A decoded body takes about as much again as the body, which its opaque values point into.
        """
        views = sum(400 + 100 * len(known.fetched_at) for known in self.stats_by_window.values())
        return 2 * self.body_bytes + 1000 + len(self.rows) * (400 + views)

    @property
    def dropped_rows(self) -> int:
        return self.rows.count(None)

    def holds_rows(self, limit: int) -> bool:
        """Whether it holds that many rows, or all there are."""
        return len(self.rows) >= limit or len(self.rows) < self.limit

    def first(self, limit: int) -> Self:
        """Its first rows."""
        if limit >= len(self.rows):
            return self
        known = {window: replace(each, rows=each.rows[:limit]) for window, each in self.stats_by_window.items()}
        return replace(self, rows=self.rows[:limit], limit=limit, stats_by_window=known)

    def missing_statistics(self, window: StatsWindow, statistics: frozenset[str], *, since: float) -> frozenset[str]:
        """Which of these statistics were not asked for since then."""
        if not statistics:
            return statistics
        asked_at = known.fetched_at if (known := self.stats_by_window.get(window)) else {}
        return frozenset(name for name in statistics if asked_at.get(name, since) <= since)

    def row_page(self, row: Row) -> Self:
        """One of its rows on its own, detached from the body of the others."""
        alone = (row,)
        known = {window: replace(each, rows=alone) for window, each in self.stats_by_window.items()}
        return replace(self, rows=alone, limit=1, stats_by_window=known, body_bytes=self.body_bytes // len(self.rows))

    def detached_row_page(self, position: int) -> Self:
        """One of its rows on its own, detached from the body of the others."""

        def alone(rows: tuple[Row | None, ...]) -> tuple[Row | None, ...]:
            return tuple(detached(row) for row in rows[position : position + 1] if row)

        known = {window: replace(each, rows=alone(each.rows)) for window, each in self.stats_by_window.items()}
        size = self.body_bytes // len(self.rows)
        return replace(self, rows=alone(self.rows), limit=1, stats_by_window=known, body_bytes=size)

    def merged_with(self, other: Self) -> Self:
        """One session as two pages of one row show it: the columns of the younger, of each statistic the younger."""
        older, newer = sorted((self, other), key=lambda each: each.fetched_at)
        if not (older.rows and newer.rows):
            return newer
        views = {window: WindowStats(newer.rows, {}) for window in (*older.stats_by_window, *newer.stats_by_window)}
        for page in (older, newer):
            for window, known in page.stats_by_window.items():
                before = views[window]
                younger = {name: at for name, at in known.fetched_at.items() if at >= before.fetched_at.get(name, at)}
                values = {name: getattr(known.rows[0], name) for name in younger}
                seen: Any = before.rows[0]
                row = msgspec.structs.replace(seen, **values)
                views[window] = WindowStats((row,), {**before.fetched_at, **younger})
        return replace(newer, stats_by_window=views, body_bytes=max(older.body_bytes, newer.body_bytes))

    def oldest_fetch(self, window: StatsWindow, statistics: frozenset[str]) -> float:
        """When the oldest of these statistics was asked for; without any, when the page was."""
        known = self.stats_by_window.get(window)
        return (
            min((known.fetched_at[name] for name in statistics), default=self.fetched_at) if known else self.fetched_at
        )

    def rows_in(self, window: StatsWindow) -> tuple[Row | None, ...]:
        """Its rows with the statistics of that window, as far as they are known."""
        known = self.stats_by_window.get(window)
        return known.rows if known else self.rows

    def with_statistics(
        self, window: StatsWindow, statistics: frozenset[str], by_id: Mapping[str, Row], at: float
    ) -> Self:
        """This page with these statistics of its rows; `by_id` holds every one of them."""
        before = self.stats_by_window.get(window)
        rows = tuple(
            row and msgspec.structs.replace(row, **{name: getattr(by_id[row.id], name) for name in statistics})
            for row in self.rows_in(window)
        )
        asked_at = dict(before.fetched_at if before else {}) | dict.fromkeys(statistics, at)
        return replace(self, stats_by_window={**self.stats_by_window, window: WindowStats(rows, asked_at)})

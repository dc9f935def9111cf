"""A query for one page of sessions, in the gateway's own terms.

The cache derives its keys from it. The adapter of an upstream version turns it into a request.
"""

import hashlib
import itertools
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Self
from urllib.parse import urlencode

from app.sessions.fields import STATS

Arguments = tuple[tuple[str, str], ...]
"""Pairs of an argument's name, such as `filter.nameContains`, and its canonical text. A list has a pair per item."""

MAX_LIMIT: Final = 100
"""Rows in one answer of LangSmith (Documented)."""
_CLIENTS_TEXTS: Final = {"stats.filter", "orderBy.feedbackKey"}
"""Arguments beside those of the filter that are a text of the client's own."""
IDS: Final = "filter.ids"
"""The argument by which a query names sessions. A lookup by id has it although the client gave another one."""


@dataclass(frozen=True)
class StatsWindow:
    """The runs that statistics are computed over, as the `stats` arguments that select them. No arguments: all runs.

    `is_relative`: whether the client gave `stats.last`, from which `stats.since` was computed. The window is the same.
    """

    arguments: Arguments = ()
    is_relative: bool = field(default=False, compare=False)

    @cached_property
    def text_bytes(self) -> int:
        """Memory of the texts, which clients write."""
        return sum(sys.getsizeof(text) for _, text in self.arguments)


ALL_RUNS: Final = StatsWindow()


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """One page of sessions: which rows, and which of their statistics over which window.

    Args:
        arguments: The filter and the order, in canonical form.
        sorted_by_stat: Whether the order depends on the runs. If so, another window is another page.
        offset: The number of rows before the page.
        limit: The number of rows, at most MAX_LIMIT.
        window: The runs that the statistics, and an order by a statistic, are computed over.
        statistics: Names of the statistics and facets that a client selected.
        prefetch: Names of statistics that are requested as well, because clients selected them recently.
        is_lookup: Whether the page is a set of sessions named by id, whose order has no meaning.
    """

    arguments: Arguments = ()
    sorted_by_stat: bool = False
    offset: int = 0
    limit: int = MAX_LIMIT
    window: StatsWindow = ALL_RUNS
    statistics: frozenset[str] = frozenset()
    prefetch: frozenset[str] = frozenset()
    is_lookup: bool = False

    @classmethod
    def for_ids(
        cls, ids: tuple[str, ...], *, window: StatsWindow = ALL_RUNS, statistics: frozenset[str] = frozenset()
    ) -> Self:
        """A query for these sessions, at most `MAX_LIMIT` of them."""
        arguments = tuple(zip(itertools.repeat(IDS), ids))
        return cls(arguments=arguments, limit=len(ids), is_lookup=True).with_statistics(statistics, window)

    @property
    def ids(self) -> list[str]:
        """The sessions that the filter names by id; empty without such a filter."""
        return [text for name, text in self.arguments if name == IDS]

    @property
    def has_clients_choice(self) -> bool:
        """Whether a client chose which sessions, which of their runs, or which feedback LangSmith is asked for."""
        names = (name for name, _ in (*self.arguments, *self.window.arguments))
        return any(name.startswith("filter.") or name in _CLIENTS_TEXTS for name in names)

    @property
    def requested(self) -> frozenset[str]:
        """All statistics and facets that LangSmith is asked for."""
        return self.statistics | self.prefetch

    @property
    def computes_statistics(self) -> bool:
        """Whether LangSmith computes statistics for the answer, which takes it seconds."""
        return self.sorted_by_stat or bool(self.requested)

    @cached_property
    def list_key(self) -> str:
        """Identifies the list that the page is a part of."""
        parts = self.arguments + self.window.arguments if self.sorted_by_stat else self.arguments
        return urlencode(parts)

    @cached_property
    def key(self) -> str:
        """Identifies the page. Its length and statistics are not part of the key."""
        return f"{self.offset}?{self.list_key}"

    @cached_property
    def digest(self) -> str:
        """A hash of the key, of fixed length."""
        return hashlib.blake2b(self.key.encode(), digest_size=16).hexdigest()

    def settled_statistics(self, *, select_statistics: bool = True) -> frozenset[str]:
        """The statistics that the answer makes known. A requested statistic without a value is known to be null.

        `select_statistics` is False if all statistics were requested, because LangSmith refused `stats_select`.
        """
        return self.requested if select_statistics or not self.requested & STATS else self.requested | STATS

    def with_statistics(self, statistics: frozenset[str], window: StatsWindow) -> Self:
        """The same page with these statistics over a window. The window is ALL_RUNS if nothing depends on it."""
        effective = window if statistics or self.sorted_by_stat else ALL_RUNS
        return replace(self, statistics=statistics, prefetch=frozenset(), window=effective)

    def with_prefetch(self, statistics: frozenset[str]) -> Self:
        """The same page, with these statistics prefetched in addition."""
        return replace(self, prefetch=self.prefetch | statistics)

    def covers(self, other: Self) -> bool:
        """Whether the answer to this query also answers another query for the same page.

        Queries with different windows never cover each other. That holds even if the other query selects no
        statistics, because LangSmith may refuse the window of this one.
        """
        return self.window == other.window and self.limit >= other.limit and self.requested >= other.statistics

    def widened_by(self, other: Self) -> Self:
        """This query, with the rows and statistics of another one for the same page and window prefetched."""
        wider = replace(self, limit=max(self.limit, other.limit))
        return wider.with_prefetch(other.requested - self.statistics)

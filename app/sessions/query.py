"""A query for one page of sessions, in the gateway's own terms: what the cache keys and the adapters translate."""

import hashlib
import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self
from urllib.parse import urlencode

from app.sessions.fields import STATS

Arguments = tuple[tuple[str, str], ...]
"""Pairs of an argument's name, such as `filter.nameContains`, and a canonical text; one pair per item of a list."""

MAX_LIMIT: Final = 100
"""Rows in one answer of LangSmith (Documented)."""
_IDS: Final = "filter.ids"


@dataclass(frozen=True)
class StatsWindow:
    """The runs that statistics are computed over: the `stats` arguments that narrow them down, none for all runs."""

    arguments: Arguments = ()


ALL_RUNS: Final = StatsWindow()


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """One page of sessions: which rows, and which statistics and facets of them over which window.

    `arguments`: the filter and the order, in canonical form. `sorted_by_stat`: the order depends on the runs, so that
    another window is another page. `statistics`: names of the statistics and facets that a client needs. `prefetch`:
    names of statistics that are requested beside them because clients selected them lately.
    """

    arguments: Arguments = ()
    sorted_by_stat: bool = False
    offset: int = 0
    limit: int = MAX_LIMIT
    window: StatsWindow = ALL_RUNS
    statistics: frozenset[str] = frozenset()
    prefetch: frozenset[str] = frozenset()

    @classmethod
    def for_ids(
        cls, ids: tuple[str, ...], *, window: StatsWindow = ALL_RUNS, statistics: frozenset[str] = frozenset()
    ) -> Self:
        """A query for these sessions, at most `MAX_LIMIT` of them."""
        arguments = tuple(zip(itertools.repeat(_IDS), ids))
        return cls(arguments=arguments, limit=len(ids)).with_statistics(statistics, window)

    @property
    def ids(self) -> list[str]:
        """The sessions that the filter names by id; empty without such a filter."""
        return [text for name, text in self.arguments if name == _IDS]

    @property
    def requested(self) -> frozenset[str]:
        """All statistics and facets that LangSmith is asked for."""
        return self.statistics | self.prefetch

    @cached_property
    def key(self) -> str:
        """Identifies the page, whatever its length and statistics."""
        parts = self.arguments + self.window.arguments if self.sorted_by_stat else self.arguments
        return f"{self.offset}?{urlencode(parts)}"

    @cached_property
    def digest(self) -> str:
        """A hash of the key, of fixed length."""
        return hashlib.blake2b(self.key.encode(), digest_size=16).hexdigest()

    def settled_statistics(self, *, select_statistics: bool = True) -> frozenset[str]:
        """The statistics that an answer settles: those that were requested, with or without a value.

        `select_statistics`: False if LangSmith was asked for all statistics because it refuses to select some.
        """
        return self.requested if select_statistics or not self.requested & STATS else self.requested | STATS

    def with_statistics(self, statistics: frozenset[str], window: StatsWindow) -> Self:
        """This page with these statistics. If no number depends on the window, it is that of all runs."""
        kept = window if statistics or self.sorted_by_stat else ALL_RUNS
        return replace(self, statistics=statistics, prefetch=frozenset(), window=kept)

    def with_prefetch(self, statistics: frozenset[str]) -> Self:
        """This page, with these statistics requested beside the needed ones."""
        return replace(self, prefetch=self.prefetch | statistics)

    def covers(self, other: Self) -> bool:
        """Whether the answer to this query answers the other one, which is for the same page.

        Queries with different windows never cover each other, even if the other one needs no statistics: LangSmith
        might refuse the window of this one.
        """
        return self.window == other.window and self.limit >= other.limit and self.requested >= other.statistics

    def merged_with(self, other: Self) -> Self:
        """One query in place of two for the same page and window."""
        return replace(
            self,
            limit=max(self.limit, other.limit),
            statistics=self.statistics | other.statistics,
            prefetch=self.prefetch | other.prefetch,
        )

"""TODO."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self
from urllib.parse import urlencode

from app.sessions.arguments import Params
from app.sessions.fields import FACETS, FIELDS, STATS

StatsWindow = Params
"""Over which runs statistics are computed: the parameters that say so, none for all runs."""

ALL_RUNS: Final[StatsWindow] = ()
MAX_LIMIT: Final = 100
"""Rows in one answer of LangSmith (documented)."""


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """One page of sessions: which rows, and which statistics and facets of them over which window.

    `ranked`: the order depends on the runs, so that another window is another page. `beside`: statistics that nobody
    is in need of now, and that are asked for on the occasion.
    """

    where: Params = ()
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
        where = tuple(("id", session_id) for session_id in ids)
        return cls(where=where, limit=len(ids)).with_statistics(statistics, window)

    @property
    def requested(self) -> frozenset[str]:
        """All statistics that are asked for."""
        return self.statistics | self.prefetch

    @cached_property
    def key(self) -> str:
        """Which page, whatever its length and statistics."""
        return f"{self.offset}?{urlencode(self.where + self.window if self.sorted_by_stat else self.where)}"

    @cached_property
    def digest(self) -> str:
        """The key, of bounded length."""
        return hashlib.blake2b(self.key.encode(), digest_size=16).hexdigest()

    def as_params(self, *, selecting: bool = True) -> list[tuple[str, str]]:
        """The query string. Without `selecting`, all statistics are asked for where one is wanted."""
        params = [*self.where, ("limit", str(self.limit))]
        if self.offset:
            params.append(("offset", str(self.offset)))
        everything = self.requested
        if stats := [each.select for each in FIELDS.values() if each.name in everything & STATS]:
            params.append(("include_stats", "true"))
            params += [("stats_select", name) for name in stats if selecting]
        if everything & FACETS:
            params.append(("facets", "true"))
        if everything or self.sorted_by_stat:
            params += self.window
        return params

    def settled_statistics(self, *, selecting: bool = True) -> frozenset[str]:
        """Which statistics an answer settles: those asked for, whether or not it has a value for them."""
        return self.requested if selecting or not self.requested & STATS else self.requested | STATS

    def with_statistics(self, statistics: frozenset[str], window: StatsWindow) -> Self:
        """This page with these statistics. Where no number depends on the window, there is none."""
        kept = window if statistics or self.sorted_by_stat else ALL_RUNS
        return replace(self, statistics=statistics, prefetch=frozenset(), window=kept)

    def with_prefetch(self, statistics: frozenset[str]) -> Self:
        """With these statistics beside, over the same window."""
        return replace(self, prefetch=self.prefetch | statistics)

    def covers(self, other: Self) -> bool:
        """Whether the answer to this query answers the other, which is for the same page.

        Not where their windows differ, even if the other wants no statistics: LangSmith might refuse this one's.
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

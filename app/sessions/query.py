"""TODO."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Self
from urllib.parse import urlencode

from app.sessions.arguments import Params
from app.sessions.fields import FACETS, FIELDS, STATS

Window = Params
"""Over which runs statistics are computed: the parameters that say so, none for all runs."""

ALL_RUNS: Final[Window] = ()
MAX_LIMIT: Final = 100
"""Rows in one answer of LangSmith (documented)."""


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """One page of sessions: which rows, and which statistics and facets of them over which window.

    `ranked`: the order depends on the runs, so that another window is another page. `beside`: statistics that nobody
    is in need of now, and that are asked for on the occasion.
    """

    where: Params = ()
    ranked: bool = False
    offset: int = 0
    limit: int = MAX_LIMIT
    window: Window = ALL_RUNS
    statistics: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()

    @classmethod
    def of_ids(
        cls, ids: tuple[str, ...], *, window: Window = ALL_RUNS, statistics: frozenset[str] = frozenset()
    ) -> Self:
        where = tuple(("id", session_id) for session_id in ids)
        return cls(where=where, limit=len(ids)).selecting(statistics, window)

    @property
    def everything(self) -> frozenset[str]:
        """All statistics that are asked for."""
        return self.statistics | self.beside

    @cached_property
    def key(self) -> str:
        """Which page, whatever its length and statistics."""
        return f"{self.offset}?{urlencode(self.where + self.window if self.ranked else self.where)}"

    @cached_property
    def digest(self) -> str:
        """The key, of bounded length."""
        return hashlib.blake2b(self.key.encode(), digest_size=16).hexdigest()

    def as_params(self, *, selecting: bool = True) -> list[tuple[str, str]]:
        """The query string. Without `selecting`, all statistics are asked for where one is wanted."""
        params = [*self.where, ("limit", str(self.limit))]
        if self.offset:
            params.append(("offset", str(self.offset)))
        everything = self.everything
        if stats := [each.select for each in FIELDS.values() if each.name in everything & STATS]:
            params.append(("include_stats", "true"))
            params += [("stats_select", name) for name in stats if selecting]
        if everything & FACETS:
            params.append(("facets", "true"))
        if everything or self.ranked:
            params += self.window
        return params

    def known_when_answered(self, *, selecting: bool = True) -> frozenset[str]:
        """Which statistics an answer settles: those asked for, whether or not it has a value for them."""
        return self.everything if selecting or not self.everything & STATS else self.everything | STATS

    def selecting(self, statistics: frozenset[str], window: Window) -> Self:
        """This page with these statistics. Where no number depends on the window, there is none."""
        kept = window if statistics or self.ranked else ALL_RUNS
        return replace(self, statistics=statistics, beside=frozenset(), window=kept)

    def also(self, statistics: frozenset[str]) -> Self:
        """With these statistics beside, over the same window."""
        return replace(self, beside=self.beside | statistics)

    def covers(self, other: Self) -> bool:
        """Whether the answer to this query answers the other, which is for the same page.

        Not where their windows differ, even if the other wants no statistics: LangSmith might refuse this one's.
        """
        return self.window == other.window and self.limit >= other.limit and self.everything >= other.statistics

    def widened(self, other: Self) -> Self:
        """One query in place of two for the same page and window."""
        return replace(
            self,
            limit=max(self.limit, other.limit),
            statistics=self.statistics | other.statistics,
            beside=self.beside | other.beside,
        )

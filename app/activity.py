"""Which sessions of a page have moved since their statistics were computed, and which need not be computed anew.

A run that starts moves `last_run_start_time_live`, which comes with every row and costs LangSmith nothing. What moves
neither that nor `end_time`, such as feedback or a run that ends, is seen all the same once in `LONGEST` seconds.
"""

from collections.abc import Mapping
from typing import Final

from app.resilience.clock import Clocks
from app.sessions.fields import Row
from app.sessions.page import Page, PageQuery

LONGEST: Final = 300.0
"""Seconds after which statistics are computed anew, whatever moved."""
_MOVES: Final = ("last_run_start_time_live", "end_time")


class Activity:
    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks

    def tells(self, held: Page | None, query: PageQuery) -> bool:
        """Whether what is held may be compared with the page as it is now."""
        known = held.known.get(query.window) if held else None
        if known is None or not query.statistics <= known.asked_at.keys():
            return False
        # All processes meet the same edges, so that no statistic passes two of them on its way through several.
        now, offset = self._clocks.wall(), int(query.digest[:8], 16) % LONGEST
        since_edge = (now + offset) % LONGEST
        return self._clocks.monotonic() - min(known.asked_at[name] for name in query.statistics) < since_edge

    @staticmethod
    def unmoved(now: Page, held: Page, query: PageQuery) -> Mapping[str, Row]:
        """The sessions that have not moved, with their statistics."""
        before = {row.id: row for row in held.seen_through(query.window) if row}
        return {row.id: before[row.id] for row in now.rows if row and _is_same(row, before.get(row.id))}


def _is_same(row: Row, before: Row | None) -> bool:
    moves = [getattr(row, name) for name in _MOVES]
    return before is not None and any(moves) and moves == [getattr(before, name) for name in _MOVES]

"""Index of sessions: for each session and window, the cached pages whose values of it are the youngest.

Thousands of pages may show the same sessions, and a lookup by id must not examine all of them. A page is therefore
removed from the index of a session as soon as another page knows the same statistics of the session, and none of them
older. If that page is evicted, a lookup may miss although the first page is cached.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from app.sessions.page import Page
from app.sessions.query import StatsWindow

_MAX_PAGES: Final = 8
"""Pages that are indexed for one session and window, at most. They differ in the statistics that they know."""


@dataclass(eq=False, slots=True)
class ScopeState:
    """What the store knows of a credential scope.

    - `generation`: number of times that all pages of the scope were dropped. Pages of an older one are absent.
    - `dropped_at`: pages that were fetched at this time (monotonic seconds) or earlier are absent.
    - `entries`: number of pages in memory, those that are absent included.
    """

    name: str
    generation: int = 0
    dropped_at: float = float("-inf")
    entries: int = 0


@dataclass(eq=False)
class Entry:
    """What the store knows of a cached page, beside the page itself.

    - `ids`: the sessions that the page shows, by row. A row that was dropped is an empty text. It is empty for the page
      of a single session, which is not indexed.
    - `fetched_at_by_window`: when each statistic was requested (monotonic seconds), by window; empty like `ids`.
    - `generation`: that of the scope when the page was stored.
    - `versions`: see `Page.versions`.
    """

    key: str
    scope: ScopeState
    generation: int
    versions: Mapping[StatsWindow | None, int]
    fetched_at: float
    ids: tuple[str, ...]
    fetched_at_by_window: Mapping[StatsWindow, Mapping[str, float]]

    @classmethod
    def of(cls, key: str, page: Page, scope: ScopeState, *, is_indexed: bool) -> "Entry":
        ids = tuple(row.id if row else "" for row in page.rows) if is_indexed else ()
        times = {window: stats.fetched_at for window, stats in page.stats_by_window.items()} if is_indexed else {}
        return cls(key, scope, scope.generation, page.versions, page.fetched_at, ids, times)

    @property
    def is_current(self) -> bool:
        """Whether the page may be read: its scope was not dropped since."""
        return self.generation == self.scope.generation and self.fetched_at > self.scope.dropped_at

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The row of each session."""
        return {session_id: position for position, session_id in enumerate(self.ids)}

    def knows_as_well(self, other: "Entry", window: StatsWindow | None) -> bool:
        """Whether no value of the other page, of a session that both show, is missing here or younger there."""
        if self.fetched_at < other.fetched_at:
            return False
        if window is None:
            return True
        here, there = self.fetched_at_by_window[window], other.fetched_at_by_window[window]
        return here is there or all(here.get(name, float("-inf")) >= at for name, at in there.items())


class RowIndex:
    """The pages to read for a lookup by id. Adding and removing a page takes time in proportion to its rows only."""

    def __init__(self) -> None:
        # By scope and window (None for the columns, which have none), then by session id.
        self._entries: dict[tuple[str, StatsWindow | None], dict[str, tuple[Entry, ...]]] = {}

    def find(self, scope: str, ids: Iterable[str], window: StatsWindow | None) -> dict[str, tuple[Entry, ...]]:
        """By session id, the pages that know statistics over the window, or columns if it is None."""
        cells = self._entries.get((scope, window), {})
        return {session_id: cells[session_id] for session_id in ids if session_id in cells}

    def replace(self, before: Entry | None, entry: Entry) -> None:
        """Indexes a page that is stored in the place of another one."""
        if before:
            self.remove(before)
        if entry.ids:
            for window in (None, *entry.fetched_at_by_window):
                self._add(entry, window)

    def remove(self, entry: Entry) -> None:
        """Removes a page that is no longer stored."""
        if not entry.ids:
            return
        for window in (None, *entry.fetched_at_by_window):
            place = (entry.scope.name, window)
            cells = self._entries.get(place, {})
            for session_id in entry.ids:
                held = cells.get(session_id, ())
                if entry not in held:
                    continue
                if len(held) > 1:
                    cells[session_id] = tuple(each for each in held if each is not entry)
                else:
                    del cells[session_id]
            if not cells:
                self._entries.pop(place, None)

    def _add(self, entry: Entry, window: StatsWindow | None) -> None:
        cells = self._entries.setdefault((entry.scope.name, window), {})
        # The sessions of a page usually have the same other pages, which are then compared once, and share one tuple.
        youngest: dict[tuple[Entry, ...], tuple[Entry, ...]] = {(): (entry,)}
        for session_id in entry.ids:
            if session_id:
                held = cells.get(session_id, ())
                if held not in youngest:
                    youngest[held] = _youngest(held, entry, window)
                cells[session_id] = youngest[held]


def _youngest(held: tuple[Entry, ...], entry: Entry, window: StatsWindow | None) -> tuple[Entry, ...]:
    """The pages to keep when another one is added."""
    others = [each for each in held if each.is_current and not entry.knows_as_well(each, window)]
    if any(each.knows_as_well(entry, window) for each in others):
        return tuple(others)
    return tuple(sorted([*others, entry], key=lambda each: each.fetched_at)[-_MAX_PAGES:])

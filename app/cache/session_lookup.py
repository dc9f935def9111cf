"""SessionLookup: one lookup of sessions by id, as a value, and what is derived from its decisions and pages."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from app.cache.decision import Decision, Hit, Miss, Need, Refill
from app.cache.fetcher import FetchContext
from app.cache.freshness import Use
from app.cache.in_flight import Caller
from app.cache.merging import merged
from app.sessions.page import Page
from app.sessions.query import StatsWindow
from app.sessions.row import Row

Pages = Mapping[str, Page | None]
"""Pages of one session each, by id; None if nothing is known of it."""


class SessionLookup(NamedTuple):
    """One call of `SessionCache.lookup`. `keys`: the cache keys by session id. `arrived_at`: in monotonic seconds."""

    keys: Mapping[str, str]
    need: Need
    use: Use
    context: FetchContext
    arrived_at: float

    @property
    def scope(self) -> str:
        return self.context.credential.scope

    def caller(self, *, is_exact: bool = False) -> Caller:
        return Caller(self.arrived_at, self.need.max_age, is_exact)


def hits(decisions: Mapping[str, Decision]) -> dict[str, Page]:
    """The sessions that are served from the cache, by id."""
    return {session_id: made.page for session_id, made in decisions.items() if isinstance(made, Hit)}


def statistics_to_fetch(missing: Mapping[str, Refill | Miss], need: Need) -> frozenset[str]:
    """The statistics that at least one of these sessions lacks."""
    return frozenset[str]().union(
        *(decision.missing if isinstance(decision, Refill) else need.statistics for decision in missing.values())
    )


def completed(decision: Refill | Miss, fetched: Page | None) -> Page | None:
    """A fetched session, merged with the page that was to be refilled."""
    return fetched and merged(decision.page if isinstance(decision, Refill) else None, fetched)


def oldest_fetch(pages: Iterable[Page | None], need: Need, now: float) -> float:
    """When the oldest needed value of these sessions was fetched (monotonic seconds); now if none is known."""
    known = (page for page in pages if page)
    times = (page.oldest_fetch(need.window, need.statistics) if page.rows else page.fetched_at for page in known)
    return min(times, default=now)


def row_of(page: Page | None, window: StatsWindow) -> Row | None:
    """The row of a session with its statistics over a window; None if LangSmith does not know the session."""
    return page.rows_in(window)[0] if page and page.rows else None

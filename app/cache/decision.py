"""What the cache does for a request: serve a cached page, serve it stale, refill it, or fetch it.

`decide` is a pure function over frozen values, used for pages and for single sessions. A caller reads the cache and the
clock before, and acts on the decision after. The rules:

- **Hit**: the page has enough rows, and all needed values are fresh.
- **ServeStale**: a needed value is older than the time to live, but not older than the policy allows. The page is
  served, and refreshed once in the background. An empty page is never served stale.
- **Refill**: the page is fresh, but lacks statistics. Its rows are kept, and only those statistics are fetched.
- **Miss**: everything else.

A client that sends a `max_age` gets nothing older than that, and nothing stale.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, assert_never

from app.cache.freshness import FreshnessPolicy
from app.sessions.page import Page
from app.sessions.query import StatsWindow


@dataclass(frozen=True, slots=True)
class Need:
    """What a request needs of a page.

    - `window`, `statistics`: the selected statistics, and the runs that they are computed over.
    - `limit`: number of rows.
    - `max_age`: the oldest age in seconds that the client accepts; None if it accepts what the policy allows.
    """

    window: StatsWindow
    statistics: frozenset[str]
    limit: int
    max_age: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """Serve the page.

    `fetched_at`: when the oldest needed statistic was fetched, or the page if none is needed (monotonic seconds).
    """

    load: ClassVar[int] = 0
    page: Page
    fetched_at: float


@dataclass(frozen=True, slots=True)
class Refill:
    """Fetch the missing statistics of the page's rows, and keep the rows."""

    load: ClassVar[int] = 2
    page: Page
    missing: frozenset[str]


@dataclass(frozen=True, slots=True)
class Miss:
    """Fetch the page: no cached page can be used."""

    load: ClassVar[int] = 3


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Serve the page, and refresh it in the background.

    - `fetched_at`: as for a `Hit`.
    - `refresh`: the decision for a client that accepts no stale page.
    """

    load: ClassVar[int] = 1
    page: Page
    fetched_at: float
    refresh: Refill | Miss


Decision = Hit | ServeStale | Refill | Miss
"""`load` ranks decisions by the work that they cause at LangSmith: 0 (none) to 3."""
Served = Hit | ServeStale

MISS: Final = Miss()


def decide(cached: Page | None, need: Need, policy: FreshnessPolicy, now: float) -> Decision:
    """The decision for one request. `cached` is the page in the cache; `now` is in monotonic seconds."""
    if cached is None or not cached.holds_rows(need.limit):
        return MISS
    # A page without rows has no statistics either: none are missing, and none are old.
    fetched_at = cached.oldest_fetch(need.window, need.statistics) if cached.rows else cached.fetched_at
    # A refilled statistic is younger than its rows, and one of a merged page may be older: both ages count.
    oldest = min(fetched_at, cached.fetched_at)
    if oldest > now - policy.lifetime(cached, need.max_age):
        return Hit(cached, fetched_at)
    if not cached.rows:
        return MISS
    refresh = _refresh(cached, need, policy.fresh_cutoff(now, need.max_age))
    is_acceptable = oldest > policy.stale_cutoff(now, need.max_age)
    return ServeStale(cached, fetched_at, refresh) if is_acceptable else refresh


def settle(page: Page | None, need: Need, newer_than: float) -> Hit | Refill | Miss:
    """The decision about the answer to a request that another caller had started.

    Its answer may lack what the request was joined for: LangSmith failed a statistic, which was then left out, or Redis
    has lost it. `newer_than`: a value that was fetched at this time or earlier is too old (monotonic seconds).
    """
    if page is None or not page.holds_rows(need.limit) or page.fetched_at <= newer_than:
        return MISS
    if not page.rows:
        return Hit(page, page.fetched_at)
    missing = page.missing_statistics(need.window, need.statistics, since=newer_than)
    return Refill(page, missing) if missing else Hit(page, page.oldest_fetch(need.window, need.statistics))


def joined_cutoff(page: Page | None, cutoff: float, *, trusts_age: bool) -> float:
    """The time after which the values in a joined request's answer must have been fetched (monotonic seconds).

    - `cutoff`: the same time for a cached page.
    - `trusts_age`: the client accepts the rows, whatever their age (with a TTL of 0, or while LangSmith is slow, they
      are older than a cached page may be). A statistic that is as young as the rows is then accepted too.
    """
    return min(cutoff, math.nextafter(page.fetched_at, -math.inf)) if page and trusts_age else cutoff


def _refresh(page: Page, need: Need, fresh_cutoff: float) -> Refill | Miss:
    if page.fetched_at <= fresh_cutoff:
        return MISS
    return Refill(page, page.missing_statistics(need.window, need.statistics, since=fresh_cutoff))


def heaviest(decisions: Iterable[Decision]) -> Decision | None:
    """The decision with the largest `load`; None if there are no decisions.

    It decides for the whole lookup: if one session must be fetched, the client waits anyway, so stale sessions are
    fetched in the same request instead of being served.
    """
    found: Decision | None = None
    for decision in decisions:  # max() with a key takes five times as long, and this runs for each lookup
        if found is None or decision.load > found.load:
            found = decision
    return found


def fetches(decisions: Mapping[str, Decision]) -> dict[str, Refill | Miss]:
    """By session id, the Refill or Miss that makes the session a hit. A stale session counts by its `refresh`."""
    found: dict[str, Refill | Miss] = {}
    for session_id, decision in decisions.items():
        match decision:
            case Hit():
                pass
            case ServeStale(refresh=refresh):
                found[session_id] = refresh
            case Refill() | Miss():
                found[session_id] = decision
            case _:
                assert_never(decision)
    return found


def fetches_page(decision: Decision) -> bool:
    """Whether the whole page will be fetched, now or in the background."""
    return isinstance(decision, Miss) or (isinstance(decision, ServeStale) and isinstance(decision.refresh, Miss))


def is_useful(page: Page, need: Need, policy: FreshnessPolicy, now: float) -> bool:
    """Whether at least one needed value of the page is young enough to be served, fresh or stale."""
    cutoff = policy.stale_cutoff(now, need.max_age)
    if page.fetched_at <= cutoff:
        return False
    return not need.statistics or page.missing_statistics(need.window, need.statistics, since=cutoff) != need.statistics

"""Freshness policy of the cache: time to live, stale-while-revalidate and stale-if-error."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.cache.explain import Dependency
from app.sessions.page import Page
from app.sessions.query import StatsWindow

EMPTY_SECONDS: Final = 2.0
"""Longest time that an empty page is fresh, in seconds: a session that was just created should show soon."""


@dataclass(frozen=True, slots=True)
class Use:
    """What an answer uses of a page: these statistics over a window, and the rows with their columns, or not."""

    window: StatsWindow
    statistics: frozenset[str]
    has_columns: bool = True

    def oldest_fetch(self, page: Page) -> float:
        """When the oldest used value of a page was fetched (monotonic seconds)."""
        return min(page.fetched_at, page.oldest_fetch(self.window, self.statistics)) if page.rows else page.fetched_at

    def parts_of(self, page: Page) -> Iterator[StatsWindow | None]:
        """The used parts, by which `Page.versions` are found. A page without rows tells that there are none."""
        if self.has_columns or not page.rows:
            yield None
        if self.statistics and page.rows:
            yield self.window


@dataclass(frozen=True, slots=True)
class FreshnessPolicy:
    """How long a cached page may be served. A page is judged by the age of its oldest value that is needed.

    - `ttl_seconds`: time to live, in which a page is fresh. 0 switches caching off.
    - `stale_seconds`: time after the TTL in which a page may be served while it is refreshed, or while LangSmith fails.
    - `empty_seconds`: time to live of a page without rows, if it is shorter than the TTL. An empty page is never stale.
    """

    ttl_seconds: float
    stale_seconds: float
    empty_seconds: float = EMPTY_SECONDS

    @property
    def longest_seconds(self) -> float:
        """Seconds after which no page may be served any more, not even stale."""
        return self.ttl_seconds + self.stale_seconds

    @property
    def is_caching(self) -> bool:
        return self.ttl_seconds > 0

    def lifetime(self, page: Page, max_age: float | None = None) -> float:
        """Seconds in which a page is fresh. `max_age` is the oldest age in seconds that the client accepts."""
        ttl = self.ttl_seconds if page.rows else min(self.ttl_seconds, self.empty_seconds)
        return ttl if max_age is None else min(ttl, max_age)

    def fresh_cutoff(self, now: float, max_age: float | None = None) -> float:
        """The time (monotonic seconds) from which on a value must have been fetched, exclusively, to be fresh."""
        return now - (self.ttl_seconds if max_age is None else min(self.ttl_seconds, max_age))

    def stale_cutoff(self, now: float, max_age: float | None = None) -> float:
        """The same for a value that may be stale. A client that sends a `max_age` accepts no stale value."""
        cutoff = self.fresh_cutoff(now, max_age)
        return cutoff - self.stale_seconds if max_age is None else cutoff

    def dependency(self, key: str, page: Page | None, fetched_at: float, use: "Use") -> Dependency:
        """The dependency of an answer on what it used of a cached page.

        `fetched_at`: when the oldest value in the answer was fetched (monotonic seconds). Without a page the answer
        depends on something that is not cached, and is expired already.
        """
        if page is None:
            return Dependency(key, {}, 0.0)
        versions = {part: page.versions[part] for part in use.parts_of(page)}
        return Dependency(key, versions, min(fetched_at, page.fetched_at) + self.lifetime(page))

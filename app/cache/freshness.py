"""How old may be what is held: fresh for a while, then stale, which is served while it is asked for anew."""

from collections.abc import Callable
from typing import Final

from app.cache.explain import Dependency
from app.sessions.page import Page

EMPTY_SECONDS: Final = 2.0
"""How long at most "there is nothing" is believed: a session that was just created should show soon."""


class Freshness:
    """`ttl`: seconds that a page is fresh; 0 keeps nothing. `stale`: seconds more that it may be served."""

    def __init__(self, ttl: float, stale: float, clock: Callable[[], float]) -> None:
        self.is_caching = ttl > 0
        self.ttl = ttl
        self._stale = stale if self.is_caching else 0.0
        self._clock = clock

    def oldest_acceptable(self, max_age: float | None, *, stale: bool = False) -> float:
        """What was asked for at this time or before is too old. `max_age`: of a client that wants none older."""
        if max_age is not None:
            return self._clock() - min(max_age, self.ttl)
        return self._clock() - self.ttl - (self._stale if stale else 0.0)

    def fresh_enough(self, page: Page | None, max_age: float | None, *, stale: bool = False) -> Page | None:
        """The page, if it is young enough. That there is nothing is never believed when it is stale."""
        if page is None:
            return None
        if not page.rows:
            age = min(self.ttl, EMPTY_SECONDS) if max_age is None else min(self.ttl, EMPTY_SECONDS, max_age)
            return page if page.fetched_at > self._clock() - age else None
        return page if page.fetched_at > self.oldest_acceptable(max_age, stale=stale) else None

    def dependency(self, key: str, page: Page | None, asked_at: float) -> Dependency:
        """`asked_at`: when the oldest statistic that is used was."""
        if page is None:
            return Dependency(key, None, 0.0)
        ttl = self.ttl if page.rows else min(self.ttl, EMPTY_SECONDS)
        return Dependency(key, page.version, min(asked_at, page.fetched_at) + ttl)

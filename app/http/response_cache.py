"""Answers that are kept as the bytes they were sent as, for whoever sends the same bytes with the same credential.

Each rests on held pages, and is served only while those are fresh and unchanged. Errors are never kept.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from app.cache.explain import Dependency
from app.resilience.clock import Clock
from app.resilience.lru_cache import LruCache

_REQUEST_LENGTH: Final = 16 * 1024
"""Longer requests are not remembered."""
_OVERHEAD: Final = 1000
"""Bytes that an answer takes beside its body and its key, about."""


@dataclass(frozen=True)
class CachedResponse:
    """`name` and `document` are for the log; `until`: in monotonic seconds, whatever the pages say."""

    body: bytes
    etag: str
    dependencies: Sequence[Dependency]
    expires_at: float
    name: str | None
    document: str
    cost: int


class ResponseCache:
    """`ends`: when the first of some pages is no longer fresh, or 0 if one has changed."""

    def __init__(self, max_bytes: int, *, ends: Callable[[Sequence[Dependency]], float], clock: Clock) -> None:
        self._ends = ends
        self._clock = clock
        self._kept: LruCache[str, CachedResponse] = LruCache(max_bytes)

    @property
    def held_bytes(self) -> int:
        return self._kept.held_bytes

    def key(self, scope: str, method: str, sent: bytes) -> str | None:
        """None where nothing is to be kept."""
        if not self._kept.fits(_OVERHEAD) or len(sent) > _REQUEST_LENGTH:
            return None
        return f"{scope}:{method}:{sent.decode('latin-1')}"

    def get(self, key: str) -> tuple[CachedResponse, float] | None:
        """What is kept, and for how many seconds more; None where nothing is, or no longer."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        left = self._seconds_left(kept)
        if left > 0:
            return kept, left
        self._kept.remove(key)
        return None

    def set(self, key: str, kept: CachedResponse) -> float:
        """For how many seconds; not more than 0 where its pages were not kept, as then it is not either."""
        left = self._seconds_left(kept)
        if left > 0:
            self._kept.set(key, kept, len(kept.body) + len(key) + _OVERHEAD + 100 * len(kept.dependencies))
        return left

    def _seconds_left(self, kept: CachedResponse) -> float:
        return min(kept.expires_at, self._ends(kept.dependencies)) - self._clock()


def etag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def matches(if_none_match: bytes, etag: str) -> bool:
    """Whether the client holds that very answer."""
    held = (each.strip().removeprefix("W/") for each in if_none_match.decode("latin-1").split(","))
    return any(each in {etag, "*"} for each in held)

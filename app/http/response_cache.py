"""Response cache: the bytes of successful responses, by credential and request payload, with an ETag each.

A cached response depends on cached pages of sessions. It is served only while they are fresh, and until one of the
values that it was made from is replaced.
A response with errors is never cached.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from app.cache.explain import Dependency
from app.http.negotiation import IncrementalFormat
from app.resilience.clock import Clock
from app.resilience.lru_cache import LruCache

_MAX_PAYLOAD_BYTES: Final = 16 * 1024
"""The response to a longer payload is not cached."""
_OVERHEAD_BYTES: Final = 1000
"""Approximate memory of an entry beside its body, its key and its dependencies."""
_DEPENDENCY_BYTES: Final = 100


@dataclass(frozen=True)
class CachedResponse:
    """Body and ETag of a successful response, and what the operation log says about its operation.

    `expires_at`: monotonic seconds after which the response is stale even if its pages are still fresh. `compressed`:
    the body in content codings, by their names; only those that a client has asked for. `media_type`: that of an answer
    in parts; None for JSON, whose media type the client chooses.
    """

    body: bytes
    etag: str
    dependencies: Sequence[Dependency]
    expires_at: float
    name: str | None
    document: str
    cost: int
    compressed: Mapping[str, bytes] = field(default_factory=dict)
    media_type: str | None = None


class ResponseCache:
    """An LRU cache of responses, bounded in bytes; `max_bytes=0` switches it off.

    `pages_expire_at`: monotonic time at which the first of some pages stops being fresh; 0 if a page has changed.
    """

    def __init__(
        self, max_bytes: int, *, pages_expire_at: Callable[[Sequence[Dependency]], float], clock: Clock
    ) -> None:
        self._pages_expire_at = pages_expire_at
        self._clock = clock
        self._responses: LruCache[str, CachedResponse] = LruCache(max_bytes)

    @property
    def held_bytes(self) -> int:
        return self._responses.held_bytes

    def key(self, scope: str, method: str, payload: bytes, parts: IncrementalFormat | None = None) -> str | None:
        """Key of a request's response; None if it must not be cached.

        `scope`: the scope of the credential. `parts`: the format in which the client accepts an answer in parts.
        """
        if not self._responses.fits(_OVERHEAD_BYTES) or len(payload) > _MAX_PAYLOAD_BYTES:
            return None
        return f"{scope}:{method}:{parts.name if parts else ''}:{payload.decode('latin-1')}"

    def get(self, key: str) -> tuple[CachedResponse, float] | None:
        """The response and the seconds for which it is still fresh; None if no fresh response is cached."""
        cached = self._responses.get(key)
        if cached is None:
            return None
        seconds_left = self._seconds_left(cached)
        if seconds_left > 0:
            return cached, seconds_left
        self._responses.remove(key)
        return None

    def set(self, key: str, response: CachedResponse) -> float:
        """Cache the response. Returns the seconds for which it is fresh.

        If the result is 0 or less, its pages were not cached, and neither is the response.
        """
        seconds_left = self._seconds_left(response)
        if seconds_left > 0:
            self._responses.set(key, response, _size(key, response))
        return seconds_left

    def add_compressed(self, key: str, response: CachedResponse, coding: str, body: bytes) -> CachedResponse:
        """The response with its body in this coding too. It replaces the cached one, unless that is another by now."""
        current = self._responses.get(key)
        is_current = current is not None and current.etag == response.etag
        base = current if current is not None and is_current else response
        added = replace(base, compressed={**base.compressed, coding: body})
        size = _size(key, added)
        if is_current and self._responses.fits(size):
            self._responses.set(key, added, size)
        return added

    def _seconds_left(self, response: CachedResponse) -> float:
        return min(response.expires_at, self._pages_expire_at(response.dependencies)) - self._clock()


def _size(key: str, response: CachedResponse) -> int:
    """Approximate memory of a response in bytes."""
    bodies_bytes = len(response.body) + sum(map(len, response.compressed.values()))
    return bodies_bytes + len(key) + _OVERHEAD_BYTES + _DEPENDENCY_BYTES * len(response.dependencies)


def etag_of(body: bytes) -> str:
    """Strong ETag: the quoted digest of the body."""
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def etag_matches(if_none_match: bytes, etag: str) -> bool:
    """Whether the client's `If-None-Match` header names this ETag, weak or strong, or is `*`."""
    # An ETag of ours is quoted, so that it can be found without splitting the list.
    return etag.encode() in if_none_match or if_none_match.strip() == b"*"

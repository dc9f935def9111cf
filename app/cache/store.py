"""Page store: aiocache's memory cache, bounded in bytes, with least-recently-used eviction.

aiocache's memory cache has neither a bound nor an order, and starts a timer for each key with a time to live. The store
therefore sets keys without one, and adds the bound itself. It does not judge the age of a page: its readers do.

The store also knows which pages show which session, so that a lookup by id can be answered from any of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from aiocache import SimpleMemoryCache

from app.resilience.lru_cache import LruIndex
from app.sessions.page import Page

_SESSION_PREFIX: Final = "id="
_ROW_INDEX_BYTES: Final = 350
"""Memory for each row of a page in the index of sessions, about."""


class Store(Protocol):
    """Pages by key. A key is the scope of the credential, a colon, and the key of the page or `session_key`."""

    async def get(self, key: str) -> Page | None: ...
    async def get_many(self, keys: Sequence[str]) -> list[Page | None]: ...
    async def row_pages(self, key: str, is_useful: Callable[[Page], bool]) -> list[Page]:
        """The row of one session from each useful page that shows it, as pages of one row. `key` is a session key."""

    async def set(self, key: str, page: Page) -> None:
        """Stores a page. One that alone exceeds the bound is not stored."""

    async def delete(self, key: str) -> None: ...
    async def delete_scope(self, scope: str) -> None:
        """Deletes all pages of a credential scope."""

    def version(self, key: str) -> int | None:
        """Version of the cached page, without awaiting; None if the key is not cached. Counts as a use of the page."""


class MemoryStore:
    """The store of one process. `max_bytes` bounds the estimated memory of its pages."""

    def __init__(self, max_bytes: int) -> None:
        self._bound: LruIndex[str] = LruIndex(max_bytes)
        self._memory = SimpleMemoryCache(timeout=None)
        self._versions: dict[str, int] = {}
        self._keys_by_scope: dict[str, set[str]] = {}
        # The sessions that a page shows, by row, and the reverse. A row that was dropped is an empty text.
        self._sessions_by_page: dict[str, tuple[str, ...]] = {}
        self._pages_by_session: dict[str, list[str]] = {}

    @property
    def held_bytes(self) -> int:
        """Estimated memory of the cached pages, in bytes."""
        return self._bound.held_bytes

    async def get(self, key: str) -> Page | None:
        page: Page | None = await self._memory.get(key)
        if page is not None:
            self._bound.touch(key)
        return page

    async def get_many(self, keys: Sequence[str]) -> list[Page | None]:
        pages: list[Page | None] = await self._memory.multi_get(keys)
        for key, page in zip(keys, pages, strict=True):
            if page is not None:
                self._bound.touch(key)
        return pages

    async def row_pages(self, key: str, is_useful: Callable[[Page], bool]) -> list[Page]:
        page_keys = self._pages_by_session.get(key, ())
        pages: list[Page | None] = await self._memory.multi_get(page_keys)
        return [
            page.detached_row_page(self._sessions_by_page[page_key].index(key))
            for page_key, page in zip(page_keys, pages, strict=True)
            if page and is_useful(page)
        ]

    async def set(self, key: str, page: Page) -> None:
        scope = _scope_of(key)
        sessions = [] if _is_session_key(key) else [session_key(scope, row.id) if row else "" for row in page.rows]
        weight = page.weight_bytes + len(key) + _ROW_INDEX_BYTES * len(sessions)
        if not self._bound.fits(weight):
            await self.delete(key)
            return
        await self._memory.set(key, page)
        self._versions[key] = page.version
        self._keys_by_scope.setdefault(scope, set()).add(key)
        self._index_sessions(key, tuple(sessions))
        for evicted in self._bound.add(key, weight):
            await self.delete(evicted)

    async def delete(self, key: str) -> None:
        self._bound.remove(key)
        self._versions.pop(key, None)
        self._index_sessions(key, ())
        if keys := self._keys_by_scope.get(scope := _scope_of(key)):
            keys.discard(key)
            if not keys:
                del self._keys_by_scope[scope]
        await self._memory.delete(key)

    async def delete_scope(self, scope: str) -> None:
        await self.delete_scope_before(scope, math.inf)

    async def delete_scope_before(self, scope: str, before: float) -> None:
        """Deletes the pages of a credential scope that were fetched at that time (monotonic seconds) or earlier."""
        for key in list(self._keys_by_scope.get(scope, ())):
            page: Page | None = await self._memory.get(key)
            if page is None or page.fetched_at <= before:
                await self.delete(key)

    def version(self, key: str) -> int | None:
        version = self._versions.get(key)
        if version is not None:
            self._bound.touch(key)
        return version

    def _index_sessions(self, page_key: str, sessions: tuple[str, ...]) -> None:
        """Replaces the sessions that a page shows."""
        if (before := self._sessions_by_page.get(page_key, ())) == sessions:
            return
        for session in filter(None, before):
            page_keys = self._pages_by_session[session]
            page_keys.remove(page_key)
            if not page_keys:
                del self._pages_by_session[session]
        self._sessions_by_page.pop(page_key, None)
        if sessions:
            self._sessions_by_page[page_key] = sessions
        for session in filter(None, sessions):
            self._pages_by_session.setdefault(session, []).append(page_key)


def session_key(scope: str, session_id: str) -> str:
    """The key of a single session, which is stored as a page of one row, or of none if it does not exist."""
    return f"{scope}:{_SESSION_PREFIX}{session_id}"


def _scope_of(key: str) -> str:
    return key.partition(":")[0]


def _is_session_key(key: str) -> bool:
    return key.partition(":")[2].startswith(_SESSION_PREFIX)

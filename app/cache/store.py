"""Where pages are held: aiocache's memory, bounded in bytes, the least recently used going first.

aiocache's own memory knows neither bound nor order, and starts a timer for each key; so keys are set without a time
to live, the bound is kept here, and who reads a page judges its age.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from aiocache import SimpleMemoryCache

from app.resilience.lru_cache import LruIndex
from app.sessions.page import Page


class Store(Protocol):
    async def get(self, key: str) -> Page | None: ...
    async def get_many(self, keys: Sequence[str]) -> list[Page | None]: ...
    async def row_pages(self, key: str, is_of_use: Callable[[Page], bool]) -> list[Page]:
        """What such pages as are of use show of the session with that key, each as a page of its own."""

    async def set(self, key: str, page: Page) -> None: ...
    async def delete(self, key: str) -> None: ...
    async def delete_scope(self, scope: str) -> None:
        """All that is held for a credential."""

    def version(self, key: str) -> int | None:
        """Of the page that is held here, at once; None where none is. Counts as a use of it."""


class MemoryStore:
    """Keys begin with the scope of the credential. A page of one session that was looked up has a `session_key`."""

    def __init__(self, max_bytes: int) -> None:
        self._bound: LruIndex[str] = LruIndex(max_bytes)
        self._memory = SimpleMemoryCache(timeout=None)
        self._versions: dict[str, int] = {}
        self._keys: dict[str, set[str]] = {}
        self._shows: dict[str, tuple[str, ...]] = {}
        self._shown_by: dict[str, list[str]] = {}

    @property
    def held_bytes(self) -> int:
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

    async def row_pages(self, key: str, is_of_use: Callable[[Page], bool]) -> list[Page]:
        shown_by = self._shown_by.get(key, ())
        pages: list[Page | None] = await self._memory.multi_get(shown_by)
        return [
            page.detached_row_page(self._shows[by].index(key))
            for by, page in zip(shown_by, pages, strict=True)
            if page and is_of_use(page)
        ]

    async def set(self, key: str, page: Page) -> None:
        scope = _scope_of(key)
        sessions = [] if _is_session(key) else [session_key(scope, row.id) if row else "" for row in page.rows]
        weight = page.weight_bytes + len(key) + _WEIGHT_SHOWN * len(sessions)
        if not self._bound.fits(weight):
            await self.delete(key)
            return
        await self._memory.set(key, page)
        self._versions[key] = page.version
        self._keys.setdefault(scope, set()).add(key)
        self._show(key, tuple(sessions))
        for evicted in self._bound.add(key, weight):
            await self.delete(evicted)

    async def delete(self, key: str) -> None:
        self._bound.remove(key)
        self._versions.pop(key, None)
        self._show(key, ())
        if keys := self._keys.get(scope := _scope_of(key)):
            keys.discard(key)
            if not keys:
                del self._keys[scope]
        await self._memory.delete(key)

    async def delete_scope(self, scope: str) -> None:
        await self.delete_scope_before(scope, math.inf)

    async def delete_scope_before(self, scope: str, before: float) -> None:
        """What was asked for by then (monotonic)."""
        for key in list(self._keys.get(scope, ())):
            page: Page | None = await self._memory.get(key)
            if page is None or page.fetched_at <= before:
                await self.delete(key)

    def version(self, key: str) -> int | None:
        version = self._versions.get(key)
        if version is not None:
            self._bound.touch(key)
        return version

    def _show(self, key: str, sessions: tuple[str, ...]) -> None:
        """Notes which sessions a page shows."""
        if (before := self._shows.get(key, ())) == sessions:
            return
        for each in filter(None, before):
            shown_by = self._shown_by[each]
            shown_by.remove(key)
            if not shown_by:
                del self._shown_by[each]
        self._shows.pop(key, None)
        if sessions:
            self._shows[key] = sessions
        for each in filter(None, sessions):
            self._shown_by.setdefault(each, []).append(key)


def session_key(scope: str, session_id: str) -> str:
    return f"{scope}:{_SESSION}{session_id}"


_SESSION: Final = "id="
_WEIGHT_SHOWN: Final = 350
"""Bytes that it takes to know which page shows a session."""


def _scope_of(key: str) -> str:
    return key.partition(":")[0]


def _is_session(key: str) -> bool:
    return key.partition(":")[2].startswith(_SESSION)

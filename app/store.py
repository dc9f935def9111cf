"""Where pages are held: aiocache's memory, bounded in bytes, the least recently used going first.

aiocache's own memory knows neither bound nor order, and starts a timer for each key; so keys are set without a time
to live, the bound is kept here, and who reads a page judges its age.
"""

from collections.abc import Sequence
from typing import Protocol

from aiocache import SimpleMemoryCache

from app.bound import Bound
from app.page import Page


class Store(Protocol):
    async def get(self, key: str) -> Page | None: ...
    async def get_many(self, keys: Sequence[str]) -> list[Page | None]: ...
    async def put(self, key: str, page: Page) -> None: ...
    async def drop(self, key: str) -> None: ...
    async def forget(self, scope: str) -> None:
        """All that is held for a credential."""

    def version(self, key: str) -> int | None:
        """Of the page that is held here, at once; None where none is. Counts as a use of it."""


class MemoryStore:
    def __init__(self, max_bytes: int) -> None:
        self._bound: Bound[str] = Bound(max_bytes)
        self._memory = SimpleMemoryCache(timeout=None)
        self._versions: dict[str, int] = {}
        self._keys: dict[str, set[str]] = {}

    @property
    def held_bytes(self) -> int:
        return self._bound.held_bytes

    async def get(self, key: str) -> Page | None:
        page: Page | None = await self._memory.get(key)
        if page is not None:
            self._bound.use(key)
        return page

    async def get_many(self, keys: Sequence[str]) -> list[Page | None]:
        pages: list[Page | None] = await self._memory.multi_get(keys)
        for key, page in zip(keys, pages, strict=True):
            if page is not None:
                self._bound.use(key)
        return pages

    async def put(self, key: str, page: Page) -> None:
        weight = page.weight + len(key)
        if not self._bound.fits(weight):
            await self.drop(key)
            return
        await self._memory.set(key, page)
        self._versions[key] = page.version
        self._keys.setdefault(_scope_of(key), set()).add(key)
        for evicted in self._bound.add(key, weight):
            await self.drop(evicted)

    async def drop(self, key: str) -> None:
        self._bound.forget(key)
        self._versions.pop(key, None)
        if keys := self._keys.get(scope := _scope_of(key)):
            keys.discard(key)
            if not keys:
                del self._keys[scope]
        await self._memory.delete(key)

    async def forget(self, scope: str) -> None:
        for key in list(self._keys.get(scope, ())):
            await self.drop(key)

    def version(self, key: str) -> int | None:
        version = self._versions.get(key)
        if version is not None:
            self._bound.use(key)
        return version


def _scope_of(key: str) -> str:
    """Keys begin with the scope of the credential."""
    return key.partition(":")[0]

"""Where pages are held: aiocache's memory, bounded in bytes, the least recently used going first.

aiocache's own memory knows neither bound nor order, and starts a timer for each key; so keys are set without a time
to live, the bound is kept here, and who reads a page judges its age.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from aiocache import SimpleMemoryCache

from app.page import Page


class Store(Protocol):
    async def get(self, key: str) -> Page | None: ...
    async def get_many(self, keys: Sequence[str]) -> list[Page | None]: ...
    async def put(self, key: str, page: Page) -> None: ...
    async def drop(self, key: str) -> None: ...


class MemoryStore:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._memory = SimpleMemoryCache(timeout=None)
        self._weights: OrderedDict[str, int] = OrderedDict()
        self.held_bytes = 0

    async def get(self, key: str) -> Page | None:
        page: Page | None = await self._memory.get(key)
        if page is not None:
            self._weights.move_to_end(key)
        return page

    async def get_many(self, keys: Sequence[str]) -> list[Page | None]:
        pages: list[Page | None] = await self._memory.multi_get(keys)
        for key, page in zip(keys, pages, strict=True):
            if page is not None:
                self._weights.move_to_end(key)
        return pages

    async def put(self, key: str, page: Page) -> None:
        self._forget(key)
        weight = page.weight + len(key)
        if weight > self._max_bytes:
            await self._memory.delete(key)
            return
        await self._memory.set(key, page)
        self._weights[key] = weight
        self.held_bytes += weight
        while self.held_bytes > self._max_bytes:
            await self.drop(next(iter(self._weights)))

    async def drop(self, key: str) -> None:
        self._forget(key)
        await self._memory.delete(key)

    def _forget(self, key: str) -> None:
        self.held_bytes -= self._weights.pop(key, 0)

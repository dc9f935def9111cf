"""Page store: aiocache's memory cache, bounded in bytes, with least-recently-used eviction.

aiocache's memory cache has neither a bound nor an order, and starts a timer for each key with a time to live. The store
therefore sets keys without one, and adds the bound itself. It does not judge whether a page is fresh: its readers do.
Pages that nobody can use any more, because they are too old or their scope was dropped, are deleted a few at a time
when others are stored. Dropping a scope thus takes the same time however many pages it has.

The store also knows which pages show which session, so that a lookup by id can be answered from any of them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from aiocache import SimpleMemoryCache

from app.cache.row_index import Entry, RowIndex, ScopeState
from app.resilience.clock import Clock
from app.resilience.lru_cache import BoundedDict, LruIndex
from app.sessions.page import Page
from app.sessions.query import StatsWindow

_SESSION_PREFIX: Final = "id="
_ENTRY_BYTES: Final = 1000
"""Memory for what the store knows of each page beside the page, about."""
_ROW_INDEX_BYTES: Final = 80
"""Memory for each row of a page in the index of sessions, for the columns and for each window, about."""
_DELETED_PER_SET: Final = 4
"""Unusable pages that are deleted when a page is stored, at most. More than one, so that there are fewer and fewer."""


class Store(Protocol):
    """Pages by key. A key is the scope of the credential, a colon, and the key of the page or `session_key`."""

    def get(self, key: str) -> Page | None: ...
    async def get_many(self, keys: Sequence[str]) -> list[Page | None]: ...
    async def row_pages(
        self, scope: str, ids: Sequence[str], window: StatsWindow | None, is_useful: Callable[[Page], bool]
    ) -> dict[str, list[Page]]:
        """Rows of sessions from the useful pages that show them, by session id, each as a page of one row.

        Only the pages with the youngest statistics over the window are examined, or those with the youngest columns if
        `window` is None. The rows have no other statistics.
        """

    async def set(self, key: str, page: Page) -> None:
        """Stores a page. One that alone exceeds the bound is not stored."""

    async def set_many(self, pages: Mapping[str, Page]) -> None:
        """Stores pages by key. A hundred at once cost half as much as one by one."""

    async def delete(self, key: str) -> None: ...
    def delete_scope(self, scope: str, now: float) -> None:
        """Deletes all pages of a credential scope, at once. `now`: the time in monotonic seconds.

        A page that was requested before that time, and arrives later, is not stored either.
        """

    def has_versions(self, key: str, versions: Mapping[StatsWindow | None, int]) -> bool:
        """Whether a page is cached whose parts have these versions, without awaiting. Counts as a use of the page."""


class _Memory(SimpleMemoryCache):  # type: ignore[misc]  # aiocache has no types
    """aiocache's memory cache, which can also be read without awaiting: it never waits for anything."""

    def held(self, key: str) -> Page | None:
        page: Page | None = self._cache.get(key)
        return page


class MemoryStore:
    """The store of one process.

    - `max_bytes`: bounds the estimated memory of its pages.
    - `lifetime_seconds`: after which a page is of no use, not even stale.
    - `clock`: monotonic seconds, on which pages are fetched.
    """

    def __init__(self, max_bytes: int, *, lifetime_seconds: float, clock: Clock) -> None:
        self._bound: LruIndex[str] = LruIndex(max_bytes)
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self._memory = _Memory(timeout=None)
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # in the order in which they were stored
        self._scopes: dict[str, ScopeState] = {}  # those that have pages
        self._emptied_scopes: BoundedDict[str, ScopeState] = BoundedDict()  # dropped ones that have no pages
        self._index = RowIndex()

    @property
    def held_bytes(self) -> int:
        """Estimated memory of the cached pages, in bytes."""
        return self._bound.held_bytes

    def get(self, key: str) -> Page | None:
        entry = self._entries.get(key)
        if entry is None or not entry.is_current:
            return None
        self._bound.touch(key)
        return self._memory.held(key)

    async def get_many(self, keys: Sequence[str]) -> list[Page | None]:
        pages: list[Page | None] = await self._memory.multi_get(keys)
        for position, key in enumerate(keys):
            if pages[position] is not None:
                if self._entries[key].is_current:
                    self._bound.touch(key)
                else:
                    pages[position] = None
        return pages

    async def row_pages(
        self, scope: str, ids: Sequence[str], window: StatsWindow | None, is_useful: Callable[[Page], bool]
    ) -> dict[str, list[Page]]:
        found = self._index.find(scope, ids, window)
        entries = [*dict.fromkeys(entry for each in found.values() for entry in each if entry.is_current)]
        if not entries:
            return {}
        pages = await self._memory.multi_get([entry.key for entry in entries])
        useful = {entry: page for entry, page in zip(entries, pages, strict=True) if page and is_useful(page)}
        return {
            session_id: [
                useful[entry].detached_row_page(entry.positions[session_id], window)
                for entry in each
                if entry in useful
            ]
            for session_id, each in found.items()
        }

    async def set(self, key: str, page: Page) -> None:
        await self.set_many({key: page})

    async def set_many(self, pages: Mapping[str, Page]) -> None:
        await self._delete_unusable(_DELETED_PER_SET * len(pages))
        for key, page in pages.items():
            await self._set_entry(key, page)
        # aiocache takes longer for one call than for one page. Nothing else runs before it has the pages.
        await self._memory.multi_set([(key, page) for key, page in pages.items() if key in self._entries])

    async def _set_entry(self, key: str, page: Page) -> None:
        """Makes room for a page, and enters it, or deletes what is stored under its key if it cannot be stored."""
        scope_name, is_session = scope_of(key), _is_session_key(key)
        scope = self._scopes.get(scope_name) or self._emptied_scopes.pop(scope_name, ScopeState(scope_name))
        self._scopes[scope_name] = scope
        weight = page.weight_bytes + len(key) + _ENTRY_BYTES
        if not is_session:
            weight += _ROW_INDEX_BYTES * len(page.rows) * (1 + len(page.stats_by_window))
        if not self._bound.fits(weight) or page.fetched_at <= scope.dropped_at:
            if key in self._entries:
                await self.delete(key)
            else:
                self._forget_empty(scope)
            return
        before = self._entries.pop(key, None)
        entry = self._entries[key] = Entry.of(key, page, scope, is_indexed=not is_session)
        scope.entries += before is None
        self._index.replace(before, entry)
        for evicted in self._bound.add(key, weight):
            await self.delete(evicted)

    async def delete(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._bound.remove(key)
        self._index.remove(entry)
        entry.scope.entries -= 1
        self._forget_empty(entry.scope)
        await self._memory.delete(key)

    def delete_scope(self, scope: str, now: float) -> None:
        self._dropped_scope(scope).generation += 1
        self.delete_scope_before(scope, math.nextafter(now, -math.inf))

    def delete_scope_before(self, scope: str, before: float) -> None:
        """Deletes the pages of a credential scope that were fetched at that time (monotonic seconds) or earlier."""
        state = self._dropped_scope(scope)
        state.dropped_at = max(state.dropped_at, before)

    def has_versions(self, key: str, versions: Mapping[StatsWindow | None, int]) -> bool:
        entry = self._entries.get(key)
        if entry is None or not entry.is_current:
            return False
        self._bound.touch(key)
        return versions.items() <= entry.versions.items()

    async def _delete_unusable(self, most: int) -> None:
        """Deletes pages that were stored first, `most` at most, if they are too old, or their scope was dropped."""
        cutoff = self._clock() - self._lifetime_seconds
        for _ in range(most):
            oldest = next(iter(self._entries.values()), None)
            if oldest is None or (oldest.is_current and oldest.fetched_at > cutoff):
                return
            await self.delete(oldest.key)

    def _dropped_scope(self, scope: str) -> ScopeState:
        """The state of a scope that is being dropped. One without pages may have requested some."""
        return self._scopes.get(scope) or self._emptied_scopes.setdefault(scope, ScopeState(scope))

    def _forget_empty(self, scope: ScopeState) -> None:
        """Forgets a scope that has no pages. A dropped one is remembered for pages that were requested before."""
        if not scope.entries:
            del self._scopes[scope.name]
            if math.isfinite(scope.dropped_at):
                self._emptied_scopes[scope.name] = scope


def session_key(scope: str, session_id: str) -> str:
    """The key of a single session, which is stored as a page of one row, or of none if it does not exist."""
    return f"{scope}:{_SESSION_PREFIX}{session_id}"


def scope_of(key: str) -> str:
    """The credential scope of a key."""
    return key.partition(":")[0]


def _is_session_key(key: str) -> bool:
    return key.partition(":")[2].startswith(_SESSION_PREFIX)

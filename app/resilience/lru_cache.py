"""Caches that evict the least recently used entry: bounded in bytes, or in entries."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MAX_ENTRIES: Final = 10_000


class LruIndex(Generic[K]):
    """The keys of a cache with their sizes in bytes, least recently used first.

    It does not hold the values: the cache stores them itself, and removes those whose keys `add` yields.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[K, int] = OrderedDict()
        self.held_bytes = 0

    def fits(self, size: int) -> bool:
        """Whether an entry of this size, in bytes, fits into an empty cache."""
        return size <= self._max_bytes

    def touch(self, key: K) -> None:
        """Mark a key as the most recently used. Raises KeyError for an unknown key."""
        self._sizes.move_to_end(key)

    def add(self, key: K, size: int) -> Iterator[K]:
        """Add or replace a key, and yield the keys to evict in exchange. Nothing happens until it is iterated."""
        self.remove(key)
        self._sizes[key] = size
        self.held_bytes += size
        while self.held_bytes > self._max_bytes:
            oldest = next(iter(self._sizes))
            self.remove(oldest)
            yield oldest

    def remove(self, key: K) -> None:
        """Remove a key if it is there."""
        self.held_bytes -= self._sizes.pop(key, 0)


class LruCache(Generic[K, V]):
    """A cache with a bound in bytes that evicts the least recently used entries. Values must not be None."""

    def __init__(self, max_bytes: int) -> None:
        self._index: LruIndex[K] = LruIndex(max_bytes)
        self._values: dict[K, V] = {}

    @property
    def held_bytes(self) -> int:
        """Total size of the entries."""
        return self._index.held_bytes

    def fits(self, size: int) -> bool:
        """Whether an entry of this size, in bytes, fits into an empty cache."""
        return self._index.fits(size)

    def get(self, key: K) -> V | None:
        """The value, which becomes the most recently used; None if the key is not cached."""
        value = self._values.get(key)
        if value is not None:
            self._index.touch(key)
        return value

    def set(self, key: K, value: V, size: int) -> V:
        """Store a value of about `size` bytes, and return it.

        A value that is larger than the cache is not stored, and removes the older value of its key.
        """
        if self._index.fits(size):
            self._values[key] = value
            for evicted in self._index.add(key, size):
                del self._values[evicted]
        else:
            self.remove(key)
        return value

    def remove(self, key: K) -> None:
        """Remove a key if it is there."""
        self._index.remove(key)
        self._values.pop(key, None)


class BoundedDict(OrderedDict[K, V], Generic[K, V]):
    """A dictionary of the entries that were set last, 10 000 by default. Reading an entry does not keep it longer."""

    def __init__(self, max_entries: int = _MAX_ENTRIES) -> None:
        super().__init__()
        self._max_entries = max_entries

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._max_entries:
            self.popitem(last=False)

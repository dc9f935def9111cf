"""A bound in bytes, under which what was used least recently goes, alone and with a mapping; and one in number."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MOST: Final = 10_000


class LruIndex(Generic[K]):
    """Knows the weight of each key that is held, in the order of use; what is held it does not know."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._weights: OrderedDict[K, int] = OrderedDict()
        self.held_bytes = 0

    def fits(self, weight: int) -> bool:
        return weight <= self._max_bytes

    def touch(self, key: K) -> None:
        self._weights.move_to_end(key)

    def add(self, key: K, weight: int) -> Iterator[K]:
        """Yields the keys that have to go for it, each of which it forgets."""
        self.remove(key)
        self._weights[key] = weight
        self.held_bytes += weight
        while self.held_bytes > self._max_bytes:
            oldest = next(iter(self._weights))
            self.remove(oldest)
            yield oldest

    def remove(self, key: K) -> None:
        self.held_bytes -= self._weights.pop(key, 0)


class LruCache(Generic[K, V]):
    """A mapping that keeps what was used last."""

    def __init__(self, max_bytes: int) -> None:
        self._bound: LruIndex[K] = LruIndex(max_bytes)
        self._held: dict[K, V] = {}

    @property
    def held_bytes(self) -> int:
        return self._bound.held_bytes

    def fits(self, weight: int) -> bool:
        return self._bound.fits(weight)

    def get(self, key: K) -> V | None:
        value = self._held.get(key)
        if value is not None:
            self._bound.touch(key)
        return value

    def set(self, key: K, value: V, weight: int) -> V:
        """`weight`: bytes that it takes, about. What alone passes the bound is not kept."""
        if self._bound.fits(weight):
            self._held[key] = value
            for evicted in self._bound.add(key, weight):
                del self._held[evicted]
        return value

    def remove(self, key: K) -> None:
        self._bound.remove(key)
        self._held.pop(key, None)


class LruDict(OrderedDict[K, V], Generic[K, V]):
    """Keeps the 10 000 that were put last."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > _MOST:
            self.popitem(last=False)

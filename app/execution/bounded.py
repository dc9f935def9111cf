"""A mapping that keeps what was used last, within a bound in bytes."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from app.bound import Bound

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    def __init__(self, max_bytes: int) -> None:
        self._bound: Bound[K] = Bound(max_bytes)
        self._held: dict[K, V] = {}

    def use(self, key: K) -> V | None:
        value = self._held.get(key)
        if value is not None:
            self._bound.use(key)
        return value

    def keep(self, key: K, value: V, weight: int) -> V:
        """`weight`: bytes that it takes, about. What alone passes the bound is not kept."""
        if self._bound.fits(weight):
            self._held[key] = value
            for evicted in self._bound.add(key, weight):
                del self._held[evicted]
        return value

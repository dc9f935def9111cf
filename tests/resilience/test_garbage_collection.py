"""Garbage in cycles is collected while nobody waits, and once an hour if somebody always does."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from app.resilience.garbage_collection import GarbageCollection
from tests.conftest import Clock


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def old_cycle() -> Iterator[weakref.ref[Node]]:
    """Garbage that has survived a collection of the young objects."""
    gc.collect()
    gc.disable()
    try:
        node = Node()
        gc.collect(1)
        found = weakref.ref(node)
        del node
        gc.collect(1)
        assert found() is not None
        yield found
    finally:
        gc.enable()


def test_everything_is_collected_while_nobody_waits(old_cycle: weakref.ref[Node], clock: Clock) -> None:
    collection = GarbageCollection(lambda: True, clock.monotonic)
    assert not collection.collect_if_due()
    clock.advance(30)
    assert collection.collect_if_due()
    assert old_cycle() is None


def test_nothing_old_is_looked_through_while_somebody_waits_but_once_an_hour(
    old_cycle: weakref.ref[Node], clock: Clock
) -> None:
    collection = GarbageCollection(lambda: False, clock.monotonic)
    for _ in range(59):
        clock.advance(60)
        assert not collection.collect_if_due()
    assert old_cycle() is not None
    clock.advance(60)
    assert collection.collect_if_due()
    assert old_cycle() is None


def test_nothing_is_collected_if_nothing_became_old(clock: Clock) -> None:
    collection = GarbageCollection(lambda: True, clock.monotonic)
    clock.advance(30)
    gc.collect()
    assert not collection.collect_if_due()


async def test_the_thresholds_are_those_of_before_in_the_end(clock: Clock) -> None:
    before = gc.get_threshold()
    with GarbageCollection(lambda: True, clock.monotonic).running():
        assert gc.get_threshold() != before
        assert gc.isenabled()
    assert gc.get_threshold() == before

"""Fixtures of the tests of the shared cache."""

from tests.cache.shared.pair import pair

__all__ = ["pair"]

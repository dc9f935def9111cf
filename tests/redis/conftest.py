"""Fixtures of the tests of the Redis connection."""

from collections.abc import Iterator

import pytest

from tests.support.real_redis import real_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with real_cluster() as url:
        yield url

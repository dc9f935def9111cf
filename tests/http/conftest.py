"""Fixtures of the tests of the HTTP room."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Gateway
from tests.support.raw_client import Connection, connect


@pytest.fixture
async def connection(gateway: Gateway) -> AsyncIterator[Connection]:
    async with connect(gateway) as connection:
        yield connection

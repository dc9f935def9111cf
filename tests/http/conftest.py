"""Fixtures of the tests of the HTTP room."""

import functools
from collections.abc import AsyncIterator

import pytest

from tests.conftest import Clock, Gateway, Serve, running_gateway
from tests.support.raw_client import Connection, connect


@pytest.fixture
async def connection(gateway: Gateway) -> AsyncIterator[Connection]:
    async with connect(gateway) as connection:
        yield connection


_WITH_AND_WITHOUT_FAST_PATH = {
    "test_compression",
    "test_endpoint",
    "test_header_lists",
    "test_request_framing",
    "test_request_smuggling",
    "test_uvicorn_protocol",
}
"""Modules whose tests run with the fast path and without it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in _WITH_AND_WITHOUT_FAST_PATH and "fast_path" in metafunc.fixturenames:
        metafunc.parametrize("fast_path", [True, False], ids=["fast path", "no fast path"], indirect=True)


@pytest.fixture
def fast_path(request: pytest.FixtureRequest) -> bool:
    """The setting `GATEWAY_FAST_PATH` of the gateways that a test starts, unless it gives another one."""
    return bool(getattr(request, "param", True))


@pytest.fixture
def serve(upstream_url: str, clock: Clock, fast_path: bool) -> Serve:
    return functools.partial(running_gateway, upstream_url, clock, fast_path=fast_path)

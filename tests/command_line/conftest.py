"""Fixtures for commands that run in the process of the tests."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _handler_of_sigterm_stays() -> Iterator[None]:
    """Put back the handler that `serve` replaces, also if it ends before it serves anything."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)

"""Fixtures of the tests of the upstream."""

from collections.abc import Iterator

import pytest

from app.emulator import Emulator
from tests.conftest import Clock


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    """A LangSmith with few sessions, which starts faster: these tests look at requests and errors, not at rows."""
    return Emulator(clock=clock.now, workspaces={"demo": 20, "demo-2": 20})


@pytest.fixture(autouse=True)
def _nothing_is_left_open(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that leaves a connection unclosed or an error unretrieved: asyncio only logs them."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"] == []

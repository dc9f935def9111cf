"""An emulator with a clock that tests move, and clients of it."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from app.emulator import Emulator, serving
from tests.conftest import create_http_client
from tests.emulator.expected import NOW, GetPage, ListSessions, Page, Rows


class Clock:
    """A clock that stands still until a test sets `now`."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    return Emulator(clock=clock)


@pytest.fixture
async def url(langsmith: Emulator) -> AsyncIterator[str]:
    async with serving(langsmith) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with create_http_client(url, key="demo") as client:
        yield client


@pytest.fixture
def page(client: httpx.AsyncClient) -> ListSessions:
    """Returns one page of sessions."""

    async def page(**params: Any) -> Rows:
        response = await client.get("/api/v1/sessions", params=params)
        assert response.status_code == 200, response.text
        rows: Rows = response.json()
        return rows

    return page


@pytest.fixture
def all_rows(page: ListSessions) -> ListSessions:
    """Returns the sessions of all pages."""

    async def all_rows(**params: Any) -> Rows:
        rows: Rows = []
        while len(found := await page(**params, limit=100, offset=len(rows))) == 100:
            rows += found
        return rows + found

    return all_rows


@pytest.fixture
def page_v2(client: httpx.AsyncClient) -> GetPage:
    """Returns one page of version 2."""

    async def page_v2(**params: Any) -> Page:
        response = await client.get("/api/v2/sessions", params=params)
        assert response.status_code == 200, response.text
        body = response.json()
        assert body.keys() == {"items", "next_cursor"}
        return Page(body["items"], body["next_cursor"])

    return page_v2


@pytest.fixture
def walk_v2(page_v2: GetPage) -> ListSessions:
    """Returns the sessions of all pages of version 2."""

    async def walk_v2(**params: Any) -> Rows:
        page = await page_v2(**{"page_size": 100} | params)
        rows = page.items
        while page.next_cursor is not None:
            page = await page_v2(**{"page_size": 100} | params, cursor=page.next_cursor)
            rows += page.items
        return rows

    return walk_v2

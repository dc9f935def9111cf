"""Version 2 is walked with cursors, which belong to the parameters of their request."""

import base64
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.emulator import Emulator
from tests.conftest import create_http_client
from tests.emulator.conftest import Clock
from tests.emulator.expected import NOW, GetPage, ListSessions, Page, ids, sessions_of

Fetch = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def fetch(client: httpx.AsyncClient) -> Fetch:
    """Returns the response of version 2, whatever its status is."""

    async def fetch(**params: Any) -> httpx.Response:
        return await client.get("/api/v2/sessions", params=params)

    return fetch


async def rest_of(page_v2: GetPage, first: Page, **params: Any) -> list[str]:
    """The ids of the pages that follow the first one."""
    found, cursor = [], first.next_cursor
    while cursor is not None:
        page = await page_v2(**params, cursor=cursor)
        found += [row["id"] for row in page.items]
        cursor = page.next_cursor
    return found


ORDERS = [
    *({"sort_by": column} for column in ("NAME", "START_TIME", "LAST_RUN_START_TIME")),
    *({"sort_by": column} for column in ("ERROR_RATE", "LATENCY_P50", "LATENCY_P99")),
]


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order["sort_by"])
async def test_pages_contain_every_session_once_in_the_order_of_v1(
    all_rows: ListSessions, walk_v2: ListSessions, order: dict[str, str], direction: str
) -> None:
    found = [row["id"] for row in await walk_v2(**order, sort_order=direction, page_size=37)]
    expected = await all_rows(sort_by=order["sort_by"].lower(), sort_by_desc=direction == "desc")
    assert found == [row["id"] for row in expected]
    assert len(set(found)) == 240


@pytest.mark.parametrize("size", [1, 16, 32])
async def test_the_last_page_has_no_cursor(langsmith: Emulator, page_v2: GetPage, size: int) -> None:
    dataset = str(langsmith.workspaces["demo"].datasets[0].id)
    pages = [await page_v2(reference_dataset_id=dataset, page_size=size)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await page_v2(reference_dataset_id=dataset, page_size=size, cursor=cursor))
    assert [len(page.items) for page in pages] == [min(size, 16)] * max(1, 16 // size)


async def test_an_empty_list_is_one_page(page_v2: GetPage) -> None:
    assert await page_v2(name="nobody") == Page([], None)


CHANGES: list[dict[str, Any]] = [
    {"page_size": 11},
    {"sort_order": "asc"},
    {"sort_by": "NAME"},
    {"name_contains": "agent"},
    {"include_stats": False},
    {"stats_select": ["error_rate", "run_count"]},
    {"stats_select": ["run_count"]},
    {"stats_start_time": (NOW - timedelta(hours=25)).isoformat()},
    {"use_approx_stats": "false"},
    {"type": "PROJECT"},
]


@pytest.mark.parametrize("change", CHANGES, ids="-".join)
async def test_a_cursor_is_refused_with_other_parameters(
    page_v2: GetPage, fetch: Fetch, change: dict[str, Any]
) -> None:
    params: dict[str, Any] = {
        "page_size": 10,
        "include_stats": True,
        "stats_select": ["run_count", "error_rate"],
        "stats_start_time": (NOW - timedelta(hours=24)).isoformat(),
    }
    cursor = (await page_v2(**params)).next_cursor
    response = await fetch(**params | change, cursor=cursor)
    assert response.status_code == 400
    assert response.json()["detail"] == "The cursor belongs to a request with other parameters."
    assert (await fetch(**params, cursor=cursor)).status_code == 200


async def test_a_cursor_is_refused_without_a_parameter_and_in_another_workspace(
    url: str, page_v2: GetPage, fetch: Fetch
) -> None:
    cursor = (await page_v2(page_size=10, name_contains="a")).next_cursor
    assert (await fetch(page_size=10, cursor=cursor)).status_code == 400
    async with create_http_client(url, key="demo-2") as other:
        response = await other.get("/api/v2/sessions", params={"page_size": 10, "name_contains": "a", "cursor": cursor})
    assert response.status_code == 400


async def test_a_cursor_accepts_its_parameters_in_any_order(client: httpx.AsyncClient) -> None:
    first = (await client.get("/api/v2/sessions?page_size=5&sort_by=NAME&sort_order=asc")).json()
    cursor = first["next_cursor"]
    response = await client.get(f"/api/v2/sessions?cursor={cursor}&sort_order=asc&sort_by=NAME&page_size=5")
    assert len(response.json()["items"]) == 5


@pytest.mark.parametrize("forged", ["", "x", "%%%", "e30", base64.urlsafe_b64encode(b'{"key":[]}').decode()])
async def test_a_cursor_that_is_none_is_refused(fetch: Fetch, forged: str) -> None:
    response = await fetch(cursor=forged)
    assert (response.status_code, response.json()["detail"]) == (400, "The cursor is invalid.")


async def test_a_cursor_expires_after_its_lifetime(
    langsmith: Emulator, clock: Clock, page_v2: GetPage, fetch: Fetch
) -> None:
    langsmith.cursor_lifetime = 60
    cursor = (await page_v2()).next_cursor
    clock.now += timedelta(seconds=60)
    assert (await fetch(cursor=cursor)).status_code == 200
    clock.now += timedelta(seconds=1)
    response = await fetch(cursor=cursor)
    assert (response.status_code, response.json()["detail"]) == (400, "The cursor has expired.")
    langsmith.cursor_lifetime = None
    assert (await fetch(cursor=cursor)).status_code == 200


async def test_a_project_that_appears_on_top_neither_repeats_nor_hides_a_row(
    langsmith: Emulator, page_v2: GetPage
) -> None:
    before = ids(sessions_of(langsmith))
    first = await page_v2(page_size=50)
    added = langsmith.add_project("demo", "brand-new")
    found = [row["id"] for row in first.items] + await rest_of(page_v2, first, page_size=50)
    assert (len(found), set(found)) == (240, before)
    assert (await page_v2(page_size=1)).items[0]["id"] == str(added.id)


async def test_a_walk_continues_after_a_session_that_was_deleted(langsmith: Emulator, page_v2: GetPage) -> None:
    first = await page_v2(page_size=50)
    (last,) = (each.id for each in sessions_of(langsmith) if str(each.id) == first.items[-1]["id"])
    langsmith.delete_session("demo", last)
    rest = await rest_of(page_v2, first, page_size=50)
    assert len(rest) == len(set(rest)) == 190
    assert not set(rest) & ids(first.items)


@pytest.mark.parametrize("order", [{"sort_by": "NAME", "sort_order": "asc"}, {"sort_by": "START_TIME"}], ids=str)
async def test_a_walk_meets_every_session_that_stays_once_while_others_come_and_go(
    langsmith: Emulator, page_v2: GetPage, order: dict[str, str]
) -> None:
    rng = random.Random(1)
    staying, found = ids(sessions_of(langsmith)), list[str]()
    cursor: dict[str, str] = {}
    while True:
        page = await page_v2(page_size=9, **order, **cursor)
        found += [row["id"] for row in page.items]
        if page.next_cursor is None:
            break
        cursor = {"cursor": page.next_cursor}
        for _ in range(3):
            langsmith.add_project("demo", rng.choice("aAmzZ客") * rng.randint(1, 9))
            deleted = rng.choice(sessions_of(langsmith)).id
            langsmith.delete_session("demo", deleted)
            staying.discard(str(deleted))
    assert len(found) == len(set(found))
    assert staying <= set(found)
    assert len(staying) > 100


async def test_pages_can_be_shorter_than_requested(langsmith: Emulator, page_v2: GetPage) -> None:
    langsmith.page_limit = 7
    first = await page_v2(page_size=100)
    assert len(first.items) == 7
    rest = await rest_of(page_v2, first, page_size=100)
    assert {row["id"] for row in first.items} | set(rest) == ids(sessions_of(langsmith))
    assert len(rest) == 233


async def test_a_page_in_the_middle_can_be_empty(langsmith: Emulator, page_v2: GetPage) -> None:
    langsmith.sends_empty_page = True
    first = await page_v2(page_size=100)
    second = await page_v2(page_size=100, cursor=first.next_cursor)
    assert second.items == []
    assert second.next_cursor not in (None, first.next_cursor)
    assert len(await rest_of(page_v2, second, page_size=100)) == 140


@pytest.mark.parametrize("size", [1, 50])
async def test_a_page_can_begin_with_the_last_row_of_the_page_before(
    langsmith: Emulator, page: ListSessions, page_v2: GetPage, size: int
) -> None:
    langsmith.duplicates_across_pages = True
    first = await page_v2(page_size=50)
    second = await page_v2(page_size=50, cursor=first.next_cursor)
    assert second.items[0] == first.items[-1]
    assert (await page(limit=50, offset=50))[0]["id"] == (await page(limit=50))[-1]["id"]
    rest = await rest_of(page_v2, await page_v2(page_size=size), page_size=size)
    assert ids(sessions_of(langsmith)) <= {first.items[0]["id"], *rest, *ids((await page_v2(page_size=size)).items)}

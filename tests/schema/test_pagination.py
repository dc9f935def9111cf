"""Pagination: forward, backward and numbered pages contain each session once, in order, and know both ends."""

import base64
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault
from app.errors import BadUserInputError
from app.schema.pagination import MAX_SESSIONS, cursor_at, parse_slice
from app.sessions.query import PageQuery
from tests.conftest import Gateway, Serve, take_recorded_params

PAGE = """query ($first: Int! = 20, $after: String, $last: Int, $before: String, $offset: Int) {
    sessions(first: $first, after: $after, last: $last, before: $before, offset: $offset) {
        edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""


async def page(gateway: Gateway, **variables: Any) -> dict[str, Any]:
    data = await gateway.data(PAGE, variables)
    found: dict[str, Any] = data["sessions"]
    cursors = [edge["cursor"] for edge in found["edges"]]
    assert found["pageInfo"]["startCursor"] == (cursors[0] if cursors else None)
    assert found["pageInfo"]["endCursor"] == (cursors[-1] if cursors else None)
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [edge["node"]["id"] for edge in found["edges"]]


async def all_ids(gateway: Gateway) -> list[str]:
    return ids(await page(gateway, first=500))


@pytest.mark.parametrize("size", [1, 7, 100, 150])
async def test_paging_forward_returns_each_session_once(size: int, gateway: Gateway) -> None:
    expected = await all_ids(gateway)
    assert len(set(expected)) == 240
    met: list[str] = []
    after = None
    while True:
        found = await page(gateway, first=size, after=after)
        assert found["pageInfo"]["hasPreviousPage"] is bool(met)
        met += ids(found)
        assert found["pageInfo"]["hasNextPage"] is (len(met) < 240)
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
    assert met == expected


@pytest.mark.parametrize("size", [1, 7, 100, 150])
async def test_paging_backward_returns_each_session_once(size: int, gateway: Gateway) -> None:
    expected = await all_ids(gateway)
    met: list[str] = []
    last = await page(gateway, first=1, offset=239)
    before = last["pageInfo"]["startCursor"]
    while True:
        found = await page(gateway, last=size, before=before)
        assert found["pageInfo"]["hasNextPage"] is True
        met = ids(found) + met
        assert found["pageInfo"]["hasPreviousPage"] is (len(met) < 239)
        if not found["pageInfo"]["hasPreviousPage"]:
            break
        before = found["pageInfo"]["startCursor"]
    assert met == expected[:-1]


@pytest.mark.parametrize("size", [40, 100, 120, 240])
async def test_numbered_pages_cover_the_whole_list(size: int, gateway: Gateway) -> None:
    expected = await all_ids(gateway)
    pages = [await page(gateway, first=size, offset=offset) for offset in range(0, 240, size)]
    assert [each for found in pages for each in ids(found)] == expected
    assert [found["pageInfo"]["hasNextPage"] for found in pages] == [True] * (len(pages) - 1) + [False]
    assert [found["pageInfo"]["hasPreviousPage"] for found in pages] == [False] + [True] * (len(pages) - 1)


async def test_cursor_at_a_numbered_page_continues_from_its_position(gateway: Gateway) -> None:
    expected = await all_ids(gateway)
    found = await page(gateway, first=10, offset=30)
    assert ids(await page(gateway, first=5, after=found["pageInfo"]["endCursor"])) == expected[40:45]
    assert ids(await page(gateway, last=5, before=found["pageInfo"]["startCursor"])) == expected[25:30]
    assert ids(await page(gateway, first=1, after=found["edges"][3]["cursor"])) == [expected[34]]


async def test_offset_beyond_the_end_is_an_empty_page_with_a_previous_page(gateway: Gateway) -> None:
    assert (
        await page(gateway, offset=240)
        == await page(gateway, offset=100_000)
        == await page(gateway, first=100, offset=240)
    )
    found = await page(gateway, offset=240)
    assert (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"]) == (True, False)
    assert ids(found) == []


async def test_offset_in_an_empty_list_has_no_previous_page(gateway: Gateway) -> None:
    operation = """{ sessions(offset: 5, filter: {name: "no such session"}) {
        nodes { id } pageInfo { hasPreviousPage hasNextPage } } }"""
    data = await gateway.data(operation)
    assert data == {"sessions": {"nodes": [], "pageInfo": {"hasPreviousPage": False, "hasNextPage": False}}}


@pytest.mark.parametrize("size", [1, 100])
async def test_page_before_the_first_session_is_empty_with_a_next_page(size: int, gateway: Gateway) -> None:
    first = await page(gateway, first=1)
    found = await page(gateway, last=size, before=first["pageInfo"]["startCursor"])
    assert ids(found) == []
    assert (found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"]) == (False, True)


async def test_backward_page_that_reaches_the_beginning_is_shorter(gateway: Gateway) -> None:
    expected = await all_ids(gateway)
    found = await page(gateway, last=10, before=cursor_at(4))
    assert ids(found) == expected[:4]


async def test_full_page_at_the_end_has_no_next_page(gateway: Gateway, langsmith: Emulator) -> None:
    found = await page(gateway, first=40, offset=200)
    assert (len(found["edges"]), found["pageInfo"]["hasNextPage"]) == (40, False)
    assert take_recorded_params(langsmith) == [[("limit", "41"), ("offset", "200")]]
    found = await page(gateway, first=100, offset=140)
    assert (len(found["edges"]), found["pageInfo"]["hasNextPage"]) == (100, False)
    assert take_recorded_params(langsmith) == [
        [("limit", "100"), ("offset", "140")],
        [("limit", "1"), ("offset", "240")],
    ]


async def test_pages_follow_the_requested_order(gateway: Gateway) -> None:
    names: list[str] = []
    after = "null"
    while after:
        data = await gateway.data(
            f"""{{ sessions(first: 90, after: {after}, orderBy: {{field: NAME, direction: ASC}}) {{
                nodes {{ name }} pageInfo {{ hasNextPage endCursor }} }} }}"""
        )
        found = data["sessions"]
        names += [node["name"] for node in found["nodes"]]
        after = f'"{found["pageInfo"]["endCursor"]}"' if found["pageInfo"]["hasNextPage"] else ""
    assert names == sorted(names)
    assert len(names) == 240


def without_ids(*places: int) -> Fault:
    def rewrite(rows: list[dict[str, Any]]) -> None:
        for place in places:
            del rows[place]["id"]

    return Fault(rewrite=rewrite)


async def test_row_without_an_id_is_dropped_and_keeps_its_position(gateway: Gateway, langsmith: Emulator) -> None:
    expected = await all_ids(gateway)
    langsmith.faults.append(without_ids(0, 3))
    body = await gateway.run(PAGE, {"first": 5, "offset": 10})
    found = body["data"]["sessions"]
    assert ids(found) == [expected[11], expected[12], expected[14]]
    assert [edge["cursor"] for edge in found["edges"]] == [cursor_at(11), cursor_at(12), cursor_at(14)]
    assert found["pageInfo"]["hasNextPage"] is True
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["sessions"], "UPSTREAM_MALFORMED")
    assert error["message"].startswith("2 of the sessions")
    assert ids(await page(gateway, first=1, after=found["pageInfo"]["endCursor"])) == [expected[15]]


async def test_malformed_row_outside_the_page_is_not_an_error(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(without_ids(5))
    found = await page(gateway, first=5)
    assert len(found["edges"]) == 5
    assert found["pageInfo"]["hasNextPage"] is True


async def test_rows_dropped_from_several_pages_are_one_error(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        langsmith.faults += [without_ids(1), without_ids(2)]
        body = await gateway.run(PAGE, {"first": 150})
    assert len(body["errors"]) == 1
    assert len(body["data"]["sessions"]["edges"]) == 148


@settings(max_examples=60)
@given(
    text=st.text(max_size=40) | st.text("djE6MTIzNDU2Nzg5=-_+/ ", max_size=24) | st.binary(max_size=12).map(bytes.hex)
)
async def test_text_that_is_not_a_cursor_is_refused(text: str, gateway: Gateway, langsmith: Emulator) -> None:
    if text in {cursor_at(position) for position in range(10_000)}:
        return
    for argument in ("after", "before"):
        (error,) = await gateway.errors(PAGE, {argument: text} | ({"last": 1} if argument == "before" else {}))
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert not take_recorded_params(langsmith)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        " ",
        "djE6MA==",
        "djE6MA ",
        "djE6LTE",
        "djE6MDE",
        "djI6MA",
        "djE6",
        "MA",
        "djE6MC4w",
        "djE6MTAwMDAwMDAwMDAwMDAw",
    ],
)
def test_other_spelling_of_a_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadUserInputError, match="cursor is not valid"):
        parse_slice(first=1, after=cursor, offset=None, last=None, before=None)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("began", [1, 10**8, 10**9, 5 * 10**9, 10**10 - 1])
async def test_cursor_of_any_time_is_used_or_refused(
    serve: Serve, langsmith: Emulator, version: str, began: int
) -> None:
    cursor = base64.urlsafe_b64encode(f"v1:5@{began}".encode()).decode().rstrip("=")
    async with serve(upstream_api=version) as gateway:
        found = await gateway.errors(PAGE, {"first": 1, "after": cursor})
        assert [error["extensions"] for error in found] in ([], [{"code": "BAD_USER_INPUT", "argument": "after"}])


@given(position=st.integers(0, 10**8))
def test_cursor_is_parsed_to_its_position(position: int) -> None:
    rows = parse_slice(first=3, after=cursor_at(position), offset=None, last=None, before=None)
    assert (rows.start, rows.count) == (position + 1, 3)


@example(start=0, count=100, one_more=True)
@given(start=st.integers(0, 1000), count=st.integers(1, MAX_SESSIONS), one_more=st.booleans())
def test_queries_of_a_slice_cover_it_without_overlap(start: int, count: int, one_more: bool) -> None:
    rows = parse_slice(first=count, after=None, offset=start, last=None, before=None)
    places = [
        place
        for query in rows.queries(PageQuery(), one_more=one_more)
        for place in range(query.offset, query.offset + query.limit)
    ]
    assert places[:count] == list(range(start, start + count))
    # A request is limited to 100 rows, so a page of 100 has no room for one more row.
    assert len(places) - count == (1 if one_more and count % 100 else 0)
    assert all(query.limit <= 100 for query in rows.queries(PageQuery(), one_more=one_more))

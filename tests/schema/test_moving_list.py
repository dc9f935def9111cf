"""The rows of one connection come from one moment, although LangSmith's pages move while projects come and go."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.schema.row_reader import must_read_again
from app.sessions.page import Page
from app.sessions.row import decode_rows
from tests.conftest import Clock, Gateway, Serve
from tests.support.raw_upstream import Connection, RawUpstream, listed, raw_upstream, response, row


@dataclass
class MovingList:
    """An upstream whose list of sessions, the newest first, a test may change before any request is answered."""

    numbers: list[int]
    before_request: dict[int, Callable[["MovingList"], None]] = field(default_factory=dict)
    failing_from: int | None = None
    served: list[tuple[int, int]] = field(default_factory=list)
    """Offset and limit of each request."""

    async def __call__(self, connection: Connection) -> None:
        params = dict(connection.request.params)
        offset, limit = int(params.get("offset", 0)), int(params["limit"])
        self.served.append((offset, limit))
        number = len(self.served)
        if change := self.before_request.get(number):
            change(self)
        if self.failing_from is not None and number >= self.failing_from:
            await connection.send(response(b"{}", status=500))
            return
        await connection.send(listed(*(row(each) for each in self.numbers[offset : offset + limit])))

    def grow(self, count: int = 1) -> None:
        for _ in range(count):
            self.numbers.insert(0, max(self.numbers) + 1)

    def shrink(self) -> None:
        """Delete the newest session."""
        del self.numbers[0]


@contextlib.asynccontextmanager
async def moving(
    serve: Serve, size: int = 400, **settings: Any
) -> AsyncIterator[tuple[MovingList, Gateway, RawUpstream]]:
    sessions = MovingList([*range(size, 0, -1)])
    async with (
        raw_upstream(sessions) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0, **settings) as gateway,
    ):
        yield sessions, gateway, upstream


async def numbers(gateway: Gateway, arguments: str) -> list[int]:
    """The sessions of a connection, by their numbers in the list."""
    data = await gateway.data(f"{{ sessions({arguments}) {{ nodes {{ name }} }} }}")
    return [int(node["name"].removeprefix("session ")) for node in data["sessions"]["nodes"]]


async def test_connection_shows_no_session_twice_after_one_of_its_pages_was_cached(serve: Serve, clock: Clock) -> None:
    async with moving(serve) as (sessions, gateway, _):
        await numbers(gateway, "first: 100")
        clock.advance(5)
        sessions.grow()
        assert await numbers(gateway, "first: 150") == [*range(401, 251, -1)]
        # The pages that were read together are cached together.
        requests = len(sessions.served)
        assert await numbers(gateway, "first: 150") == [*range(401, 251, -1)]
        assert len(sessions.served) == requests


async def test_connection_skips_no_session_after_one_of_its_pages_was_cached(serve: Serve, clock: Clock) -> None:
    async with moving(serve) as (sessions, gateway, _):
        await numbers(gateway, "first: 100")
        clock.advance(5)
        sessions.shrink()
        assert await numbers(gateway, "first: 150") == [*range(399, 249, -1)]


async def test_pages_of_one_answer_are_read_again_once_at_most(serve: Serve, clock: Clock) -> None:
    async with moving(serve) as (sessions, gateway, _):
        await numbers(gateway, "first: 100")
        clock.advance(5)
        requests = len(sessions.served)
        await numbers(gateway, "first: 300")
        # Two pages that were not cached, and then all three.
        assert len(sessions.served) - requests == 5


async def test_list_that_grows_between_the_pages_of_an_answer_is_completed(serve: Serve) -> None:
    async with moving(serve) as (sessions, gateway, _):
        # Whichever page is requested second sees a list that has grown.
        sessions.before_request[2] = lambda each: each.grow(3)
        found = await numbers(gateway, "first: 200")
        assert len(found) == len(set(found)) == 200
        assert sorted(found, reverse=True) == found


async def test_duplicates_within_one_answer_of_langsmith_are_shown_once(serve: Serve) -> None:
    async with moving(serve) as (sessions, gateway, _):
        sessions.numbers[3] = sessions.numbers[2]
        assert await numbers(gateway, "first: 5") == [400, 399, 398, 396, 395]


async def test_completed_answer_continues_after_its_last_session(serve: Serve) -> None:
    async with moving(serve, 12) as (sessions, gateway, _):
        sessions.numbers[3] = sessions.numbers[2]
        query = """query ($after: String) { sessions(first: 5, after: $after) {
            edges { cursor node { name } } pageInfo { hasNextPage endCursor } } }"""
        met: list[str] = []
        after = None
        for _ in range(3):
            found = (await gateway.data(query, {"after": after}))["sessions"]
            met += [edge["node"]["name"] for edge in found["edges"]]
            after = found["pageInfo"]["endCursor"]
            assert found["pageInfo"]["hasNextPage"] is (len(met) < 11)
        assert met == [f"session {number}" for number in (12, 11, 10, 8, 7, 6, 5, 4, 3, 2, 1)]


async def test_connection_of_cached_pages_survives_a_failing_upstream(serve: Serve, clock: Clock) -> None:
    async with moving(serve) as (sessions, gateway, _):
        await numbers(gateway, "first: 100")
        clock.advance(5)
        sessions.grow()
        sessions.failing_from = len(sessions.served) + 2
        found = await numbers(gateway, "first: 150")
        assert len(found) == len(set(found))
        assert found[:100] == [*range(400, 300, -1)]


@pytest.mark.parametrize("change", [MovingList.grow, MovingList.shrink])
async def test_next_page_is_probed_at_the_moment_of_the_page(
    serve: Serve, clock: Clock, change: Callable[[MovingList], None]
) -> None:
    query = "{ sessions(first: 100) { nodes { id } pageInfo { hasNextPage } } }"
    size = 100 if change is MovingList.grow else 101
    async with moving(serve, size) as (sessions, gateway, _):
        # The probe's answer is cached by a page that starts there.
        await numbers(gateway, "offset: 100, first: 1")
        clock.advance(1.5)
        change(sessions)
        data = await gateway.data(query)
        assert data["sessions"]["pageInfo"]["hasNextPage"] is (len(sessions.numbers) > 100)


@pytest.mark.parametrize(
    ("pages", "began", "expected"),
    [
        ([(10.0, [1, 2])], 20.0, False),
        ([(10.0, [1, 2]), (10.5, [3, 4])], 20.0, False),
        ([(10.0, [1, 2]), (10.5, [2, 3])], 20.0, True),
        ([(10.0, [1, 2]), (20.0, [3, 4])], 20.0, True),
        ([(20.0, [1, 2]), (25.0, [2, 3])], 20.0, False),
    ],
)
def test_pages_are_read_again_if_they_overlap_or_are_of_different_moments(
    pages: list[tuple[float, list[int]]], began: float, *, expected: bool
) -> None:
    made = [
        Page(rows=tuple(decode_rows(json.dumps([row(each) for each in numbers]).encode())), limit=2, fetched_at=at)
        for at, numbers in pages
    ]
    assert must_read_again(made, began) is expected

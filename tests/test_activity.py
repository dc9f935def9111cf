"""Where it is asked for, statistics are computed anew only of sessions that have moved, and of all now and then."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.activity import LONGEST
from app.emulator import Emulator, Fault
from tests.cache.test_page_cache import ids_in
from tests.conftest import Clock, Gateway, Serve, asked

PAGE = "{ sessions(first: 20) { nodes { id name runCount errorRate endTime lastRunStartTimeLive } } }"
EXPIRED = 20


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with serve(cache_activity_check=True) as gateway:
        yield gateway


async def nodes(gateway: Gateway) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in (await gateway.data(PAGE))["sessions"]["nodes"]}


def moved(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> set[str]:
    def moves(node: dict[str, Any]) -> list[Any]:
        return [node["lastRunStartTimeLive"], node["endTime"]]

    return {key for key, node in after.items() if not any(moves(node)) or moves(node) != moves(before[key])}


async def test_only_what_has_moved_is_computed_anew_and_everything_now_and_then(
    gateway: Gateway, serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    before = await nodes(gateway)
    asked(langsmith)
    whole = 0
    async with serve(cache_ttl=0) as plain:
        for _ in range(round(LONGEST / EXPIRED)):
            clock.forward(EXPIRED)
            after = await nodes(gateway)
            requests = asked(langsmith)
            anew = await nodes(plain)
            asked(langsmith)
            active = moved(before, after)
            if any(name == "include_stats" for name, _ in requests[0]):
                whole += 1
                assert len(requests) == 1
                assert after == anew
            else:
                assert [ids_in(params) for params in requests[1:]] == ([active] if active else [])
                assert len(active) < 20
                assert all(after[key] == anew[key] for key in active)
                assert all(after[key]["runCount"] == before[key]["runCount"] for key in after.keys() - active)
            before = after
    assert whole == 1


async def test_another_selection_is_asked_for_as_a_whole(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await nodes(gateway)
    clock.forward(EXPIRED)
    asked(langsmith)
    await gateway.data(PAGE.replace("errorRate", "totalCost"))
    assert len(asked(langsmith)) == 1


async def test_a_session_that_is_gone_meanwhile_is_no_hindrance(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    def lose_all(rows: list[Any]) -> None:
        rows.clear()

    for _ in range(3):
        await nodes(gateway)
        clock.forward(EXPIRED)
        asked(langsmith)
        langsmith.faults += [Fault(rewrite=lambda rows: rows), Fault(rewrite=lose_all)]
        assert len(await nodes(gateway)) == 20
        langsmith.faults.clear()
        assert len(asked(langsmith)) in {1, 3}


async def test_without_the_setting_pages_are_asked_for_as_a_whole(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve() as gateway:
        for _ in range(2):
            await nodes(gateway)
            clock.forward(EXPIRED)
    assert all(("include_stats", "true") in params for params in asked(langsmith))

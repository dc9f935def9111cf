"""Sessions are looked up by id in the cache, where pages have left them."""

import asyncio

from app.emulator import Emulator
from tests.cache.test_page_cache import outcome
from tests.conftest import Clock, Gateway, take_recorded_params


async def test_statistic_that_expires_during_a_fetch_is_served_with_the_fetched_ones(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    session = langsmith.workspaces["demo"].sessions[0]
    query = f'{{ session(id: "{session.id}") {{ runCount totalCost }} }}'
    await gateway.data(query.replace("totalCost", ""))
    resume = langsmith.pause()
    clock.advance(14)
    asking = asyncio.create_task(gateway.data(query))
    await langsmith.wait_for_requests(2)
    clock.advance(5)
    resume.set()
    assert set((await asking)["session"]) == {"runCount", "totalCost"}
    assert len(take_recorded_params(langsmith)) == 2


async def test_lookup_and_search_are_answered_from_pages_that_show_the_session(
    gateway: Gateway, langsmith: Emulator
) -> None:
    page = '{ sessions(first: 5) { nodes { id name runCount stats(last: "PT1H") { totalCost } } } }'
    nodes = (await gateway.data(page))["sessions"]["nodes"]
    take_recorded_params(langsmith)
    one = f'{{ session(id: "{nodes[1]["id"]}") {{ name runCount stats(last: "PT1H") {{ totalCost }} }} }}'
    data = await gateway.data(one)
    assert data["session"] == {key: nodes[1][key] for key in ("name", "runCount", "stats")}
    assert take_recorded_params(langsmith) == []
    assert await outcome(gateway, one) == "HIT"
    search = "{ sessions(first: 5, filter: {ids: $ids}) { nodes { id $stats } } }"
    search = search.replace("$ids", "[" + ", ".join(f'"{node["id"]}"' for node in nodes) + "]")
    await gateway.data(search.replace("$stats", ""))
    take_recorded_params(langsmith)
    assert len((await gateway.data(search.replace("$stats", "runCount")))["sessions"]["nodes"]) == 5
    assert take_recorded_params(langsmith) == []

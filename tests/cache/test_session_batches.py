"""Sessions that several operations look up at about the same time are fetched in one request per 100."""

import asyncio
from typing import Any

from app.emulator import Emulator
from tests.conftest import Gateway, take_recorded_params


async def ids_of(gateway: Gateway, langsmith: Emulator, count: int, key: str = "demo") -> list[str]:
    data = await gateway.data(f"{{ sessions(first: {count}) {{ nodes {{ id }} }} }}", key=key)
    langsmith.requests.clear()
    return [node["id"] for node in data["sessions"]["nodes"]]


async def test_lookups_of_different_operations_share_one_batch(gateway: Gateway, langsmith: Emulator) -> None:
    ids = await ids_of(gateway, langsmith, 30)
    async with gateway.in_process() as direct:
        queries = [f'{{ session(id: "{each}") {{ id name runCount }} }}' for each in ids]
        queries += [f'{{ node(id: "{each}") {{ ... on Session {{ id errorRate }} }} }}' for each in ids[:5]]
        answers: list[dict[str, Any]] = await asyncio.gather(*(direct.data(query) for query in queries))
    assert [answer["session"]["id"] for answer in answers[:30]] == ids
    assert [answer["node"]["id"] for answer in answers[30:]] == ids[:5]
    (params,) = take_recorded_params(langsmith)
    assert sorted(value for name, value in params if name == "id") == sorted(ids)
    assert {value for name, value in params if name == "stats_select"} == {"run_count", "error_rate"}


async def test_more_than_hundred_sessions_are_split_into_batches(gateway: Gateway, langsmith: Emulator) -> None:
    ids = await ids_of(gateway, langsmith, 120)
    async with gateway.in_process() as direct:
        queries = [f'{{ session(id: "{each}") {{ id totalTokens }} }}' for each in ids]
        answers = await asyncio.gather(*(direct.data(query) for query in queries))
    assert [answer["session"]["id"] for answer in answers] == ids
    assert sorted(sum(name == "id" for name, _ in params) for params in take_recorded_params(langsmith)) == [20, 100]


async def test_other_credentials_and_windows_have_batches_of_their_own(gateway: Gateway, langsmith: Emulator) -> None:
    [session], [other_session] = [await ids_of(gateway, langsmith, 1, key) for key in ("demo", "demo-2")]
    query = '{ session(id: "%s"%s) { id totalTokens } }'
    async with gateway.in_process() as direct:
        await asyncio.gather(
            direct.data(query % (session, "")),
            direct.data(query % (session, ', stats: {last: "PT1H"}')),
            direct.data(query % (other_session, ""), key="demo-2"),
        )
    assert len(take_recorded_params(langsmith)) == 3


async def test_batch_continues_when_one_of_its_clients_disconnects(gateway: Gateway, langsmith: Emulator) -> None:
    one, other = await ids_of(gateway, langsmith, 2)
    gate = langsmith.pause()
    async with gateway.in_process() as direct:
        leaving, staying = (
            asyncio.create_task(direct.data(f'{{ session(id: "{each}") {{ id promptCost }} }}'))
            for each in (one, other)
        )
        await langsmith.wait_for_requests(1)
        leaving.cancel()
        gate.set()
        assert (await staying)["session"]["id"] == other
    assert len(take_recorded_params(langsmith)) == 1

"""Long lists are completed in turns, so that the event loop serves other clients meanwhile."""

import asyncio
import json

import pytest

from tests.conftest import Clock, running_gateway
from tests.support.incremental_client import DRAFT, OLD, merged, parts_of
from tests.support.raw_upstream import Connection, raw_upstream, response, row


async def answers_with_rows(connection: Connection) -> None:
    params = dict(connection.request.params)
    first = int(params.get("offset", "0")) + 1
    rows = [row(number) for number in range(first, first + int(params["limit"]))]
    await connection.send(response(json.dumps(rows).encode()))


async def iterations_of(query: str, accept: str = "application/json") -> int:
    """Number of iterations of the event loop that the operation takes with its pages in the cache."""
    async with (
        raw_upstream(answers_with_rows) as upstream,
        running_gateway(upstream.url, Clock(), responses_max_bytes=0) as gateway,
        gateway.in_process() as direct,
    ):
        # Without waiting for the thread in which a long answer is compressed.
        direct.client.headers["accept-encoding"] = "identity"
        await direct.post(query, accept=accept)
        task, iterations = asyncio.create_task(direct.post(query, accept=accept)), 0
        while not task.done():
            await asyncio.sleep(0)
            iterations += 1
        answered = await task
        body = answered.json() if accept == "application/json" else merged(parts_of(answered))
        assert "errors" not in body
        assert len(body["data"]["a"]["nodes"]) == 500
        return iterations


async def test_rows_beside_the_introspection_of_the_schema_are_completed_in_turns() -> None:
    lists = " ".join(f"{name}: sessions(first: 500) {{ nodes {{ id name }} }}" for name in "ab")
    plain = await iterations_of(f"{{ {lists} }}")
    assert await iterations_of(f"{{ __schema {{ queryType {{ name }} }} {lists} }}") >= plain + 2 * 500 / 25


async def test_rows_with_many_fields_that_have_resolvers_are_projected_in_turns() -> None:
    plain = await iterations_of("{ a: sessions(first: 500) { nodes { id } } }")
    fields = " ".join(f"s{number}: stats {{ id }}" for number in range(20))
    calls = 20 * 500
    assert (
        await iterations_of(f"{{ a: sessions(first: 500) {{ nodes {{ id {fields} }} }} }}") >= plain + calls / 500 - 1
    )


@pytest.mark.parametrize(("accept", "turns"), [(DRAFT, 5), (OLD, 3)])
async def test_deferred_fragments_are_projected_and_written_in_turns(accept: str, turns: int) -> None:
    one, *others = [f"... @defer {{ n{number}: name }}" for number in range(8)]
    few = await iterations_of(f"{{ a: sessions(first: 500) {{ nodes {{ id {one} }} }} }}", accept)
    query = f"{{ a: sessions(first: 500) {{ nodes {{ id {one} {' '.join(others)} }} }} }}"
    # Parts that are ready within the same 2 ms are written together, which a busy machine makes more of them.
    assert max([await iterations_of(query, accept) for _ in range(3)]) >= few + turns * len(others)

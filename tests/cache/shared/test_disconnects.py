"""Clients that disconnect leave no lease without a holder, so that nobody in another process waits for them."""

import asyncio
import json
import random
from contextlib import AsyncExitStack

import pytest

from tests.cache.shared.pair import BY_ID, PAGE, WIDER, redis_settings
from tests.conftest import Clock, Gateway, running_gateway
from tests.support.raw_upstream import Connection, raw_upstream, response, row
from tests.support.real_redis import real_redis

IDS = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Session { totalCost runCount } } }"
CALLS = [
    (PAGE, None),
    (WIDER, None),
    (BY_ID, {"id": row(1)["id"]}),
    (IDS, {"ids": [row(number)["id"] for number in (1, 2, 3)]}),
    (IDS, {"ids": [row(number)["id"] for number in (3, 4, 5)]}),
]


async def answer(connection: Connection) -> None:
    ids = {value for name, value in connection.request.params if name == "id"}
    await asyncio.sleep(0.01)
    rows = [row(number, run_count=1) for number in range(1, 6)]
    await connection.send(response(json.dumps([each for each in rows if not ids or each["id"] in ids]).encode()))


@pytest.mark.parametrize("share", [0.15, 0.5])
@pytest.mark.parametrize("seed", range(2))
async def test_clients_that_disconnect_at_random_leave_no_lease_and_cost_others_no_answer(
    seed: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waited for a lease to expire would not be answered in time.
    monkeypatch.setattr("app.cache.shared.leases.LEASE_SECONDS", 600.0)
    rng, clock = random.Random(seed), Clock()

    async def call(gateway: Gateway, *, leaves: bool) -> None:
        await asyncio.sleep(rng.uniform(0, 0.02))
        query, variables = rng.choice(CALLS)
        request = asyncio.create_task(gateway.run(query, variables))
        if leaves:
            await asyncio.sleep(rng.uniform(0, 0.03))
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        else:
            assert "errors" not in await request

    with real_redis() as redis, redis.client() as client:
        async with raw_upstream(answer) as upstream:
            for _ in range(5):
                async with AsyncExitStack() as processes:
                    gateways = [
                        await processes.enter_async_context(
                            running_gateway(upstream.url, clock, **redis_settings(redis))
                        )
                        for _ in range(2)
                    ]
                    for _ in range(3):
                        clock.advance(100)
                        calls = (call(rng.choice(gateways), leaves=rng.random() < share) for _ in range(25))
                        await asyncio.gather(*calls)
                # Processes that stop wait until they have written everything.
                assert not [key for key in client.keys("*:lease:[ps]*") if (client.get(key) or b"").startswith(b"h")]

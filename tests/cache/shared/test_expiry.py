"""Every key that the gateway writes to Redis expires, whatever the traffic."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from app.emulator import Emulator, Fault
from app.http.persisted_queries import sha256_of
from tests.cache.shared.pair import BY_ID, PAGE, WIDER, redis_settings
from tests.conftest import Clock, Gateway, Serve
from tests.support.real_redis import RealRedis

UNKNOWN = {"id": "00000000-0000-4000-8000-000000000000"}


async def send_varied_traffic(gateways: list[Gateway], langsmith: Emulator, clock: Clock) -> None:
    """Pages, refills, lookups, windows, persisted documents, failures and pauses, at all gateways at the same time."""
    window = '{ sessions(first: 4) { nodes { id stats(last: "PT1H") { errorRate } } } }'
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": sha256_of(PAGE)}}
    for status in (None, 500, 422, 429, 403, 401):
        if status:
            langsmith.faults.append(Fault(status=status, headers={"retry-after": "1"}, times=2))
        calls: list[Any] = []
        for gateway in gateways:
            calls += [gateway.run(query) for query in (PAGE, WIDER, window)]
            calls += [gateway.run(BY_ID, UNKNOWN), gateway.run(PAGE, **{"cache-control": "no-cache"})]
            for body in ({"query": PAGE, "extensions": extensions}, {"extensions": extensions}):
                calls.append(gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo"}))
        leaving = asyncio.create_task(gateways[0].run(WIDER.replace("5", "6")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(*calls, leaving, return_exceptions=True)
        clock.advance(20)


async def test_every_key_in_redis_expires_after_varied_traffic(
    serve: Serve, redis: RealRedis, langsmith: Emulator, clock: Clock
) -> None:
    limits = {"client_rate": "1000/10s", "client_rate_url": redis.url, "upstream_rate": "1000/10s"}
    async with AsyncExitStack() as stack:
        gateways = [
            await stack.enter_async_context(serve(**redis_settings(redis), **limits, upstream_timeout=3))
            for _ in range(2)
        ]
        await send_varied_traffic(gateways, langsmith, clock)
    with redis.client() as client:
        expiry = {key: client.pttl(key) for key in client.keys("*")}
    for kind in (b":page:", b":session:", b":selected:", b":lease:", b":fence", b":dropped", b"document:", b"rate"):
        assert any(kind in key for key in expiry), kind
    # A key that expired between the two commands has -2.
    assert {key for key, milliseconds in expiry.items() if milliseconds == -1} == set()
    assert max(expiry.values()) <= 86_400_000


async def test_session_in_redis_stays_small_however_many_windows_clients_ask_for(
    serve: Serve, redis: RealRedis, langsmith: Emulator
) -> None:
    session = langsmith.workspaces["demo"].sessions[0]
    async with serve(**redis_settings(redis)) as gateway:
        for hours in range(1, 250, 25):
            windows = (f'w{each}: stats(last: "PT{each}H") {{ runCount }}' for each in range(hours, hours + 25))
            await gateway.data(f'{{ session(id: "{session.id}") {{ {" ".join(windows)} }} }}')
    with redis.client() as client:
        [key] = client.keys(f"*:session:{session.id}")
        assert client.hlen(key) <= 150

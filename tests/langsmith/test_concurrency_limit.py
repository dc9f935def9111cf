"""Requests to LangSmith wait in a short queue, which nobody fills alone; who finds it full is told at once."""

import asyncio
from collections import Counter

from app.emulator import Emulator
from tests.conftest import Gateway, Serve
from tests.langsmith.test_client import code_of, page


async def codes_of(gateway: Gateway, count: int, start: int, key: str) -> Counter[str | None]:
    async def code(number: int) -> str | None:
        errors = await gateway.errors(page(number), key=key)
        return errors[0]["extensions"]["code"] if errors else None

    return Counter(await asyncio.gather(*(code(start + number) for number in range(count))))


async def test_who_finds_the_queue_full_is_told_at_once(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_concurrency=2) as gateway, gateway.in_process() as at_once:
        held = await gateway.data(page(900))
        gate = langsmith.pause()
        # Two are under way, eight of that tenant's wait.
        clients = asyncio.create_task(codes_of(at_once, 15, 0, "demo"))
        await langsmith.wait_for_requests(3)
        (error,) = await gateway.errors(page(100))
        assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 1}
        # What is held needs no place, and another tenant finds one.
        assert await gateway.data(page(900)) == held
        other = asyncio.create_task(codes_of(at_once, 2, 200, "demo-2"))
        await asyncio.sleep(0)
        gate.set()
        assert await clients == {None: 10, "RATE_LIMITED": 5}
        assert await other == {None: 2}
        assert await code_of(gateway, page(101)) is None


async def test_one_that_leaves_the_queue_leaves_its_place(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_concurrency=1) as gateway, gateway.in_process() as at_once:
        gate = langsmith.pause()
        clients = [asyncio.create_task(codes_of(at_once, 1, number, "demo")) for number in range(5)]
        await langsmith.wait_for_requests(1)
        assert await code_of(gateway, page(50)) == "RATE_LIMITED"
        clients[-1].cancel()
        await asyncio.wait([clients[-1]])
        late = asyncio.create_task(codes_of(at_once, 1, 60, "demo"))
        await asyncio.sleep(0)
        gate.set()
        assert await late == {None: 1}
        assert [await each for each in clients[:-1]] == [{None: 1}] * 4

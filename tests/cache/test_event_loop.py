"""The event loop serves other clients while hundreds of sessions are worked on. Calls are counted, not seconds."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable
from types import FrameType
from typing import Any
from uuid import UUID

from tests.conftest import Clock, Gateway, running_gateway
from tests.support.raw_upstream import Connection, raw_upstream, response, row

IDS = [str(UUID(int=number)) for number in range(1, 501)]
ROWS = {each: json.dumps(row(number, run_count=1)).encode() for number, each in enumerate(IDS, 1)}


async def most_calls_at_once(work: Awaitable[Any]) -> int:
    """Number of function calls in the iteration of the event loop that has the most, while the work is done."""
    count = most = 0

    def record(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    async def tick() -> None:
        nonlocal count, most
        while True:
            most, count = max(most, count), 0
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    sys.setprofile(record)
    try:
        await work
    finally:
        sys.setprofile(None)
        ticker.cancel()
    return most


class LangSmith:
    """Answers the first request at once, and the others at the same moment: when this number of them have arrived."""

    def __init__(self, requests: int) -> None:
        self._requests, self._arrived = requests, 0
        self._answers = asyncio.Event()

    async def answer(self, connection: Connection) -> None:
        ids = re.findall(r"(?<=[?&]id=)[0-9a-f-]{36}", connection.request.target)  # counted too, so in one call
        answer = response(b"[%b]" % b",".join(map(ROWS.__getitem__, ids)))
        self._arrived += 1
        if self._arrived >= self._requests:
            self._answers.set()
        if self._arrived > 1:
            await self._answers.wait()
        await connection.send(answer)


def windows(count: int) -> str:
    return " ".join(f'w{n}: stats(last: "PT{n + 1}H") {{ runCount }}' for n in range(count))


async def most_calls_of_lookup(gateway: Gateway, sessions: int, count: int) -> int:
    query = f"query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Session {{ {windows(count)} }} }} }}"
    return await most_calls_at_once(gateway.data(query, {"ids": IDS[:sessions]}))


async def test_no_iteration_does_much_more_for_thousands_of_statistics_than_for_a_hundred(clock: Clock) -> None:
    most: dict[int, int] = {}
    for hundreds, count in ((1, 1), (5, 6)):
        async with (
            raw_upstream(LangSmith(hundreds * (1 + count)).answer) as upstream,
            running_gateway(upstream.url, clock, responses_max_bytes=0, upstream_concurrency=64) as gateway,
            gateway.in_process() as direct,
        ):
            most[hundreds] = await most_calls_of_lookup(direct, 100 * hundreds, count)
    assert most[5] < 5 * most[1], most

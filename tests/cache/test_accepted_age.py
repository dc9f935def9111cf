"""`Cache-Control` of a request: no value is older than the client accepts, whichever process fetched it.

Every answer of this LangSmith is a new state, and all numbers in it are the state's. The gateway's clock runs faster
than time, so that ages of seconds occur. The assertions compare times of that clock, and hold on a machine of any
speed.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.shared.pair import redis_settings
from tests.conftest import NOON, Clock, Gateway, running_gateway
from tests.support.raw_upstream import Connection, raw_upstream, response, row
from tests.support.real_redis import real_redis

SPEED = 300
"""Seconds of the gateway's clock per second."""
QUERIES = [
    "{ found: sessions(first: 3) { nodes { runCount } } }",
    "{ found: sessions(first: 3) { nodes { runCount totalTokens } } }",
    "{ found: sessions(first: 2) { nodes { totalTokens } } }",
    f'{{ found: nodes(ids: ["{row(1)["id"]}", "{row(2)["id"]}"]) {{ ... on Session {{ runCount }} }} }}',
    f'{{ found: nodes(ids: ["{row(2)["id"]}"]) {{ ... on Session {{ runCount totalTokens }} }} }}',
]


class FastClock(Clock):
    def monotonic(self) -> float:
        return NOON.timestamp() + time.monotonic() % 10_000 * SPEED

    def now(self) -> datetime:
        return NOON


@dataclass(frozen=True)
class Request:
    """A request that is sent after a while (milliseconds), to a gateway. `max_age` is 0 for `no-cache`."""

    gateway: int
    query: str
    max_age: int | None
    delay: int


@dataclass
class ChangingLangSmith:
    """Each request meets a new state, of which the number and the time are recorded."""

    now: Callable[[], float]
    delays: list[int]
    states: list[float] = field(default_factory=list)

    async def answer(self, connection: Connection) -> None:
        self.states.append(self.now())
        number = len(self.states)
        params = connection.request.params
        selected = [value for name, value in params if name == "stats_select"]
        ids = {value for name, value in params if name == "id"}
        await asyncio.sleep(self.delays[number % len(self.delays)] / 1000)
        rows = [row(each, **dict.fromkeys(selected, number)) for each in range(1, 4)]
        await connection.send(response(json.dumps([each for each in rows if not ids or each["id"] in ids]).encode()))


REQUESTS = st.lists(
    st.builds(
        Request, st.integers(0, 1), st.sampled_from(QUERIES), st.sampled_from([None, 0, 0, 1, 3]), st.integers(0, 30)
    ),
    min_size=10,
    max_size=25,
)


@pytest.mark.parametrize("processes", [1, 2])
@settings(max_examples=25)
@given(requests=REQUESTS, delays=st.lists(st.integers(0, 20), min_size=1, max_size=3))
def test_no_value_is_older_than_the_client_accepts(processes: int, requests: list[Request], delays: list[int]) -> None:
    async def send(gateways: list[Gateway], langsmith: ChangingLangSmith, request: Request) -> None:
        await asyncio.sleep(request.delay / 1000)
        sent_at = langsmith.now()
        headers = {} if request.max_age is None else {"cache-control": f"max-age={request.max_age}"}
        if request.max_age == 0:
            headers = {"cache-control": "no-cache"}
        body: dict[str, Any] = await gateways[request.gateway % processes].run(request.query, **headers)
        assert "errors" not in body
        found = body["data"]["found"]
        oldest = sent_at - (75 + 15 if request.max_age is None else request.max_age)
        for node in found if isinstance(found, list) else found["nodes"]:
            for state in node.values():
                assert langsmith.states[state - 1] >= oldest, request

    async def run() -> None:
        clock = FastClock()
        langsmith = ChangingLangSmith(clock.monotonic, delays)
        async with raw_upstream(langsmith.answer) as upstream, AsyncExitStack() as stack:
            values = redis_settings(stack.enter_context(real_redis()))
            gateways = [
                await stack.enter_async_context(running_gateway(upstream.url, clock, **values))
                for _ in range(processes)
            ]
            await asyncio.gather(*(send(gateways, langsmith, each) for each in requests))

    asyncio.run(run())

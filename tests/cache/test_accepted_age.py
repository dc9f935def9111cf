"""`Cache-Control` of a request: no value is older than the client accepts, whichever process fetched it.

Every answer of this LangSmith is a new state, and all numbers in it are the state's. The gateway's clock runs faster
than time, so that ages of seconds occur. The assertions compare times of that clock, and hold on a machine of any
speed.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
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
ONE, TWO = row(1)["id"], row(2)["id"]
HOUR = 'hour: stats(last: "PT1H")'
QUERIES = [
    "{ found: sessions(first: 3) { nodes { runCount } } }",
    "{ found: sessions(first: 3) { nodes { runCount totalTokens } } }",
    "{ found: sessions(first: 2) { nodes { totalTokens } } }",
    f"{{ found: sessions(first: 3) {{ nodes {{ runCount {HOUR} {{ totalTokens }} }} }} }}",
    '{ found: sessions(first: 3, stats: {last: "PT1H"}) { nodes { totalTokens } } }',
    '{ found: sessions(first: 3, filter: {nameContains: "s"}) { nodes { runCount promptTokens } } }',
    "{ found: sessions(first: 3, orderBy: {field: LATENCY_P50}) { nodes { runCount promptTokens } } }",
    f'{{ found: sessions(filter: {{ids: ["{ONE}", "{TWO}"]}}) {{ nodes {{ runCount totalTokens }} }} }}',
    f'{{ found: nodes(ids: ["{ONE}", "{TWO}"]) {{ ... on Session {{ runCount }} }} }}',
    f'{{ found: nodes(ids: ["{TWO}"]) {{ ... on Session {{ runCount totalTokens }} }} }}',
    f'{{ found: nodes(ids: ["{TWO}", "{ONE}"]) {{ ... on Session {{ {HOUR} {{ runCount }} }} }} }}',
    f'{{ found: session(id: "{ONE}") {{ promptTokens {HOUR} {{ totalTokens promptTokens }} }} }}',
    f'{{ found: session(id: "{TWO}", stats: {{last: "PT1H"}}) {{ runCount }} }}',
]


class FastClock(Clock):
    def monotonic(self) -> float:
        return NOON.timestamp() + time.monotonic() % 10_000 * SPEED

    def now(self) -> datetime:
        return NOON


@dataclass(frozen=True)
class Request:
    """A request that is sent after a while (milliseconds), to a gateway. `max_age` is 0 for `no-cache`.

    `query`: the number of one of the queries of the example. There are few of them, so that requests meet.
    """

    gateway: int
    query: int
    max_age: int | None
    delay: int


@dataclass
class ChangingLangSmith:
    """Each request meets a new state, of which the number and the time are recorded. It may fail.

    `delays`, `failures`: milliseconds before each answer, and whether it is a failure, in turns.
    """

    now: Callable[[], float]
    delays: list[int]
    failures: list[bool]
    states: list[float] = field(default_factory=list)

    async def answer(self, connection: Connection) -> None:
        self.states.append(self.now())
        number = len(self.states)
        params = connection.request.params
        selected = [value for name, value in params if name == "stats_select"]
        ids = {value for name, value in params if name == "id"}
        await asyncio.sleep(self.delays[number % len(self.delays)] / 1000)
        if self.failures[number % len(self.failures)]:
            await connection.send(response(b"{}", status=500))
            return
        rows = [row(each, **dict.fromkeys(selected, number)) for each in range(1, 4)]
        await connection.send(response(json.dumps([each for each in rows if not ids or each["id"] in ids]).encode()))


REQUESTS = st.lists(
    st.builds(
        Request,
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from([None, None, 0, 0, 1, 3]),
        st.sampled_from(range(0, 80, 8)),
    ),
    min_size=15,
    max_size=40,
)
SOME_QUERIES = st.lists(st.sampled_from(QUERIES), min_size=1, max_size=3)
DELAYS = st.lists(st.sampled_from([0, 2, 10, 30]), min_size=1, max_size=3)
FAILURES = st.one_of(st.just([False]), st.lists(st.booleans(), min_size=2, max_size=5))


def values_in(found: Any) -> Iterator[int]:
    """The values of all statistics."""
    for value in found.values() if isinstance(found, dict) else found:
        if isinstance(value, int):
            yield value
        else:
            yield from values_in(value)


@pytest.mark.parametrize(("processes", "has_redis"), [(1, False), (1, True), (2, True)])
@settings(max_examples=25)
@given(requests=REQUESTS, queries=SOME_QUERIES, delays=DELAYS, failures=FAILURES)
def test_no_value_is_older_than_the_client_accepts(
    processes: int,
    has_redis: bool,
    requests: list[Request],
    queries: list[str],
    delays: list[int],
    failures: list[bool],
) -> None:
    async def send(gateways: list[Gateway], langsmith: ChangingLangSmith, request: Request) -> None:
        await asyncio.sleep(request.delay / 1000)
        sent_at = langsmith.now()
        headers = {} if request.max_age is None else {"cache-control": f"max-age={request.max_age}"}
        if request.max_age == 0:
            headers = {"cache-control": "no-cache"}
        query = queries[request.query % len(queries)]
        body: dict[str, Any] = await gateways[request.gateway % processes].run(query, **headers)
        if "errors" in body:
            assert any(failures), body
            return
        oldest = sent_at - (75 + 15 if request.max_age is None else request.max_age)
        found = [*values_in(body["data"]["found"])]
        assert found
        for state in found:
            assert langsmith.states[state - 1] >= oldest, (request, query)

    async def run() -> None:
        clock = FastClock()
        langsmith = ChangingLangSmith(clock.monotonic, delays, failures)
        async with raw_upstream(langsmith.answer) as upstream, AsyncExitStack() as stack:
            values: dict[str, Any] = {"upstream_retries": 0, "cache_stale": 60}
            if has_redis:
                values = redis_settings(stack.enter_context(real_redis()))
            gateways = []
            for _ in range(processes):
                gateway = await stack.enter_async_context(running_gateway(upstream.url, clock, **values))
                gateways.append(await stack.enter_async_context(gateway.in_process()))
            await asyncio.gather(*(send(gateways, langsmith, each) for each in requests))

    asyncio.run(run())

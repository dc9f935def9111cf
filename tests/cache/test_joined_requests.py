"""Whoever joins a request in flight gets what it selected, or an error, whatever the request brings."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cache.shared.pair import redis_settings
from tests.conftest import Clock, Gateway, running_gateway
from tests.support.raw_upstream import Connection, RawUpstream, raw_upstream, response, row
from tests.support.real_redis import RealRedis, real_redis

FIELDS = {"run_count": "runCount", "total_tokens": "totalTokens", "prompt_tokens": "promptTokens"}
SESSIONS = 3


@dataclass(frozen=True)
class Selection:
    """One operation: statistics of the list, or of the session of this number."""

    statistics: frozenset[str]
    session: int | None

    @property
    def query(self) -> str:
        fields = " ".join(["id", *(FIELDS[name] for name in sorted(self.statistics))])
        if self.session is None:
            return f"{{ found: sessions(first: {SESSIONS}) {{ nodes {{ {fields} }} }} }}"
        return f'{{ found: session(id: "{row(self.session)["id"]}") {{ {fields} }} }}'


@dataclass(frozen=True)
class Step:
    """Operations at the same time, while LangSmith fails some statistics. The clock moves on afterwards."""

    selections: list[tuple[int, Selection]]
    failing: frozenset[str]
    is_flushed: bool
    seconds: float


STATISTICS = st.frozensets(st.sampled_from([*FIELDS]), max_size=2)
STEPS = st.lists(
    st.builds(
        Step,
        st.lists(
            st.tuples(st.integers(0, 1), st.builds(Selection, STATISTICS, st.sampled_from([None, 1, 2]))),
            min_size=1,
            max_size=5,
        ),
        STATISTICS,
        st.booleans(),
        st.sampled_from([0.0, 8.0, 20.0, 40.0]),
    ),
    min_size=1,
    max_size=4,
)


class PartlyFailing:
    """Answers with the selected statistics, each of them 1, or refuses a request that selects a failing one."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.failing = frozenset[str]()

    async def answer(self, connection: Connection) -> None:
        params = connection.request.params
        selected = [value for name, value in params if name == "stats_select"]
        ids = {value for name, value in params if name == "id"}
        if self.failing.intersection(selected):
            await connection.send(response(b'{"detail": []}', status=self._status))
            return
        rows = [row(number, **dict.fromkeys(selected, 1)) for number in range(1, SESSIONS + 1)]
        await connection.send(response(json.dumps([each for each in rows if not ids or each["id"] in ids]).encode()))


def check(body: dict[str, Any], selection: Selection, failing: frozenset[str], *, is_refused: bool) -> None:
    """Assert that the answer has no null without an error, and an error only for a failing statistic."""
    codes = [error["extensions"]["code"] for error in body.get("errors", [])]
    assert "INTERNAL_SERVER_ERROR" not in codes
    if not codes:
        found = body["data"]["found"]
        for node in [found] if selection.session else found["nodes"]:
            assert None not in node.values(), (selection, body)
    elif is_refused:
        assert selection.statistics & failing, (selection, body)


async def take_steps(gateways: list[Gateway], status: int, langsmith: PartlyFailing, steps: list[Step], clock: Clock,
                     redis: RealRedis | None) -> None:  # fmt: skip
    for step in steps:
        langsmith.failing = step.failing
        bodies = await asyncio.gather(
            *(gateways[number % len(gateways)].run(each.query) for number, each in step.selections)
        )
        for (_, selection), body in zip(step.selections, bodies, strict=True):
            check(body, selection, step.failing, is_refused=status == 422)
        if redis and step.is_flushed:
            with redis.client() as client:
                client.flushall()
        clock.advance(step.seconds)


@pytest.mark.parametrize("has_redis", [False, True], ids=["memory", "redis"])
@settings(max_examples=60)
@given(steps=STEPS, status=st.sampled_from([422, 500]))
def test_every_client_gets_what_it_selected_or_an_error_while_statistics_fail(
    has_redis: bool, steps: list[Step], status: int
) -> None:
    async def run() -> None:
        clock, langsmith = Clock(), PartlyFailing(status)
        async with raw_upstream(langsmith.answer) as upstream, AsyncExitStack() as stack:
            redis = stack.enter_context(real_redis()) if has_redis else None
            values = redis_settings(redis) if redis else {"upstream_retries": 0, "cache_stale": 60}
            gateways = [
                await stack.enter_async_context(running_gateway(upstream.url, clock, **values))
                for _ in range(2 if redis else 1)
            ]
            await take_steps(gateways, status, langsmith, steps, clock, redis)

    asyncio.run(run())


async def test_clients_that_a_failed_request_disappointed_share_the_next_one() -> None:
    langsmith = PartlyFailing(422)
    langsmith.failing = frozenset({"total_tokens"})
    selections = [Selection(frozenset({name}), None) for name in ("total_tokens", *["run_count"] * 20)]
    async with raw_upstream(langsmith.answer) as upstream, running_gateway(upstream.url, Clock()) as gateway:
        async with gateway.in_process() as direct:
            failed, *answers = await asyncio.gather(*(direct.run(each.query) for each in selections))
        assert failed["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert all("errors" not in answer for answer in answers)
        # Both statistics, the failing one alone, and the other one for all twenty clients.
        assert [_selected(upstream, number) for number in range(3)] == [
            {"run_count", "total_tokens"},
            {"total_tokens"},
            {"run_count"},
        ]
        assert len(upstream.requests) == 3


def _selected(upstream: RawUpstream, number: int) -> set[str]:
    return {value for name, value in upstream.requests[number].params if name == "stats_select"}

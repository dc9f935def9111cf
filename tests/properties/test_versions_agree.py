"""For any operations, version 2 of LangSmith's API behind the cache gives the answers of version 1 without a cache."""

import asyncio
from contextlib import AsyncExitStack

from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, serving
from tests.conftest import NOON, Clock, running_gateway
from tests.support.generated_operations import Operation, operations

TENANTS = {"demo": 12}
SOME_IDS = [str(each.id) for each in Emulator(clock=lambda: NOON, workspaces=TENANTS).workspaces["demo"].sessions[:4]]


def without_raw(operation: Operation) -> str:
    """The document without the feedback as LangSmith sent it, in which the versions differ."""
    return operation.query.replace(" raw }", " }")


@settings(max_examples=40)
@given(
    steps=st.lists(st.lists(operations(SOME_IDS), min_size=1, max_size=4), min_size=1, max_size=4),
    page_limit=st.sampled_from([None, 3, 5]),
)
def test_answers_of_version_2_equal_those_of_version_1(steps: list[list[Operation]], page_limit: int | None) -> None:
    async def run() -> None:
        langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        langsmith.page_limit = page_limit
        clock = Clock()
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            v1, v2 = [
                await stack.enter_async_context(
                    running_gateway(url, clock, now=lambda: NOON, cache_ttl=ttl, upstream_api=version)
                )
                for version, ttl in (("v1", 0), ("v2", 15))
            ]
            for step in steps:
                calls = [(without_raw(each), each.variables) for each in step]
                together = await asyncio.gather(*(v2.run(*each) for each in calls))
                for call, found in zip(calls, together, strict=True):
                    assert found == await v1.run(*call), call
                clock.advance(8)

    asyncio.run(run())

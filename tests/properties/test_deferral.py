"""The parts of an incremental answer add up to the answer without `@defer`, in both formats, however it is executed."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault, serving
from tests.conftest import NOON, Clock, Gateway, running_gateway
from tests.support.generated_operations import Operation, operations
from tests.support.incremental_client import DRAFT, OLD, merged, parts_of

TENANTS = {"demo": 12}
SOME_IDS = [str(each.id) for each in Emulator(clock=lambda: NOON, workspaces=TENANTS).workspaces["demo"].sessions[:4]]
EXAMPLES = settings(max_examples=40, phases=[Phase.reuse, Phase.generate])
_NO_FAULT = Fault(rewrite=lambda _: None)
# One process runs all tests of this file, because the last one counts the answers of the others.
pytestmark = pytest.mark.xdist_group("deferral")


class Gateways:
    """Gateways that compile operations or not, and cache pages or not, in front of one LangSmith."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.answers: Counter[str] = Counter()
        self._gateways = itertools.cycle(self.runner.run(self._start()))

    async def _start(self) -> list[Gateway]:
        self.langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        url = await self._stack.enter_async_context(serving(self.langsmith))
        variants = itertools.product((True, False), (15, 0), ("v1", "v2"))
        return [
            await self._stack.enter_async_context(
                running_gateway(
                    url, Clock(), now=lambda: NOON, compiled=compiled, cache_ttl=ttl, upstream_api=api, max_cost=1000
                )
            )
            for compiled, ttl, api in variants
        ]

    def next(self) -> Gateway:
        """Each of the gateways in turn."""
        return next(self._gateways)

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()

    def answer(self, gateway: Gateway, operation: Operation, accept: str, **headers: str) -> dict[str, Any]:
        """The whole answer, merged from its parts if it has any."""
        response: httpx.Response = self.runner.run(
            gateway.post(operation.query, operation.variables, accept=accept, **headers)
        )
        if not response.headers["content-type"].startswith("multipart/"):
            self.answers["whole"] += 1
            body: dict[str, Any] = response.json()
            return body
        payloads = parts_of(response)
        self.answers["in parts"] += 1
        self.answers["parts"] += len(payloads)
        return merged(payloads)


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    gateways = Gateways()
    yield gateways
    gateways.close()


@EXAMPLES
@given(several=st.lists(operations(SOME_IDS, deferring=True), min_size=3, max_size=8))
def test_parts_add_up_to_the_answer_without_defer(gateways: Gateways, several: list[Operation]) -> None:
    for operation in several:
        gateway = gateways.next()
        whole = gateways.answer(gateway, operation, "application/json")
        for accept in (DRAFT, OLD, DRAFT):
            assert gateways.answer(gateway, operation, accept) == whole, operation


@EXAMPLES
@given(several=st.lists(operations(SOME_IDS, failing=True, deferring=True), min_size=3, max_size=8))
def test_parts_are_well_formed_if_windows_fail(gateways: Gateways, several: list[Operation]) -> None:
    for operation in several:
        gateway = gateways.next()
        for accept in (DRAFT, OLD):
            gateways.answer(gateway, operation, accept)


@EXAMPLES
@given(
    several=st.lists(operations(SOME_IDS, deferring=True), min_size=3, max_size=8),
    refused=st.lists(st.booleans(), min_size=10, max_size=40),
)
def test_parts_are_well_formed_if_some_requests_fail(
    gateways: Gateways, several: list[Operation], refused: list[bool]
) -> None:
    """LangSmith refuses some requests."""
    for operation in several:
        gateway = gateways.next()
        for accept in (DRAFT, OLD):
            gateways.langsmith.faults[:] = [Fault(status=422) if each else _NO_FAULT for each in refused]
            gateways.answer(gateway, operation, accept, **{"cache-control": "no-cache"})
            gateways.langsmith.faults.clear()


def test_most_of_the_operations_were_answered_in_parts(gateways: Gateways) -> None:
    assert gateways.answers["in parts"] > 100
    assert gateways.answers["parts"] >= 2 * gateways.answers["in parts"]

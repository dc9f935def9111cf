"""A compiled plan answers exactly as graphql-core does, for any operation and any answer of LangSmith."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault, serving
from tests.conftest import NOON, Clock, Gateway, running_gateway
from tests.sessions.test_fields import ALL
from tests.support.generated_operations import Operation, operations

TENANTS = {"demo": 12}
SOME_IDS = [str(each.id) for each in Emulator(clock=lambda: NOON, workspaces=TENANTS).workspaces["demo"].sessions[:4]]
# One process runs all tests of this file, because one of them counts how the operations of the others ran.
pytestmark = pytest.mark.xdist_group("plan")

# Shrinking would exceed the time limit of a test, because each example is a list of operations.
EXAMPLES = settings(max_examples=45, phases=[Phase.reuse, Phase.generate])


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without what depends on timing, such as the order of errors."""
    if answer["data"] is None:
        # A non-null root field failed. Which errors of its siblings are reported as well depends on timing.
        return {"data": None, "has_errors": bool(answer.pop("errors"))}
    errors = [error for error in answer.pop("errors", []) if not error["message"].endswith("were left out.")]
    return {**answer, "errors": sorted(errors, key=lambda error: (str(error.get("path")), error["message"]))}


class Both:
    """A gateway that compiles operations, and one that runs them with graphql-core, in front of the same LangSmith."""

    def __init__(self, langsmith: Emulator) -> None:
        self.langsmith = langsmith
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.compiling, self.plain = self._runner.run(self._start())

    async def _start(self) -> list[Gateway]:
        url = await self._stack.enter_async_context(serving(self.langsmith))
        return [
            await self._stack.enter_async_context(
                running_gateway(url, Clock(), now=lambda: NOON, compiled=compiled, cache_ttl=ttl, upstream_retries=0)
            )
            for compiled, ttl in ((True, 15), (False, 15))
        ]

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def agree_on(self, operation: Operation) -> None:
        compiled, plain = [comparable(self.run(each, operation)) for each in (self.compiling, self.plain)]
        assert compiled == plain, operation

    def run(self, gateway: Gateway, operation: Operation) -> dict[str, Any]:
        return self._runner.run(gateway.run(operation.query, operation.variables))

    def executions(self) -> dict[str, float]:
        """The number of operations that the compiling gateway ran, by the way in which it ran them."""
        text = self._runner.run(self.compiling.client.get("/metrics")).text
        return {by: float(n) for by, n in re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text)}


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    both = Both(Emulator(clock=lambda: NOON, workspaces=TENANTS))
    yield both
    both.close()


def make_malformed(rows: list[dict[str, Any]]) -> None:
    """Make values malformed or absent, and drop the id of a row.

    The choice depends on the session only, because the sessions of one answer depend on which lookups are batched.
    """
    for row in rows:
        match UUID(row["id"]).int % 5:
            case 0:
                row.update(run_count="many", latency_p50=[], trace_tier="eternal", extra=None)
            case 1:
                row.update(total_cost="NaN", start_time="yesterday", feedback_stats={"k": {"n": "x", "avg": 1}, "l": 3})
            case 2:
                row.update(feedback_stats=7, run_facets=[None], tenant_id=row["tenant_id"].upper())
            case 3:
                del row["name"]
                row.update(default_dataset_id="none")
            case _:
                row.update(id=None)


@pytest.fixture(scope="module")
def both_before_malformed_rows() -> Iterator[Both]:
    langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
    langsmith.faults.append(Fault(rewrite=make_malformed, times=None))
    both = Both(langsmith)
    yield both
    both.close()


@EXAMPLES
@given(several=st.lists(operations(SOME_IDS), min_size=5, max_size=15))
def test_both_executors_agree_on_ordinary_operations(both: Both, several: list[Operation]) -> None:
    for each in several:
        both.agree_on(each)


def test_every_ordinary_operation_runs_as_a_plan(both: Both) -> None:
    executions = both.executions()
    assert executions.keys() <= {"plan", "kept"}
    assert executions["plan"] >= 100


@EXAMPLES
@given(several=st.lists(operations(SOME_IDS, failing=True), min_size=3, max_size=10))
def test_both_executors_agree_on_errors(both: Both, several: list[Operation]) -> None:
    for each in several:
        both.agree_on(each)


@EXAMPLES
@given(several=st.lists(operations(SOME_IDS), min_size=3, max_size=8))
def test_both_executors_agree_on_malformed_values(both_before_malformed_rows: Both, several: list[Operation]) -> None:
    for each in several:
        both_before_malformed_rows.agree_on(each)


async def test_operation_without_a_plan_is_run_by_graphql_core_and_counted(gateway: Gateway) -> None:
    await gateway.data("{ __schema { queryType { name } } }")
    await gateway.errors('{ session(id: "rubbish") { id } }')
    await gateway.data(f"{{ sessions(first: 2) {{ nodes {{ {ALL} }} }} }}")
    text = (await gateway.client.get("/metrics")).text
    ran = dict(re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text))
    assert ran == {"introspection": "1.0", "error": "1.0", "plan": "1.0"}


async def test_plan_depends_on_the_variables_of_directives_only(gateway: Gateway) -> None:
    query = "query ($n: Int!, $more: Boolean!) { sessions(first: $n) { nodes { name runCount @include(if: $more) } } }"
    for count in (1, 2, 3):
        for more in (True, False):
            data = await gateway.data(query, {"n": count, "more": more})
            assert [set(node) for node in data["sessions"]["nodes"]] == [
                {"name", "runCount"} if more else {"name"}
            ] * count


async def test_graphql_core_reuses_the_root_fields_that_a_plan_resolved(gateway: Gateway) -> None:
    body = await gateway.run('{ good: sessions(first: 1) { nodes { name } } bad: session(id: "rubbish") { id } }')
    assert body["data"]["good"]["nodes"]
    assert body["data"]["bad"] is None
    [error] = body["errors"]
    assert error["path"] == ["bad"]

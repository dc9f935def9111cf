"""Introspection is bounded, and the answer to an operation that only introspects is computed once."""

import re
from typing import Any

import pytest
from graphql import experimental_execute_incrementally, get_introspection_query

from app.execution import executor
from tests.conftest import Clock, Gateway, Serve, running_gateway

FULL = get_introspection_query(descriptions=True)
TYPES = "types { name }"
SPREAD = "{ ...A ... { b: __schema { __typename } } } fragment A on Query { a: __schema { __typename } }"
FRAGMENT = """{ __schema { types { ...F a: fields { name } b: fields { name } } } }
    fragment F on __Type { c: fields { name } d: inputFields { name } }"""


@pytest.mark.parametrize(
    ("query", "name", "limit"),
    [
        ("{ a: __schema { types { name } } b: __schema { types { name } } }", "__schema", 1),
        (SPREAD, "__schema", 1),
        ("{ " + " ".join(f'a{n}: __type(name: "Session") {{ name }}' for n in range(6)) + " }", "__type", 5),
        (f"{{ __schema {{ {TYPES} a: {TYPES} b: {TYPES} c: {TYPES} d: {TYPES} }} }}", "introspection aliases", 3),
        (FRAGMENT, "introspection aliases", 3),
    ],
)
async def test_introspection_is_limited_in_one_operation(gateway: Gateway, query: str, name: str, limit: int) -> None:
    (error,) = await gateway.errors(query, key=None)
    assert error["extensions"] == {"code": "OPERATION_TOO_EXPENSIVE", "limit": limit, "value": limit + 1}
    assert name in error["message"]


async def test_tools_may_introspect_beside_other_fields(gateway: Gateway) -> None:
    types = " ".join(f't{n}: __type(name: "Session") {{ kind: name }}' for n in range(5))
    data = await gateway.data("{ __schema { a: queryType { n: name } } sessions { __typename } " + types + " }")
    assert data["__schema"] == {"a": {"n": "Query"}}
    assert data["t4"] == {"kind": "Session"}


@pytest.mark.parametrize("compiled", [True, False])
async def test_repeated_introspection_is_answered_without_running_it_again(
    upstream_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, compiled: bool
) -> None:
    runs: list[Any] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        runs.append(args)
        return experimental_execute_incrementally(*args, **kwargs)

    monkeypatch.setattr(executor, "experimental_execute_incrementally", counted)
    async with running_gateway(upstream_url, clock, compiled=compiled) as gateway:
        answers = [(await gateway.post(FULL, key=key)).content for key in (None, "demo", None)]
        assert len(set(answers)) == 1
        assert len(runs) == 1
        one = "query ($name: String!) { __type(name: $name) { name } __typename }"
        for name in ("Session", "Query", "Session", "Query"):
            assert (await gateway.data(one, {"name": name}))["__type"]["name"] == name
        assert len(runs) == 3


async def test_introspection_that_fails_is_not_remembered(serve: Serve) -> None:
    query = "query ($n: String!) { __type(name: $n) { name } }"
    async with serve() as gateway:
        assert await gateway.errors(query, {"n": None})
        assert await gateway.data(query, {"n": "Query"}) == {"__type": {"name": "Query"}}


async def test_repeated_introspection_is_counted_each_time(gateway: Gateway) -> None:
    for _ in range(3):
        await gateway.data("{ __schema { queryType { name } } }")
    text = (await gateway.client.get("/metrics")).text
    assert re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text) == [("introspection", "3.0")]

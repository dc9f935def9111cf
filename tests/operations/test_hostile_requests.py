"""Hostile operations and bodies cost little CPU time, and block other requests for a moment only.

The limits are multiples of the time that a fixed piece of work takes in the same process, which is about 10 ms on a
quiet machine.
"""

import asyncio
import gc
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import get_introspection_query

from tests.conftest import TIMEOUT_SECONDS, Gateway, Serve

MAX_CPU = 20
MAX_STALL = 10
MEGABYTE = 1_000_000

pytestmark = pytest.mark.xdist_group("hostile")


def _operations() -> Iterator[tuple[str, str, dict[str, Any] | None]]:
    """Names, documents and variables.

    The operations of the first group exceed the limit on tokens or on length; the others stay below both limits.
    """
    chain = "".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    yield "aliases", "{" + " ".join(f"a{n}: __typename" for n in range(60_000)) + "}", None
    yield "fields", "{ sessions { nodes {" + "runCount " * 100_000 + "} } }", None
    yield "directives", "{ __typename " + "@include(if: true) " * 10_000 + "}", None
    yield "unknown directives", "{ __typename " + "@nope " * 10_000 + "}", None
    yield "a string", '{ session(id: "' + "x" * MEGABYTE + '") { id } }', None
    yield "escapes", '{ session(id: "' + "\\u0041" * (MEGABYTE // 7) + '") { id } }', None
    yield "a block string", '{ session(id: """' + "x\n" * (MEGABYTE // 2 - 1000) + '""") { id } }', None
    yield "an integer", "{ sessions(first: " + "9" * MEGABYTE + ") { nodes { id } } }", None
    yield "a name", "{ " + "a" * MEGABYTE + " }", None
    yield "spaces", "{ __typename " + " " * MEGABYTE + "}", None
    yield "commas", "{ __typename " + "," * MEGABYTE + "}", None
    yield "a comment", "{ __typename #" + "x" * MEGABYTE + "\n}", None
    yield "deep lists", "{ sessions(filter: {metadata: " + "[" * 50_000 + "]" * 50_000 + "}) { nodes { id } } }", None
    yield "deep fields", "{ a" * 50_000 + "}" * 50_000, None

    yield "shorter aliases", "{" + " ".join(f"a{n}: __typename" for n in range(600)) + "}", None
    yield "shorter fields", "{ sessions { nodes {" + "runCount " * 1900 + "} } }", None
    yield "root fields", "{" + "sessions { nodes { id } } " * 280 + "}", None
    yield "conflicts", "{" + " ".join(f"sessions(first: {n}) {{ nodes {{ id }} }}" for n in range(150)) + "}", None
    yield (
        "inner conflicts",
        "{ sessions { nodes {" + " ".join(f"stats(filter: {n}) {{ id }}" for n in range(200)) + "} } }",
        None,
    )
    named = "name runCount latencyP50 latencyP99 totalTokens totalCost errorRate id tenantId startTime extra "
    yield "repeated fields of many names", "{ sessions { nodes { nope " + named * 100 + "} } }", None
    repeated = "fragment R on Session { " + "stats { id runCount } " * 90 + " nope } "
    yield "spreads of repeated fields", "{ sessions { nodes { " + "...R " * 60 + "} } } " + repeated, None
    yield "shorter directives", "{ __typename " + "@include(if: true) " * 330 + "}", None
    yield "unknown fields", "{ sessions { nodes {" + " ".join(f"nope{n}" for n in range(1900)) + "} } }", None
    yield "unknown fields alike", "{ sessions { nodes {" + "latencyP5 " * 1900 + "} } }", None
    yield "a shorter string", '{ session(id: "' + "x" * 60_000 + '") { id } }', None
    yield "a shorter integer", "{ sessions(first: " + "9" * 60_000 + ") { nodes { id } } }", None
    yield "a shorter name", "{ sessions { nodes { " + "latencyP50" * 6000 + " } } }", None
    yield "chained fragments", "{ ...F0 } " + chain + "fragment F60 on Query { __typename }", None
    yield "a cycle of fragments", "{ ...F0 } " + chain + "fragment F60 on Query { ...F0 }", None
    yield (
        "fragments",
        "{ __typename } " + " ".join(f"fragment G{n} on Query {{ __typename }}" for n in range(280)),
        None,
    )
    yield (
        "spreads of conflicts",
        "{ sessions { nodes {"
        + " ".join(f"...S{n}" for n in range(90))
        + "} } } "
        + " ".join(
            f'fragment S{n} on Session {{ a: stats(filter: "{n}") {{ id }} ...S{(n + 1) % 90} }}' for n in range(90)
        ),
        None,
    )
    yield "operations", " ".join(f"query Q{n} {{ __typename }}" for n in range(350)), None
    yield "variables", "query (" + " ".join(f"$v{n}: Int" for n in range(400)) + ") { __typename }", None
    yield "unused fragments", "{ __typename } " + " ".join(f"fragment G{n} on Nope{n} {{ a }}" for n in range(99)), None
    yield (
        "recursive introspection",
        get_introspection_query().replace("ofType {", "ofType { fields { type { fields { type { name } } } }", 1),
        None,
    )
    yield "a shorter list", "{ sessions(filter: {metadata: [" + "1 " * 1900 + "]}) { nodes { id } } }", None
    yield "shorter deep lists", "{ sessions(filter: {metadata: " + "[" * 900 + "]" * 900 + "}) { nodes { id } } }", None
    yield "an object", "{ sessions(filter: {" + "name: 1 " * 480 + "}) { nodes { id } } }", None

    query = "query ($m: JSON) { sessions(filter: {metadata: $m}) { nodes { id } } }"
    yield "a long variable", query, {"m": {"a": "x" * (MEGABYTE - 1000)}}
    yield "many variables", query, {f"v{n}": n for n in range(60_000)}
    yield "a list", query, {"m": {"a": list(range(120_000))}}
    yield "wrong ids", "query ($i: [UUID!]) { sessions(filter: {ids: $i}) { nodes { id } } }", {"i": ["x" * 90] * 1000}
    yield (
        "wrong keys",
        "query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }",
        {"f": {f"k{n}": n for n in range(5000)}},
    )


OPERATIONS = {name: (query, variables) for name, query, variables in _operations()}


def refused(body: dict[str, Any]) -> bool:
    return not any(body.get("data", {}).values()) and bool(body["errors"])


@pytest.fixture(autouse=True, scope="module")
def _frozen_heap() -> None:
    """Exclude existing objects from garbage collection, as the server does after its start."""
    gc.collect()
    gc.freeze()


def unit_of_work() -> float:
    """CPU seconds of a fixed piece of work."""
    started = time.process_time()
    sum(number * number for number in range(200_000))
    return time.process_time() - started


async def cost_of(gateway: Gateway, content: bytes) -> tuple[dict[str, Any], float, float]:
    """The answer, its CPU time, and the longest time for which it blocked the event loop, both in units of work."""
    unit = unit_of_work()
    longest, is_done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        before = time.process_time()
        while not is_done:
            await asyncio.sleep(0)
            now = time.process_time()
            longest, before = max(longest, now - before), now

    headers = {"content-type": "application/json", "x-api-key": "demo"}
    watcher = asyncio.create_task(watch())
    started = time.process_time()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        response = await gateway.client.post("/graphql", content=content, headers=headers)
    used = time.process_time() - started
    is_done = True
    await watcher
    unit = max(unit, unit_of_work())
    return response.json(), used / unit, longest / unit


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_hostile_operation_is_refused_within_its_cpu_limit(gateway: Gateway, name: str) -> None:
    query, variables = OPERATIONS[name]
    content = json.dumps({"query": query, "variables": variables}).encode()
    await gateway.post("{ __typename }")
    body, used, stalled = await cost_of(gateway, content)
    assert refused(body), body
    assert used < MAX_CPU
    assert stalled < MAX_STALL


BODIES = {
    "deep arrays": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 190_000 + b"1" + b"}" * 190_000,
    "deep variables": b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 160_000 + b"1" + b"}" * 160_001,
    "members": b"{" + b",".join(b'"k%d": 1' % n for n in range(70_000)) + b"}",
    "the same member": b"{" + b",".join(b'"query": "{ __typename }"' for _ in range(30_000)) + b"}",
    "escapes": b'{"query": "' + b"\\u0020" * 170_000 + b'"}',
    "a number": b'{"query": ' + b"9" * 1_000_000 + b"}",
    "text": b"x" * 1_040_000,
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_is_refused_within_its_cpu_limit(gateway: Gateway, name: str) -> None:
    await gateway.post("{ __typename }")
    body, used, stalled = await cost_of(gateway, BODIES[name])
    assert refused(body), body
    assert used < MAX_CPU
    assert stalled < MAX_STALL


async def test_a_deep_document_is_refused_even_if_all_limits_are_raised(serve: Serve) -> None:
    async with serve(max_tokens=1_000_000, max_depth=1_000_000, max_aliases=1_000_000) as gateway:
        for name in ("deep lists", "shorter deep lists", "deep fields", "a cycle of fragments", "chained fragments"):
            query, variables = OPERATIONS[name]
            assert refused(await gateway.run(query, variables)), name

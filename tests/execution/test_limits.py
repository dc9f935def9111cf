"""Limits on an operation, which are checked before it runs."""

import time
from typing import Any

import pytest
from graphql import get_introspection_query

from app.emulator import Emulator
from app.execution.limits import (
    MAX_CHARACTERS,
    MAX_DIRECTIVES,
    MAX_FIELDS,
    MAX_FRAGMENTS,
    MAX_LIST,
    MAX_REPEATS,
    MAX_ROOT_FIELDS,
    MAX_VARIABLES_BYTES,
    MAX_VARIABLES_DEPTH,
)
from tests.conftest import Gateway, Serve
from tests.support.incremental_client import DRAFT, merged, parts_of

FULL_INTROSPECTION = get_introspection_query(
    specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
)


async def refusal(gateway: Gateway, query: str) -> tuple[int, int]:
    """The limit that the operation exceeds, and the operation's own value."""
    (error,) = await gateway.errors(query)
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE", error
    limit, value = error["extensions"]["limit"], error["extensions"]["value"]
    assert str(limit) in error["message"]
    return limit, value


def nested(depth: int) -> str:
    """A document that nests fields this deep. It is invalid, but depth is checked before validation."""
    return "{ a " * depth + "}" * depth


async def test_document_with_too_many_tokens_is_refused(serve: Serve) -> None:
    async with serve(max_tokens=10) as gateway:
        await gateway.data("{ a: __typename b: __typename }")
        assert await refusal(gateway, "{ a: __typename b: __typename c: __typename }") == (10, 11)


async def test_document_of_a_megabyte_is_refused_before_it_is_parsed(gateway: Gateway) -> None:
    started = time.process_time()
    assert await refusal(gateway, "{" + "a " * 500_000 + "}") == (MAX_CHARACTERS, 1_000_002)
    assert time.process_time() - started < 5


async def test_operation_that_nests_fields_too_deeply_is_refused(serve: Serve) -> None:
    async with serve(max_depth=3) as gateway:
        await gateway.data("{ sessions { nodes { id } } }")
        assert await refusal(gateway, "{ sessions { nodes { stats { id } } } }") == (3, 4)


async def test_fragment_adds_the_depth_of_its_fields_only(serve: Serve) -> None:
    spread = "{ ... { ...Q } } fragment Q on Query { sessions { ... on SessionConnection { nodes { ...S } } } } "
    async with serve(max_depth=3) as gateway:
        await gateway.data(spread + "fragment S on Session { id }")
        assert await refusal(gateway, spread + "fragment S on Session { stats { runCount } }") == (3, 4)


async def test_limits_apply_to_every_operation_of_a_document(serve: Serve) -> None:
    async with serve(max_depth=3) as gateway:
        assert await refusal(gateway, "query A { __typename } query B " + nested(4)) == (3, 4)


async def test_aliases_of_a_fragment_count_at_every_spread(serve: Serve) -> None:
    names = "fragment N on Query { a: __typename b: __typename } "
    async with serve(max_aliases=3) as gateway:
        await gateway.data(names + "{ ...N c: __typename }")
        assert await refusal(gateway, names + "{ ...N x: sessions { nodes { id } } ... { ...N } }") == (3, 5)


async def test_full_introspection_passes_the_default_limits(gateway: Gateway) -> None:
    data = await gateway.data(FULL_INTROSPECTION)
    assert "Session" in {kind["name"] for kind in data["__schema"]["types"]}


async def test_introspection_under_too_many_aliases_is_refused(gateway: Gateway) -> None:
    assert await refusal(gateway, "{ " + " ".join(f"a{n}: __schema {{ __typename }}" for n in range(31)) + " }") == (
        30,
        31,
    )


async def test_fields_of_a_fragment_count_at_every_spread(gateway: Gateway) -> None:
    spreads = (
        "{ sessions { nodes { ...A ...A ...A } } } fragment A on Session { ...B ...B } fragment B on Session { %s }"
    )
    names = "id name extra runCount errorRate totalCost totalTokens "
    await gateway.data(spreads % (names * 40))
    assert await refusal(gateway, spreads % (names * 50)) == (MAX_FIELDS, 2 + 6 * 350)


async def test_operation_with_too_many_root_fields_is_refused(gateway: Gateway) -> None:
    await gateway.data("{" + "__typename " * MAX_ROOT_FIELDS + "}")
    query = "{ ... { __typename } ...F " + "__typename " * MAX_ROOT_FIELDS + "} fragment F on Query { __typename }"
    assert await refusal(gateway, query) == (MAX_ROOT_FIELDS, MAX_ROOT_FIELDS + 2)


async def test_operation_with_too_many_directives_is_refused(gateway: Gateway) -> None:
    query = (
        "{ ... @skip(if: false) { sessions { nodes {" + "id @include(if: true) " * (MAX_DIRECTIVES - 1) + "%s } } } }"
    )
    await gateway.data(query % "")
    assert await refusal(gateway, query % "name @skip(if: true)") == (MAX_DIRECTIVES, MAX_DIRECTIVES + 1)


async def test_document_that_repeats_a_response_key_too_often_is_refused(gateway: Gateway) -> None:
    query = "{ sessions { nodes { " + "id " * MAX_REPEATS + "%s } } }"
    await gateway.data(query % "name")
    assert await refusal(gateway, query % "id: name") == (MAX_REPEATS, MAX_REPEATS + 1)


async def test_document_with_too_many_fragments_is_refused(gateway: Gateway) -> None:
    fragments = " ".join(f"fragment F{n} on Query {{ __typename }}" for n in range(MAX_FRAGMENTS + 1))
    assert await refusal(gateway, "{ __typename } " + fragments) == (MAX_FRAGMENTS, MAX_FRAGMENTS + 1)


async def test_list_that_is_too_long_is_refused(gateway: Gateway) -> None:
    literal = "{ nodes(ids: [%s]) { id } }"
    assert await refusal(gateway, literal % ('"x" ' * (MAX_LIST + 1))) == (MAX_LIST, MAX_LIST + 1)
    query, ids = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ["x"] * (MAX_LIST + 1)
    (error,) = await gateway.errors(query, {"ids": ids})
    assert error["extensions"] == {"code": "OPERATION_TOO_EXPENSIVE", "limit": MAX_LIST, "value": MAX_LIST + 1}


async def test_variables_that_are_too_large_or_too_deep_are_refused(gateway: Gateway) -> None:
    query = "query ($metadata: JSON) { sessions(filter: {metadata: $metadata}) { nodes { id } } }"
    (error,) = await gateway.errors(query, {"metadata": {"a": "x" * MAX_VARIABLES_BYTES}})
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE"
    assert error["extensions"]["limit"] == MAX_VARIABLES_BYTES
    deep: Any = {}
    for _ in range(MAX_VARIABLES_DEPTH + 10):
        deep = {"a": deep}
    (error,) = await gateway.errors(query, {"metadata": deep})
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE"
    assert error["extensions"]["limit"] == MAX_VARIABLES_DEPTH


@pytest.mark.parametrize("kind", ["Query", "Session"])
async def test_exponential_chain_of_fragments_is_refused(gateway: Gateway, kind: str) -> None:
    chain = "".join(f"fragment F{n} on {kind} {{ ...F{n + 1} ...F{n + 1} }} " for n in range(30))
    opening = "{ ...F0 } " if kind == "Query" else "{ sessions { nodes { ...F0 } } } "
    _, value = await refusal(gateway, opening + chain + f"fragment F30 on {kind} {{ a: __typename }}")
    assert value == 2**30


@pytest.mark.parametrize(
    "opening",
    [
        "{ sessions(first: $n) { nodes { ...F0 ... @defer { id } } } }",
        "{ sessions(first: $n) { nodes { id ... @defer { ...F0 } } } }",
        "{ ... @defer { sessions(first: $n) { nodes { ...F0 } } } }",
    ],
)
async def test_fragments_that_are_spread_exponentially_often_are_deferred_in_time(
    gateway: Gateway, opening: str
) -> None:
    chain = "".join(
        f"fragment F{n} on Session {{ ...F{n + 1} {f'...F{n + 1}' if n < 10 else ''} }} " for n in range(95)
    )
    query = f"query ($n: Int) {opening} {chain} fragment F95 on Session {{ name }}"
    whole = await gateway.run(query, {"n": 2})
    started = time.process_time()
    for number in range(2, 12):
        response = await gateway.post(query, {"n": number}, accept=DRAFT)
    assert time.process_time() - started < 5
    parts = merged(parts_of(response))
    assert parts["data"]["sessions"]["nodes"][:2] == whole["data"]["sessions"]["nodes"]


@pytest.mark.parametrize(
    "query",
    [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { __typename ...A }",
        "{ sessions { nodes { ...A } } } fragment A on Session { stats { id } ...B } fragment B on Session { ...A }",
    ],
)
async def test_cycle_of_fragments_is_invalid(gateway: Gateway, query: str) -> None:
    codes = {error["extensions"]["code"] for error in await gateway.errors(query)}
    assert codes == {"GRAPHQL_VALIDATION_FAILED"}


@pytest.mark.parametrize(
    "query",
    [
        "{" * 5000,
        nested(2000),
        "{ " + "... { " * 3000 + "__typename" + " }" * 3001,
        "{ sessions(filter: { metadata: " + "[" * 3000 + "]" * 3000 + " }) { nodes { id } } }",
        "{ sessions(filter: { metadata: " + "{a: " * 3000 + "1" + "}" * 3000 + " }) { nodes { id } } }",
        "query ($a: " + "[" * 3000 + "Int" + "]" * 3000 + ") { __typename }",
        "{ ...F0 } "
        + "".join(f"fragment F{n} on Query {{ ...F{n + 1} }} " for n in range(1500))
        + "fragment F1500 on Query { __typename }",
    ],
    ids=["braces", "fields", "inline fragments", "lists", "objects", "types", "fragments"],
)
@pytest.mark.parametrize("max_tokens", [2000, 100_000])
async def test_extreme_nesting_of_any_kind_is_refused_without_a_bug(serve: Serve, query: str, max_tokens: int) -> None:
    async with serve(max_tokens=max_tokens) as gateway:
        errors = await gateway.errors(query)
    assert {error["extensions"]["code"] for error in errors} <= {
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "OPERATION_TOO_EXPENSIVE",
    }
    assert errors
    assert "internal_error" not in gateway.log.getvalue()


async def test_operation_beyond_a_limit_sends_no_request(serve: Serve, langsmith: Emulator) -> None:
    async with serve(max_depth=2) as gateway:
        await refusal(gateway, "{ sessions { nodes { id } } }")
    assert langsmith.requests == []

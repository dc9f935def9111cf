"""What an operation may be, before it costs anybody anything."""

import time
from typing import Any

import pytest
from graphql import get_introspection_query

from app.emulator import Emulator
from tests.conftest import Gateway, Serve

FULL_INTROSPECTION = get_introspection_query(
    specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
)


async def refusal(gateway: Gateway, query: str) -> tuple[int, int]:
    """The limit that the operation passes, and its value."""
    (error,) = await gateway.errors(query)
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE", error
    limit, value = error["extensions"]["limit"], error["extensions"]["value"]
    assert str(limit) in error["message"]
    return limit, value


def nested(depth: int) -> str:
    """So many fields deep. It is no valid document, but what is too deep is not looked at any further."""
    return "{ a " * depth + "}" * depth


async def test_tokens_are_counted(serve: Serve) -> None:
    async with serve(max_tokens=10) as gateway:
        await gateway.data("{ a: __typename b: __typename }")
        assert await refusal(gateway, "{ a: __typename b: __typename c: __typename }") == (10, 11)


async def test_a_megabyte_of_fields_is_refused_at_its_limit(gateway: Gateway) -> None:
    started = time.process_time()
    assert await refusal(gateway, "{" + "a " * 500_000 + "}") == (2000, 2001)
    assert time.process_time() - started < 5


async def test_fields_are_counted_in_depth(serve: Serve) -> None:
    async with serve(max_depth=3) as gateway:
        await gateway.data("{ sessions { nodes { id } } }")
        assert await refusal(gateway, "{ sessions { nodes { stats { id } } } }") == (3, 4)


async def test_fragments_add_the_depth_of_what_they_hold_and_none_of_their_own(serve: Serve) -> None:
    spread = "{ ... { ...Q } } fragment Q on Query { sessions { ... on SessionConnection { nodes { ...S } } } } "
    async with serve(max_depth=3) as gateway:
        await gateway.data(spread + "fragment S on Session { id }")
        assert await refusal(gateway, spread + "fragment S on Session { stats { runCount } }") == (3, 4)


async def test_every_operation_of_a_document_is_looked_at(serve: Serve) -> None:
    async with serve(max_depth=3) as gateway:
        assert await refusal(gateway, "query A { __typename } query B " + nested(4)) == (3, 4)


async def test_aliases_are_counted_wherever_a_fragment_brings_them(serve: Serve) -> None:
    names = "fragment N on Query { a: __typename b: __typename } "
    async with serve(max_aliases=3) as gateway:
        await gateway.data(names + "{ ...N c: __typename }")
        assert await refusal(gateway, names + "{ ...N x: sessions { nodes { id } } ... { ...N } }") == (3, 5)


async def test_tools_may_introspect_at_the_default_settings(gateway: Gateway) -> None:
    data = await gateway.data(FULL_INTROSPECTION)
    assert "Session" in {kind["name"] for kind in data["__schema"]["types"]}


async def test_introspection_under_many_aliases_is_refused(gateway: Gateway) -> None:
    assert await refusal(gateway, "{ " + " ".join(f"a{n}: __schema {{ __typename }}" for n in range(31)) + " }") == (
        30,
        31,
    )


@pytest.mark.parametrize("kind", ["Query", "Session"])
async def test_fragments_that_spread_each_other_twice_hold_nobody_up(gateway: Gateway, kind: str) -> None:
    chain = "".join(f"fragment F{n} on {kind} {{ ...F{n + 1} ...F{n + 1} }} " for n in range(30))
    opening = "{ ...F0 } " if kind == "Query" else "{ sessions { nodes { ...F0 } } } "
    started = time.process_time()
    await gateway.data(opening + chain + f"fragment F30 on {kind} {{ __typename }}")
    aliases = await gateway.errors(opening + chain + f"fragment F30 on {kind} {{ a: __typename }}")
    assert time.process_time() - started < 2
    assert [error["extensions"]["value"] for error in aliases] == [2**30]


@pytest.mark.parametrize(
    "query",
    [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { __typename ...A }",
        "{ sessions { nodes { ...A } } } fragment A on Session { stats { id } ...B } fragment B on Session { ...A }",
    ],
)
async def test_fragments_that_spread_themselves_are_invalid(gateway: Gateway, query: str) -> None:
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
async def test_whatever_is_nested_too_deeply_is_refused_cleanly(serve: Serve, query: str, max_tokens: int) -> None:
    async with serve(max_tokens=max_tokens) as gateway:
        errors = await gateway.errors(query)
    assert {error["extensions"]["code"] for error in errors} <= {
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "OPERATION_TOO_EXPENSIVE",
    }
    assert errors
    assert "bug" not in gateway.log.getvalue()


async def test_variables_may_be_nested_as_deeply_as_json_is_read(gateway: Gateway) -> None:
    value: Any = []
    for _ in range(200):
        value = [value]
    (error,) = await gateway.errors("query ($ids: [UUID!]) { sessions(filter: {ids: $ids}) { nodes { id } } }", value)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_repeated_fields_hold_nobody_up(gateway: Gateway) -> None:
    started = time.process_time()
    errors = await gateway.errors("{ sessions { nodes { " + "runCount " * 1900 + "} } }")
    assert time.process_time() - started < 5
    assert errors == [] or {error["extensions"]["code"] for error in errors} == {"GRAPHQL_VALIDATION_FAILED"}


async def test_what_is_refused_is_not_asked_of_langsmith(serve: Serve, langsmith: Emulator) -> None:
    async with serve(max_depth=2) as gateway:
        await refusal(gateway, "{ sessions { nodes { id } } }")
    assert langsmith.requests == []

"""An argument that is null is the same as one that is not given, whether or not it has a default."""

from typing import Any

import pytest
from graphql import GraphQLArgument, GraphQLInputField, is_input_object_type, is_non_null_type, is_object_type

from app.emulator import Emulator
from app.execution import graphql_core_schema
from app.schema.query import create_schema
from tests.conftest import Clock, Gateway, running_gateway, take_recorded_params

LISTS = """query ($first: Int, $last: Int, $before: String, $order: SessionOrder, $stats: StatsOptions) {
    sessions(first: $first, last: $last, before: $before, orderBy: $order, stats: $stats) {
        nodes { id runCount } pageInfo { startCursor } } }"""
WINDOWS = "query ($approximate: Boolean) { sessions { nodes { stats(approximate: $approximate) { id runCount } } } }"
LITERALS = """{ sessions(first: null, orderBy: {field: null, direction: null}, stats: {approximate: null}) {
    nodes { id runCount } pageInfo { startCursor } } }"""
DEFAULTS = {"field": None, "direction": None, "feedbackKey": None, "feedbackSource": None}
BOTH_EXECUTORS = pytest.mark.parametrize("compiled", [True, False])


@BOTH_EXECUTORS
async def test_relay_loads_the_previous_page_with_a_null_for_first(
    upstream_url: str, clock: Clock, *, compiled: bool
) -> None:
    async with running_gateway(upstream_url, clock, compiled=compiled) as gateway:
        page = (await gateway.data("{ sessions(first: 5) { edges { cursor node { id } } } }"))["sessions"]["edges"]
        data = await gateway.data(LISTS, {"first": None, "last": 2, "before": page[4]["cursor"]})
    assert [node["id"] for node in data["sessions"]["nodes"]] == [edge["node"]["id"] for edge in page[2:4]]


@BOTH_EXECUTORS
@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (LISTS, {"first": None}),
        (LISTS, {"order": DEFAULTS}),
        (LISTS, {"stats": {"since": None, "last": None, "filter": None, "approximate": None}}),
        (LISTS, dict.fromkeys(("first", "last", "before", "order", "stats"))),
        (WINDOWS, {"approximate": None}),
        (LITERALS, {}),
    ],
)
async def test_null_asks_for_the_same_as_leaving_the_argument_out(
    upstream_url: str, clock: Clock, langsmith: Emulator, query: str, variables: dict[str, Any], *, compiled: bool
) -> None:
    plain = WINDOWS if query == WINDOWS else LISTS
    async with running_gateway(upstream_url, clock, compiled=compiled, cache_ttl=0) as gateway:
        expected, params = await gateway.data(plain), take_recorded_params(langsmith)
        assert await gateway.data(query, variables) == expected
    assert take_recorded_params(langsmith) == params


async def test_null_for_the_order_keeps_what_else_is_given(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(LISTS, {"order": {"field": "NAME", "direction": None}})
    await gateway.data(LISTS, {"order": {"field": None, "direction": "ASC"}})
    sorts = [
        [dict(params)[name] for name in ("sort_by", "sort_by_desc") if name in dict(params)]
        for params in take_recorded_params(langsmith)
    ]
    assert len(sorts) == 2
    assert sorts[0][0] == "name"
    assert sorts[1][-1] == "false"


def test_every_argument_with_a_default_accepts_null() -> None:
    schema = graphql_core_schema(create_schema())
    arguments: dict[str, GraphQLArgument | GraphQLInputField] = {}
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if is_input_object_type(kind):
            arguments |= {f"{kind.name}.{name}": each for name, each in kind.fields.items()}
        if is_object_type(kind):
            arguments |= {
                f"{kind.name}.{field}.{name}": each
                for field, definition in kind.fields.items()
                for name, each in definition.args.items()
            }
    required = {name for name, each in arguments.items() if is_non_null_type(each.type)}
    assert required == {"Query.session.id", "Query.node.id", "Query.nodes.ids"}

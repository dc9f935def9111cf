"""An error about a refused value names the argument that the client gave, whichever parameter LangSmith refused."""

import json
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.errors import BadUserInputError
from tests.conftest import Clock, Gateway, Serve, running_gateway

A = "00000000-0000-4000-8000-00000000000a"
B = "00000000-0000-4000-8000-00000000000b"


def refusal(parameter: str, times: int | None = None) -> Fault:
    detail = [{"type": "value_error", "loc": ["query", parameter, 0], "msg": "Input should be valid", "input": "x"}]
    return Fault(status=422, body=json.dumps({"detail": detail}).encode(), times=times)


async def named(gateway: Gateway, query: str) -> list[Any]:
    errors = await gateway.errors(query)
    for error in errors:
        argument = error["extensions"].get("argument")
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert error["message"].startswith(f"{argument}: LangSmith" if argument else "LangSmith")
    return sorted((error["path"][0], error["extensions"].get("argument")) for error in errors)


@pytest.mark.parametrize("compiled", [True, False])
async def test_refused_id_is_named_as_each_root_field_has_it(
    upstream_url: str, clock: Clock, langsmith: Emulator, *, compiled: bool
) -> None:
    langsmith.faults.append(refusal("id"))
    async with running_gateway(upstream_url, clock, compiled=compiled) as gateway:
        query = f"""{{ one: session(id: "{A}") {{ id }} two: node(id: "{A}") {{ id }}
            list: sessions(filter: {{ids: ["{A}"]}}) {{ nodes {{ id }} }} }}"""
        assert await named(gateway, query) == [("list", "filter.ids"), ("one", "session.id"), ("two", "node.id")]
        assert await named(gateway, f'{{ all: nodes(ids: ["{A}", "{B}"]) {{ id }} }}') == [("all", "nodes.ids")]


def test_error_that_already_shows_its_argument_is_renamed_as_a_whole() -> None:
    error = BadUserInputError("filter.ids: LangSmith refused this value.")  # as another process of a fleet passes it on
    error.argument = "filter.ids"
    renamed = error.renamed("filter.ids", "node.id")
    assert (str(renamed), renamed.argument) == ("node.id: LangSmith refused this value.", "node.id")
    assert renamed.renamed("filter.ids", "session.id") is renamed


@pytest.mark.parametrize("compiled", [True, False])
async def test_refused_id_of_a_window_is_named_only_where_the_client_gave_it(
    upstream_url: str, clock: Clock, langsmith: Emulator, *, compiled: bool
) -> None:
    session_id = str(langsmith.workspaces["demo"].sessions[0].id)
    async with running_gateway(upstream_url, clock, compiled=compiled) as gateway:
        await gateway.data(f'{{ session(id: "{session_id}") {{ id }} sessions(first: 3) {{ nodes {{ id }} }} }}')
        langsmith.faults.append(refusal("id"))
        query = f"""{{ one: session(id: "{session_id}") {{ stats(last: "P1D") {{ runCount }} }}
            list: sessions(first: 3) {{ nodes {{ stats(last: "P1D") {{ runCount }} }} }} }}"""
        errors = await gateway.errors(query)
        assert sorted((error["path"][0], error["extensions"].get("argument", "")) for error in errors) == [
            ("list", ""),
            ("one", "session.id"),
        ]


async def test_refused_id_of_a_refill_is_not_named(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 3) { nodes { id } } }")
    langsmith.faults.append(refusal("id"))
    assert await named(gateway, "{ sessions(first: 3) { nodes { runCount } } }") == [("sessions", None)]


@pytest.mark.parametrize(("given", "argument"), [('last: "P60D"', "stats.last"), (None, "stats.since")])
@pytest.mark.parametrize(
    "query",
    [
        "{{ sessions(stats: {{{}}}) {{ nodes {{ runCount }} }} }}",
        "{{ sessions {{ nodes {{ stats({}) {{ runCount }} }} }} }}",
        f'{{{{ session(id: "{A}", stats: {{{{{{}}}}}}) {{{{ runCount }}}} }}}}',
    ],
)
async def test_refused_start_time_is_named_as_it_was_given(
    serve: Serve, langsmith: Emulator, query: str, given: str | None, argument: str
) -> None:
    async with serve() as gateway:
        await gateway.data("{ sessions { nodes { id } } }")
        langsmith.faults.append(refusal("stats_start_time"))
        [(_, name)] = await named(gateway, query.format(given or 'since: "2026-01-01T00:00:00Z"'))
    assert name == argument

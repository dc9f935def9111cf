"""A field or an argument is one line: each test adds lines to a copy of the package, and changes nothing else there."""

import json
from pathlib import Path

import pytest

from tests.support.edited_package import EditedPackage
from tests.support.raw_upstream import Connection, RawUpstream, raw_upstream, response, row

OPTION = '    minimum_tokens: int | None = argument("Only runs with at least this many tokens.")\n'
FILTER = '    owner_name: str | None = argument("Only sessions of this owner.")\n'
STATISTIC = '    tool_calls: BigInt | None = stat("Number of tool calls.")\n'
ID = row()["id"]


@pytest.fixture
def package(tmp_path: Path) -> EditedPackage:
    return EditedPackage(tmp_path / "edited")


async def answer(connection: Connection) -> None:
    """One session; its statistics tell the value of the artificial option."""
    option = int(dict(connection.request.params).get("minimum_tokens", 0))
    rows = [row(run_count=100 + option, tool_calls=1000 + option)]
    await connection.send(response(json.dumps(rows).encode()))


def sent(upstream: RawUpstream, name: str) -> list[list[str]]:
    """The values of a parameter, for each request that has it."""
    values = [[value for each, value in request.params if each == name] for request in upstream.requests]
    return [each for each in values if each]


async def test_added_statistics_option_reaches_langsmith_from_every_place_and_separates_cache_keys(
    package: EditedPackage,
) -> None:
    package.insert_after("sessions/arguments.py", "class StatsOptions:", OPTION)
    async with raw_upstream(answer) as upstream:
        answers, sdl = await package.run(
            upstream.url,
            "{ sessions(stats: {minimumTokens: 1}) { nodes { runCount } } }",
            "{ sessions(stats: {minimumTokens: 2}) { nodes { runCount } } }",
            "{ sessions(stats: {minimumTokens: 1}) { nodes { runCount } } }",
            f'{{ session(id: "{ID}", stats: {{minimumTokens: 3}}) {{ runCount }} }}',
            "{ sessions { nodes { a: stats(minimumTokens: 4) { id runCount } b: stats(minimumTokens: 5) { id runCount }"
            " all: stats { id } } } }",
            "{ sessions(orderBy: {field: ERROR_RATE}, stats: {minimumTokens: 6}) { nodes { name } } }",
            "{ sessions(orderBy: {field: ERROR_RATE}, stats: {minimumTokens: 7}) { nodes { name } } }",
        )
    assert sdl.count("minimumTokens: Int") == 2
    assert not [each["errors"] for each in answers if "errors" in each]
    # The third operation is answered from the cache.
    assert sorted(value for [value] in sent(upstream, "minimum_tokens")) == ["1", "2", "3", "4", "5", "6", "7"]
    counts = [each["data"]["sessions"]["nodes"][0]["runCount"] for each in answers[:3]]
    assert counts == [101, 102, 101]
    assert answers[3]["data"]["session"]["runCount"] == 103
    windows = answers[4]["data"]["sessions"]["nodes"][0]
    assert (windows["a"]["runCount"], windows["b"]["runCount"]) == (104, 105)
    assert len({window["id"] for window in windows.values()}) == 3


async def test_added_filter_argument_reaches_langsmith_and_separates_cache_keys(package: EditedPackage) -> None:
    package.insert_after("sessions/arguments.py", "class SessionFilter:", FILTER)
    async with raw_upstream(answer) as upstream:
        answers, sdl = await package.run(
            upstream.url,
            '{ sessions(filter: {ownerName: "ann"}) { nodes { name } } }',
            '{ sessions(filter: {ownerName: "bob"}) { nodes { name } } }',
            '{ sessions(filter: {ownerName: "ann"}) { nodes { id } } }',
        )
    assert "ownerName: String" in sdl
    assert not [each["errors"] for each in answers if "errors" in each]
    assert sent(upstream, "owner_name") == [["ann"], ["bob"]]
    assert len(upstream.requests) == 2


async def test_added_statistic_is_selected_decoded_costed_and_answered(package: EditedPackage) -> None:
    package.insert_after("sessions/fields.py", "class Statistics:", STATISTIC)
    async with raw_upstream(answer) as upstream:
        [page, window], sdl = await package.run(
            upstream.url,
            "{ sessions { nodes { toolCalls } } }",
            "{ sessions { nodes { stats(approximate: true) { toolCalls } } } }",
        )
    assert sdl.count("toolCalls: BigInt") == 2
    assert "Number of tool calls. Computed on selection." in sdl
    assert page["data"] == {"sessions": {"nodes": [{"toolCalls": 1000}]}}
    assert window["data"] == {"sessions": {"nodes": [{"stats": {"toolCalls": 1000}}]}}
    assert sent(upstream, "stats_select") == [["tool_calls"], ["tool_calls"]]
    assert page["extensions"]["gateway"]["cost"] == 3


OTHER_NODE = """

@strawberry.type(description="Another object with an id.")
class Other(Node):
    run_count: int | None = None
"""


async def test_fragment_on_another_implementation_of_node_requests_no_statistic(package: EditedPackage) -> None:
    package.replace(
        "schema/types.py", "from app.sessions.fields import Columns,", "from app.sessions.fields import Columns, Node,"
    )
    package.append("schema/types.py", OTHER_NODE)
    package.replace("schema/query.py", "import Info, Session,", "import Info, Other, Session,")
    package.replace("schema/query.py", "types=[Session]", "types=[Session, Other]")
    selections = [
        "id ... on Session { name } ... on Other { runCount }",
        "id ... on Session { name } ... on Node { ... on Other { runCount } }",
        "...OnSession ...OnOther",
        "... on Session { errorRate } ...OnOther",
    ]
    fragments = "fragment OnSession on Session { name } fragment OnOther on Other { runCount }"

    def operation(selection: str) -> str:
        used = fragments if "...OnSession" in selection else fragments[fragments.index("fragment OnOther") :]
        return f'{{ node(id: "{ID}") {{ {selection} }} }} {used if "...On" in selection else ""}'

    async with raw_upstream(answer) as upstream:
        answers, _ = await package.run(upstream.url, *map(operation, selections))
    assert not [each["errors"] for each in answers if "errors" in each]
    assert [each["extensions"]["gateway"]["cost"] for each in answers] == [2, 2, 2, 3]
    assert sent(upstream, "stats_select") == [["error_rate"]]

"""Clients show rows before statistics, from the parts of an answer to an operation with `@defer`.

Each program runs the scenarios of deferred.mjs: LangSmith's statistics are held back until the client shows the rows.
"""

import asyncio
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from gql import gql

from tests.clients.node import json_of, needs_node, output_of, project
from tests.clients.stage import stage
from tests.clients.test_clients import SDL, url_of, without_typenames
from tests.clients.with_gql import create_client
from tests.conftest import Gateway
from tests.support.incremental_client import merged

pytestmark = pytest.mark.xdist_group("node")

VARIANTS = {
    "apollo": ("old", "draft"),
    "urql": ("graphcache", "urql"),
    "relay": ("old", "draft"),
    "streams": ("graphiql", "meros"),
}
OTHER_SCENARIOS = {"failing", "broken", "polled", "paged"}


class Report(NamedTuple):
    """Results of a client, by scenario: what it showed, and the answers of another gateway without `@defer`."""

    program: str
    variant: str
    results: dict[str, Any]

    def in_parts(self) -> dict[str, Any]:
        """The results of the scenarios in which everything goes well, and the client is not interrupted."""
        return {name: each for name, each in self.results.items() if name not in OTHER_SCENARIOS}


@cache
def report_of(program: str) -> Any:
    """What a program prints. It runs once for all tests."""

    async def run() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            arguments = []
            if program == "relay":
                relay = project("relay", Path(folder))
                await output_of("relay-compiler", cwd=relay)
                await output_of("tsc", "--project", ".", cwd=relay)
                arguments = [str(relay / "built")]
            async with stage() as urls:
                return without_typenames(await json_of(f"{program}/deferred.mjs", *urls, *arguments))

    return asyncio.run(run())


@pytest.fixture(params=[(program, each) for program, variants in VARIANTS.items() for each in variants], ids="-".join)
def report(request: pytest.FixtureRequest) -> Report:
    program, variant = request.param
    return Report(program, variant, report_of(program)[variant])


def answer_of(state: dict[str, Any]) -> dict[str, Any]:
    """Data and error codes of what a client shows. The parts are merged here if the client does not merge them."""
    if "payloads" in state:
        state = merged(state["payloads"])
    return {"data": state["data"], "codes": [each["extensions"]["code"] for each in state.get("errors", [])]}


def rows_of(data: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in data["sessions"]["edges"]]


@needs_node
def test_a_client_shows_the_rows_while_langsmith_computes_statistics(report: Report) -> None:
    assert len(report.in_parts()) >= 3
    for name, result in report.in_parts().items():
        assert answer_of(result["plainRows"])["data"] == result["rows"]["data"], name
        assert not result["rows"]["isComplete"], name


@needs_node
def test_a_client_merges_the_parts_into_the_answer_without_defer(report: Report) -> None:
    for name, result in report.in_parts().items():
        assert answer_of(result["whole"]) == answer_of(result["plainWhole"]), name


@needs_node
def test_a_client_shows_the_other_statistics_and_one_error_if_a_window_fails(report: Report) -> None:
    result = report.results["failing"]
    expected = answer_of(result["plainWhole"])
    assert result["rows"]["data"] == result["plainRows"]["data"]
    assert expected["codes"] == ["BAD_USER_INPUT"]
    assert all(row["four"] and row["year"] is None for row in rows_of(expected["data"]))
    if report.variant == "graphcache":  # leaves out the field that an error is about
        del rows_of(expected["data"])[0]["year"]
    assert answer_of(result["whole"]) == expected


@needs_node
def test_a_client_keeps_the_rows_and_reports_a_connection_that_breaks(report: Report) -> None:
    result = report.results["broken"]
    *before, last = result["states"]
    assert last["failure"]
    assert not any(state["isComplete"] for state in before)
    assert result["kept"] == result["plainRows"]["data"]


@needs_node
def test_a_poll_shows_new_rows_and_never_the_statistics_of_another_row(report: Report) -> None:
    result = report.results["polled"]
    assert answer_of(result["whole"]) == answer_of(result["plainWhole"])
    old = {row["id"]: row["five"] for row in rows_of(answer_of(result["before"])["data"])}
    assert rows_of(result["whole"]["data"])[0]["id"] not in old
    if report.program == "streams":  # do not cache
        return
    for state in result["during"]:
        for row in rows_of(state["data"]):
            assert row.get("five") == old.get(row["id"])


@needs_node
@pytest.mark.parametrize(("program", "variant"), [("apollo", "old"), ("apollo", "draft"), ("urql", "graphcache")])
def test_rows_of_a_second_page_appear_below_the_first_one_while_langsmith_computes_statistics(
    program: str, variant: str
) -> None:
    result = report_of(program)[variant]["paged"]
    rows, rows_without = (rows_of(answer_of(result[name])["data"]) for name in ("plainWhole", "plainRows"))
    assert rows_of(result["during"]["data"]) == rows[:3] + rows_without[3:]
    assert rows_of(result["whole"]["data"]) == rows


@needs_node
def test_apollos_handler_of_the_draft_format_changes_only_operations_without_labels() -> None:
    assert report_of("apollo")["unchanged"] == [False, True]


@needs_node
def test_two_queries_show_names_before_statistics_to_a_client_that_reads_only_json() -> None:
    names, whole = report_of("streams")["twoQueries"]
    assert [row.keys() for row in names["sessions"]["nodes"]] == [{"id", "name"}] * 3
    assert all(row["day"] for row in whole["sessions"]["nodes"])
    assert [row["id"] for row in names["sessions"]["nodes"]] == [row["id"] for row in whole["sessions"]["nodes"]]


@needs_node
def test_a_client_that_reads_only_json_gets_the_whole_answer() -> None:
    rows = report_of("streams")["whole"]["data"]["sessions"]["nodes"]
    assert [row.keys() for row in rows] == [{"id", "name", "runCount", "latencyP99"}] * 3


async def test_gql_gets_the_whole_answer(gateway: Gateway) -> None:
    fields = "{ runCount day: stats(last: $last) { id errorRate } }"
    query = "query($last: Duration!) { sessions(first: 3) { nodes { id name ... %s %s } } }"
    async with create_client(url_of(gateway), {"x-api-key": "demo"}, SDL) as session:
        request = gql(query % ("@defer", fields))
        request.variable_values = {"last": "PT24H"}
        whole = await session.execute(request)
    assert whole == await gateway.data(query % ("", fields), {"last": "PT24H"})

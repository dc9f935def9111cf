"""The request line to LangSmith stays below 8 KiB: lookups are split, and an argument that is too long is refused."""

from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strawberry.utils.str_converters import to_camel_case

from app.emulator import Emulator, serving
from app.errors import BadUserInputError
from app.langsmith.request_line import MAX_BYTES, split_to_fit
from app.langsmith.v1 import V1
from app.sessions.arguments import ARGUMENT_PATHS
from app.sessions.fields import FACETS, STATS
from app.sessions.query import ALL_RUNS, MAX_LIMIT, PageQuery, StatsWindow
from tests.conftest import Clock, Gateway, Serve, take_recorded_params
from tests.langsmith.operations import logged
from tests.support.raw_upstream import listed, raw_upstream, row

PATH = "/api/v1/sessions"
LIST = """
query ($part: String, $version: String, $expression: String, $runs: String, $metadata: JSON) {
  sessions(
    filter: {nameContains: $part, datasetVersion: $version, expression: $expression, metadata: $metadata}
    stats: {filter: $runs}
  ) { nodes { id runCount } }
}
"""
NODES = (
    "query ($ids: [ID!]!, $runs: String) { nodes(ids: $ids) { ... on Session { stats(filter: $runs) { runCount } } } }"
)
API = V1()
LONG_RUNS = "or(" + ", ".join(['eq(run_type, "llm")'] * 130) + ")"
"""A filter of 3 KB, of which half of a request line is left."""


def line_of(query: PageQuery) -> str:
    return f"GET {PATH}?{urlencode(API.params(query))} HTTP/1.1"


def ids_of(count: int) -> tuple[str, ...]:
    return tuple(str(UUID(int=number)) for number in range(count))


@pytest.mark.parametrize(
    ("variables", "argument"),
    [
        ({"part": "a" * 8192}, "filter.nameContains"),
        ({"part": "\u00e9" * 1400}, "filter.nameContains"),
        ({"part": "\U0001f600" * 700}, "filter.nameContains"),
        ({"part": "a" * 60_000}, "filter.nameContains"),
        ({"version": "a" * 4000, "part": "a" * 4200}, "filter.nameContains"),
        ({"expression": 'eq(name, "' + "a" * 8192 + '")'}, "filter.expression"),
        ({"metadata": {"a": "b" * 8192}}, "filter.metadata"),
        ({"runs": 'eq(name, "' + "a" * 8192 + '")'}, "stats.filter"),
    ],
)
async def test_argument_that_makes_the_request_line_too_long_is_named_and_not_sent(
    gateway: Gateway, langsmith: Emulator, variables: dict[str, object], argument: str
) -> None:
    (error,) = await gateway.errors(LIST, variables)
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert langsmith.requests == []
    assert logged(gateway, "upstream_failed") == []


async def test_too_many_ids_in_the_filter_of_a_list_are_named_and_not_sent(
    gateway: Gateway, langsmith: Emulator
) -> None:
    query = "query ($ids: [UUID!]) { sessions(filter: {ids: $ids}) { nodes { id } } }"
    (error,) = await gateway.errors(query, {"ids": ids_of(300)})
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.ids"}
    assert langsmith.requests == []


@pytest.mark.parametrize("part", ["a" * 3480, "\u00e9" * 580], ids=["ASCII", "percent-encoded"])
async def test_longest_arguments_fit_into_a_request_line(serve: Serve, part: str) -> None:
    query = """query ($part: String) {
      sessions(filter: {name: $part, nameContains: $part}, stats: {filter: "has(tags, \\"a\\")"}) {
        nodes { STATISTICS }
      }
    }""".replace("STATISTICS", " ".join(to_camel_case(each) for each in STATS if "feedback" not in each))
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        await gateway.data(query, {"part": part})
        (request,) = upstream.requests
        assert 7000 < len(f"GET {request.target} HTTP/1.1") <= MAX_BYTES


async def test_lookup_that_would_be_too_long_is_split_and_answers_every_session(serve: Serve, clock: Clock) -> None:
    langsmith = Emulator(clock=clock.now, workspaces={"demo": 150})
    async with serving(langsmith) as url, serve(langsmith_endpoint=url) as gateway:
        ids = [
            each["id"]
            for each in (await gateway.data("{ sessions(first: 100) { nodes { id } } }"))["sessions"]["nodes"]
        ]
        langsmith.requests.clear()
        expected = await gateway.data(NODES, {"ids": ids, "runs": 'eq(run_type, "llm")'})
        assert len(take_recorded_params(langsmith)) == 1
        assert await gateway.data(NODES, {"ids": ids, "runs": LONG_RUNS}) == expected
        requests = take_recorded_params(langsmith)
        assert len(requests) == 2
        assert all(len(f"GET {PATH}?{urlencode(params)} HTTP/1.1") <= MAX_BYTES for params in requests)
        assert sorted(text for params in requests for name, text in params if name == "id") == sorted(ids)


async def test_lookup_whose_filter_leaves_no_room_for_ids_is_refused_whatever_the_number_of_ids(
    gateway: Gateway, langsmith: Emulator
) -> None:
    nodes = (await gateway.data("{ sessions(first: 100) { nodes { id } } }"))["sessions"]["nodes"]
    langsmith.requests.clear()
    for count in (1, 20):
        variables = {"ids": [each["id"] for each in nodes[:count]], "runs": 'eq(name, "' + "a" * 7500 + '")'}
        (error,) = await gateway.errors(NODES, variables)
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "stats.filter"}
    assert langsmith.requests == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=2500)


@given(
    count=st.integers(1, MAX_LIMIT), runs=TEXTS, statistics=st.frozensets(st.sampled_from(sorted(STATS))), text=TEXTS
)
def test_no_request_line_is_too_long_and_no_session_is_lost(
    count: int, runs: str, statistics: frozenset[str], text: str
) -> None:
    window = StatsWindow((("stats.filter", runs),))
    lookup = PageQuery.for_ids(ids_of(count), window=window, statistics=statistics)
    page = PageQuery(arguments=(("filter.nameContains", text),)).with_statistics(statistics, window)
    for query in (lookup, page):
        try:
            parts = split_to_fit(query, PATH, API)
        except BadUserInputError:
            assert len(line_of(query)) > MAX_BYTES - 25 * len("&id=" + ids_of(1)[0])
            continue
        assert all(len(line_of(part)) <= MAX_BYTES for part in parts)
        assert [each for part in parts for each in part.arguments] == [*query.arguments]
        assert sum(part.limit for part in parts) == query.limit
        assert len(parts) <= 4


def test_names_of_all_parameters_fit_into_the_part_that_is_set_aside_for_them() -> None:
    texts = tuple((path, "") for path in ARGUMENT_PATHS)
    everything = PageQuery(arguments=texts, offset=10**18, sorted_by_stat=True).with_statistics(
        STATS | FACETS, ALL_RUNS
    )
    assert len(line_of(everything)) < 2048

"""Variables without a value get an example if they are required, and are left out if they are optional."""

import json
from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLScalarType

from app import check as checking
from app.execution import graphql_core_schema
from app.schema.query import create_schema
from tests.check.command import ORDER, check, run

VARIABLES = """
query Listed(
  $first: Int!, $after: String, $search: String!, $ids: [UUID!]!, $since: DateTime!, $by: SessionOrder = {field: NAME},
  $window: Duration!, $details: Boolean!, $short: Boolean!, $metadata: JSON!, $id: ID!
) {
  sessions(
    first: $first, after: $after, orderBy: $by, stats: {since: $since, filter: $search}
    filter: {nameContains: $search, ids: $ids, metadata: $metadata}
  ) { nodes { runCount errorRate @include(if: $details) streamingRate @skip(if: $short) } }
  session(id: $id, stats: {last: $window}) { runCount }
}
"""


def test_required_variables_get_examples_and_optional_ones_are_left_out() -> None:
    (*requested, assumed, left_out), found = check(VARIABLES)
    assert requested == [
        (
            "  GET /api/v1/sessions?id=<$ids>&name_contains=<$search>&metadata=%7B%22key%22%3A%22value%22%7D"
            "&sort_by=name&sort_by_desc=true&limit=20&include_stats=true&stats_select=run_count&stats_select=error_rate"
            "&stats_select=streaming_rate&stats_start_time=<$since>&stats_filter=<$search>"
        ),
        (
            f"  GET /api/v1/sessions?id=<$id>&{ORDER}&limit=1&include_stats=true&stats_select=run_count"
            "&stats_start_time=<now - P1D>"
        ),
    ]
    assert assumed == (
        '  assumed: $first = 20, any $search, $ids = ["<$ids>"], any $since, $window = "PT24H", $details = true, '
        '$short = false, $metadata = {"key": "value"}, any $id'
    )
    assert left_out == "  left out: $after"
    assert found == []


def test_check_reads_variables_from_a_file() -> None:
    Path("variables.json").write_text(json.dumps({"Some": {"first": 7, "name": "a b"}}))
    query = (
        "query Some($first: Int!, $name: String) { sessions(first: $first, filter: {name: $name}) { nodes { id } } }"
    )
    operation, _ = check(query, "--variables", "variables.json")
    assert operation == [f"  GET /api/v1/sessions?name=a+b&{ORDER}&limit=7"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (b'{"Other": {}}', "There is no operation 'Other' to give variables to."),
        (b"{", "--variables: the file is not JSON"),
        (b"\xff", "--variables: the file is not JSON"),
        (b'{"Some": {}, "Some": {}}', "--variables: the file is not JSON in UTF-8: the key 'Some' occurs twice"),
        (b'{"Some": 1}', "--variables: the file must look like"),
    ],
)
def test_an_invalid_variables_file_is_a_usage_error(variables: bytes, complaint: str) -> None:
    Path("variables.json").write_bytes(variables)
    Path("it.graphql").write_text("query Some { __typename }")
    printed = run("it.graphql", "--variables", "variables.json")
    assert printed.exit_code == 2
    assert complaint in printed.stderr


def test_an_invalid_given_value_is_an_error_of_the_operation() -> None:
    Path("variables.json").write_text('{"Some": {"first": 0}}')
    query = "query Some($first: Int!) {\n  sessions(first: $first) { nodes { id } }\n}"
    operation, found = check(query, "--variables", "variables.json")
    assert operation == []
    assert found == ["it.graphql:2:3: error: first: It must be from 1 to 500."]


def test_an_error_that_an_assumed_variable_may_cause_is_a_warning() -> None:
    text = "query ($key: String) { sessions(orderBy: {field: FEEDBACK, feedbackKey: $key}) { nodes { id } } }"
    _, (found,) = check(text)
    assert found == (
        "it.graphql:1:24: warning: orderBy.feedbackKey: Ordering by FEEDBACK needs the feedback key to order by. "
        "This may be caused by variables without a given value."
    )


def scalars_of(schema: strawberry.Schema) -> list[str]:
    return [name for name, each in graphql_core_schema(schema).type_map.items() if isinstance(each, GraphQLScalarType)]


@pytest.mark.parametrize("scalar", scalars_of(create_schema()))
def test_every_scalar_has_an_example_that_it_accepts(scalar: str) -> None:
    example = checking.EXAMPLES[scalar]
    kind = graphql_core_schema(create_schema()).type_map[scalar]
    assert isinstance(kind, GraphQLScalarType)
    kind.coerce_input_value(example(0) if callable(example) else example)

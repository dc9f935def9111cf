"""`sessions-gateway check`: what operations will ask of LangSmith, told on the command line before they run."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import strawberry
from click.testing import CliRunner, Result
from graphql import GraphQLScalarType, Source

from app import check as checking
from app.__main__ import main
from app.execution import graphql_core_schema
from app.execution.limits import OperationLimits
from app.schema.query import create_schema
from app.sessions.scalars import as_text, parse_duration
from app.settings import Settings
from tests.conftest import NOON, Gateway
from tests.schema.test_cost import COSTS
from tests.support.markdown import examples
from tests.support.paths import APP
from tests.test_command_line import ended

A = "00000000-0000-4000-8000-00000000000a"
SPELLED = re.compile(r"id=[0-9a-f-]{36}(&id=[0-9a-f-]{36})+")


def run(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = {}) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], input=stdin, env=environment)


def check(text: str, *arguments: str, **environment: str) -> tuple[list[str], list[str]]:
    """What is told of the only operation of a document, and what is found."""
    Path("it.graphql").write_text(text)
    printed = run("it.graphql", *arguments, environment=environment)
    assert not isinstance(printed.exception, Exception), printed.exception
    assert printed.exit_code == (1 if ": error: " in printed.stdout else 0)
    told, found = printed.stdout.split("\n\n")
    return told.splitlines()[1:], found.splitlines()[:-1]


def requests(text: str, *arguments: str) -> list[str]:
    return [line.strip() for line in check(text, *arguments)[0] if line.startswith("  GET")]


def report(*arguments: str, **environment: str) -> Any:
    return json.loads(run(*arguments, "--json", environment=environment).stdout)


def at_noon(line: str) -> str:
    """With the instants that it leaves open."""

    def instant(match: re.Match[str]) -> str:
        return quote_plus(as_text((NOON - parse_duration(match[1])).replace(second=0)))

    return re.sub("<now - (.*?)>", instant, line)


@pytest.mark.parametrize(("query", "requested"), [(each.query, each.requests) for each in examples()])
def test_check_tells_the_requests_that_documented_examples_show(query: str, requested: str) -> None:
    shown = SPELLED.sub("id=<the 2 rows above>", requested).splitlines()
    assert [at_noon(line) for line in requests(query)] == shown


@pytest.mark.parametrize(("query", "cost"), COSTS)
async def test_it_tells_the_cost_that_the_gateway_counts_and_no_request_beyond_it(
    gateway: Gateway, query: str, cost: int
) -> None:
    # It runs an event loop of its own.
    found = await asyncio.to_thread(checking.check, [Source(query)], Settings.load())
    (operation,) = found.operations
    assert operation.cost == cost == (await gateway.explain(query))["cost"]
    selected = [name for each in operation.requests for name, _ in each.params if name in {"stats_select", "facets"}]
    assert len(operation.requests) + len(selected) <= cost


def test_operations_are_told_with_the_fragments_of_other_files() -> None:
    Path("deep/er").mkdir(parents=True)
    Path("deep/a.graphql").write_text("query A { sessions(first: 3) { nodes { ...Row } } }")
    Path("deep/er/b.graphql").write_text(f'\nquery Bee {{\n  session(id: "{A}") {{ ...Row }}\n}}\n')
    Path("deep/row.graphql").write_text("fragment Row on Session { name ...Counts }")
    Path("deep/er/counts.graphql").write_text("fragment Counts on Session { runCount }")
    Path("deep/er/other.txt").write_text("no GraphQL")
    printed = run("deep/**/*.graphql")
    assert printed.stderr == ""
    assert printed.stdout == (
        "query A    deep/a.graphql:1:1     cost 2 of 1000\n"
        "  GET /api/v1/sessions?limit=3&include_stats=true&stats_select=run_count\n"
        "query Bee  deep/er/b.graphql:2:1  cost 2 of 1000\n"
        f"  GET /api/v1/sessions?id={A}&limit=1&include_stats=true&stats_select=run_count\n"
        "\n2 operations, 2 requests, 0 errors, 0 warnings\n"
    )
    assert printed.exit_code == 0


def test_many_rows_are_asked_for_in_pages_and_their_windows_by_their_ids() -> None:
    query = '{ sessions(first: 200) { nodes { stats(last: "P1W") { errorRate } } pageInfo { hasNextPage } } }'
    by_ids = "GET /api/v1/sessions?id=<100 of the rows above>&limit=100&include_stats=true&stats_select=error_rate"
    assert requests(query) == [
        "GET /api/v1/sessions?limit=100",
        "GET /api/v1/sessions?limit=100&offset=100",
        "GET /api/v1/sessions?limit=1&offset=200",
        f"{by_ids}&stats_start_time=<now - P7D>  (2 times)",
    ]


def test_two_roots_ask_together_as_they_would() -> None:
    text = f"""{{
      a: sessions(first: 2) {{ nodes {{ runCount }} }}
      b: sessions(first: 5) {{ nodes {{ errorRate }} }}
      c: session(id: "{A}") {{ name }}
      d: node(id: "{A}") {{ ... on Session {{ latencyP50 }} }}
    }}"""
    assert requests(text) == [
        "GET /api/v1/sessions?limit=5&include_stats=true&stats_select=run_count&stats_select=error_rate",
        f"GET /api/v1/sessions?id={A}&limit=1&include_stats=true&stats_select=latency_p50",
    ]


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


def test_variables_without_a_value_stand_for_what_is_not_known() -> None:
    (*asked, assumed, left_out), found = check(VARIABLES)
    assert asked == [
        (
            "  GET /api/v1/sessions?id=<$ids>&name_contains=<$search>&metadata=%7B%22key%22%3A%22value%22%7D"
            "&sort_by=name&limit=20&include_stats=true&stats_select=run_count&stats_select=error_rate"
            "&stats_select=streaming_rate&stats_start_time=<$since>&stats_filter=<$search>"
        ),
        (
            "  GET /api/v1/sessions?id=<$id>&limit=1&include_stats=true&stats_select=run_count"
            "&stats_start_time=<now - P1D>"
        ),
    ]
    assert assumed == (
        '  assumed: $first = 20, any $search, $ids = ["<$ids>"], any $since, $window = "PT24H", $details = true, '
        '$short = false, $metadata = {"key": "value"}, any $id'
    )
    assert left_out == "  left out: $after"
    assert found == []


def test_variables_are_taken_from_a_file() -> None:
    Path("variables.json").write_text(json.dumps({"Some": {"first": 7, "name": "a b"}}))
    query = (
        "query Some($first: Int!, $name: String) { sessions(first: $first, filter: {name: $name}) { nodes { id } } }"
    )
    told, _ = check(query, "--variables", "variables.json")
    assert told == ["  GET /api/v1/sessions?name=a+b&limit=7"]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        (b'{"Other": {}}', "There is no operation 'Other' to give variables to."),
        (b"{", "--variables: it is not JSON"),
        (b"\xff", "--variables: it is not JSON"),
        (b'{"Some": 1}', "--variables: it must be as"),
    ],
)
def test_variables_that_cannot_be_used_are_a_usage_error(variables: bytes, complaint: str) -> None:
    Path("variables.json").write_bytes(variables)
    Path("it.graphql").write_text("query Some { __typename }")
    printed = run("it.graphql", "--variables", "variables.json")
    assert printed.exit_code == 2
    assert complaint in printed.stderr


def test_a_wrong_value_of_a_variable_is_an_error() -> None:
    Path("variables.json").write_text('{"Some": {"first": 0}}')
    query = "query Some($first: Int!) {\n  sessions(first: $first) { nodes { id } }\n}"
    told, found = check(query, "--variables", "variables.json")
    assert told == []
    assert found == ["it.graphql:2:3: error: first: It must be from 1 to 500."]


def test_what_may_be_for_an_assumption_is_a_warning() -> None:
    text = "query ($key: String) { sessions(orderBy: {field: FEEDBACK, feedbackKey: $key}) { nodes { id } } }"
    _, (found,) = check(text)
    assert found == (
        "it.graphql:1:24: warning: orderBy.feedbackKey: Ordering by FEEDBACK needs the feedback key to order by. "
        "That may be for variables that were not given."
    )


def inputs_of(schema: strawberry.Schema) -> list[str]:
    return [name for name, each in graphql_core_schema(schema).type_map.items() if isinstance(each, GraphQLScalarType)]


@pytest.mark.parametrize("scalar", inputs_of(create_schema()))
def test_every_scalar_has_an_example_that_it_takes(scalar: str) -> None:
    example = checking.EXAMPLES[scalar]
    kind = graphql_core_schema(create_schema()).type_map[scalar]
    assert isinstance(kind, GraphQLScalarType)
    kind.coerce_input_value(example(0) if callable(example) else example)


ERRORS = [
    ("{ sessions {\n  nodes { nam } } }", ["2:11: error: Cannot query field 'nam' on type 'Session'."]),
    ("{ sessions(first: 0) { nodes { id } } }", ["1:3: error: first: It must be from 1 to 500."]),
    ('{\n  session(id: "x") { id } }', ["2:3: error: id: A UUID is 32 hexadecimal digits"]),
    ("{ sessions { nodes { id } }", ["1:28: error: Syntax Error: Expected Name, found <EOF>."]),
    ("{ a: __typename ...No }", ["1:20: error: Unknown fragment 'No'."]),
    ("mutation M { x }", ["1:1: error: "]),
    (
        "query A { __typename }\nquery A { __typename }",
        ["2:7: error: There can be only one operation named 'A'. (also it"],
    ),
    ("{ __typename }\nquery A { __typename }", ["1:1: error: This anonymous operation must be the only"]),
    ("type T { a: Int } { __typename }", ["1:1: error: The 'T' definition is not executable."]),
    ("query ($x: Int = 3) { __typename }", ["1:8: error: Variable '$x' is never used."]),
    ("query ($x: Nope!) { sessions(first: $x) { nodes { id } } }", ["1:12: error: Unknown type 'Nope'."]),
    ('query ($d: Duration = "1d") { sessions(stats: {last: $d}) { nodes { id } } }', ["1:23: error: "]),
    (
        "fragment F on Session { nope }\nquery { __typename }",
        ["1:10: warning: Fragment 'F'", "1:25: error: Cannot query"],
    ),
    (
        "fragment F on Session { ...F }\n{ sessions { nodes { ...F } } }",
        ["1:25: error: Cannot spread fragment 'F' within"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), ERRORS)
def test_an_error_has_its_place(text: str, expected: list[str]) -> None:
    Path("it.graphql").write_text(text)
    printed = run("it.graphql")
    assert printed.exit_code == 1
    found = [line for line in printed.stdout.splitlines() if line.startswith("it.graphql:")]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"it.graphql:{start}")


def test_an_error_in_a_shared_fragment_is_told_once_where_it_is() -> None:
    Path("a.graphql").write_text("query A { sessions { nodes { ...Row } } }")
    Path("b.graphql").write_text("query B { sessions { nodes { ...Row } } }")
    Path("row.graphql").write_bytes("\ufeff# ø\r\nfragment Row on Session {\r\n  id nope\r\n}\r\n".encode())
    printed = run("*.graphql")
    assert printed.stdout.splitlines() == [
        "query A  a.graphql:1:1  not run",
        "query B  b.graphql:1:1  not run",
        "",
        "row.graphql:3:6: error: Cannot query field 'nope' on type 'Session'. Did you mean 'name'?",
        "2 operations, 0 requests, 1 error, 0 warnings",
    ]


def test_names_are_given_once_over_all_files() -> None:
    Path("a.graphql").write_text("query Q { ...F } fragment F on Query { __typename }")
    Path("b.graphql").write_text("fragment F on Query { __typename } query Q { ...F }")
    printed = run("b.graphql", "a.graphql")
    assert printed.exit_code == 1
    assert "a.graphql:1:7: error: There can be only one operation named 'Q'. (also b.graphql:1:42)" in printed.stdout
    assert "a.graphql:1:27: error: There can be only one fragment named 'F'. (also b.graphql:1:10)" in printed.stdout


def test_anonymous_operations_may_be_alone_in_their_files() -> None:
    for name in "ab":
        Path(f"{name}.graphql").write_text("{ __typename }")
    assert run("a.graphql", "b.graphql").exit_code == 0


@pytest.mark.parametrize(
    ("text", "limit", "complaint"),
    [
        ("{ sessions(first: 500) { nodes { runCount } } }", "MAX_COST=9", "costs 10 units of upstream work, and 9"),
        ("{ sessions { nodes { feedbackStats { key } } } }", "MAX_DEPTH=3", "is 4 fields deep, and 3 are"),
        ("{ a: __typename b: __typename }", "MAX_ALIASES=1", "has 2 aliases, and 1"),
        ("{ sessions { nodes { id } } }", "MAX_TOKENS=8", "more than 8 tokens"),
    ],
)
def test_a_limit_that_is_passed_is_told_with_its_setting(text: str, limit: str, complaint: str) -> None:
    name, _, value = limit.partition("=")
    told, (found,) = check(text, **{f"GATEWAY_{name}": value})
    assert found.startswith("it.graphql:1:1: error: This ")
    assert complaint in found
    assert found.endswith(f" (GATEWAY_{limit})")
    assert bool(told) == ("sessions" in text)


def test_all_limits_that_are_passed_are_told_and_those_that_are_no_settings() -> None:
    Path(".env").write_text("GATEWAY_MAX_COST=1\nGATEWAY_MAX_DEPTH=2\n")
    _, found = check("{ a: sessions { nodes { runCount } } b: sessions(offset: 9) { nodes { runCount } } }")
    assert [each.rpartition("(")[2] for each in found] == ["GATEWAY_MAX_DEPTH=2)", "GATEWAY_MAX_COST=1)"]
    Path(".env").unlink()
    _, (only,) = check("{" + " __typename" * 21 + "}")
    assert only.endswith("has 21 root fields, and 20 are allowed. Split it, or ask for less.")
    assert Settings.model_fields.keys() >= {f"max_{each}" for each in OperationLimits.__annotations__}


def test_introspection_is_refused_where_the_gateway_refuses_it() -> None:
    query = "{ __schema { queryType { name } } }"
    assert check(query) == ([], [])
    _, found = check(query, GATEWAY_INTROSPECTION="false")
    assert all("GraphQL introspection has been disabled" in each for each in found)
    assert found


@pytest.fixture
def deprecated() -> strawberry.Schema:
    schema = create_schema()
    session: Any = graphql_core_schema(schema).type_map["Session"]
    session.fields["description"].deprecation_reason = "Use `extra`."
    return schema


def test_deprecated_fields_are_warned_of(deprecated: strawberry.Schema) -> None:
    query = Source("{ sessions { nodes { name\n  description } } }", "it.graphql")
    found = checking.check([query], Settings.load(), schema=deprecated)
    (warning,) = found.findings
    assert (warning.severity, warning.code, str(warning.place)) == ("warning", "DEPRECATED", "it.graphql:2:3")
    assert str(warning) == "The field Session.description is deprecated. Use `extra`."
    assert (found.errors, found.warnings, found.operations[0].cost) == (0, 1, 1)


def test_json_has_it_all() -> None:
    Path("a.graphql").write_text(
        "query A($n: Int!, $id: ID!, $s: String) {\n  sessions(first: $n, filter: {name: $s}) {\n    nodes "
        '{ name stats(last: "P1D") { runCount errorRate } }\n  }\n  session(id: $id) { nope }\n}\n'
    )
    found = report("a.graphql", GATEWAY_MAX_COST="2")
    (error,) = found.pop("findings")
    assert error == {
        "severity": "error",
        "code": "GRAPHQL_VALIDATION_FAILED",
        "message": error["message"],
        "file": "a.graphql",
        "line": 5,
        "column": 22,
        "also": [],
        "setting": None,
    }
    assert found["operations"][0]["cost"] is None
    Path("a.graphql").write_text(Path("a.graphql").read_text().replace("nope", "id"))
    found = report("a.graphql", GATEWAY_MAX_COST="2")
    assert [(each["code"], each["setting"]) for each in found.pop("findings")] == [
        ("OPERATION_TOO_EXPENSIVE", "GATEWAY_MAX_COST=2")
    ]
    path = "/api/v1/sessions"
    statistics = {"include_stats": "true", "stats_select": ["run_count", "error_rate"]}
    assert found == {
        "operations": [
            {
                "kind": "query",
                "name": "A",
                "file": "a.graphql",
                "line": 1,
                "column": 1,
                "cost": 5,
                "requests": [
                    {"path": path, "params": {"limit": "20"}},
                    {"path": path, "params": {"id": "<$id>", "limit": "1"}},
                    {
                        "path": path,
                        "params": {
                            "id": "<the 20 rows above>",
                            "limit": "20",
                            **statistics,
                            "stats_start_time": "<now - P1D>",
                        },
                    },
                ],
                "assumed": {"n": 20, "id": "<$id>"},
                "leftOut": ["s"],
            }
        ],
        "maxCost": 2,
        "errors": 1,
        "warnings": 0,
    }


def test_it_reads_the_standard_input() -> None:
    printed = run("-", "-", stdin=b"\xef\xbb\xbfquery A {\r\n  nope\r\n}")
    assert printed.exit_code == 1
    assert "<stdin>:2:3: error: Cannot query field 'nope' on type 'Query'." in printed.stdout
    assert printed.stdout.startswith("query A  <stdin>:1:1  not run\n")


@pytest.mark.parametrize("text", ["", "\ufeff", "# only a word\n\n"])
def test_a_file_without_anything_is_a_warning(text: str) -> None:
    Path("it.graphql").write_text(text)
    printed = run("it.graphql")
    assert printed.exit_code == 0
    assert printed.stdout == (
        "it.graphql:1:1: warning: There is nothing in it.\n0 operations, 0 requests, 0 errors, 1 warning\n"
    )


def test_a_file_that_two_patterns_name_is_read_once_and_a_path_may_look_like_a_pattern() -> None:
    Path("[id].graphql").write_text("query A { __typename }")
    assert report("[id].graphql", "*.graphql")["errors"] == 0


@pytest.mark.parametrize(
    ("prepare", "argument", "complaint"),
    [
        (lambda: None, "src/**/*.graphql", "No file matches 'src/**/*.graphql'."),
        (lambda: Path("src").mkdir(), "src", "No file matches 'src'."),
        (
            lambda: Path("it.graphql").write_bytes(b"{ \xff }"),
            "*.graphql",
            "it.graphql cannot be read: it is not UTF-8.",
        ),
        (lambda: Path("it.graphql").symlink_to("it.graphql"), "it.graphql", "No file matches 'it.graphql'."),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(prepare: Callable[[], object], argument: str, complaint: str) -> None:
    prepare()
    printed = run(argument)
    assert printed.exit_code == 2
    assert printed.stdout == ""
    assert f"Error: {complaint}\n" in printed.stderr


def test_a_file_that_may_not_be_read_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("it.graphql").write_text("{ __typename }")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read anything
    printed = run("it.graphql")
    assert printed.exit_code == 2
    assert "it.graphql cannot be read: Permission denied." in printed.stderr


def test_a_bad_setting_and_no_pattern_end_with_2() -> None:
    Path("it.graphql").write_text("{ __typename }")
    printed = run("it.graphql", environment={"GATEWAY_MAX_COST": "much"})
    assert (printed.exit_code, printed.stdout, printed.stderr.count("\n")) == (2, "", 1)
    assert printed.stderr.startswith("GATEWAY_MAX_COST: ")
    assert run().exit_code == 2


def test_it_ends_as_a_process_with_nothing_but_what_it_tells(tmp_path: Path) -> None:
    (tmp_path / "a.graphql").write_text("query A { sessions(first: 3) { nodes { name } } }")
    told = "query A  a.graphql:1:1  cost 1 of 1000\n  GET /api/v1/sessions?limit=3\n"
    code, out, err = ended("-m", "app", "check", "**/*.graphql", cwd=tmp_path, PYTHONWARNINGS="error")
    assert (code, out, err) == (0, f"{told}\n1 operation, 1 request, 0 errors, 0 warnings\n", "")
    (tmp_path / "b.graphql").write_text("query B { nope }")
    code, _, _ = ended("-m", "app", "check", "**/*.graphql", cwd=tmp_path)
    assert code == 1


def test_page_about_check_shows_what_it_prints() -> None:
    Path("src").mkdir()
    Path("src/Projects.graphql").write_text(
        "query Projects($search: String!, $after: String) {\n"
        "  sessions(first: 50, after: $after, filter: { nameContains: $search }) {\n"
        '    nodes { ...Row day: stats(last: "PT24H") { errorRate } }\n    pageInfo { hasNextPage endCursor }\n  }\n}\n'
    )
    Path("src/Row.graphql").write_text("fragment Row on Session { id name runCount latencyP99 }")
    printed = run("src/**/*.graphql", environment={"GATEWAY_MAX_COST": "4"})
    assert f"check 'src/**/*.graphql'\n{printed.stdout}```" in (APP / "check" / "README.md").read_text()

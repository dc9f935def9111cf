"""Parse and validation errors are reported once, at their locations in the files."""

from pathlib import Path
from typing import Any

import pytest
import strawberry
from graphql import Source

from app import check as checking
from app.execution import graphql_core_schema
from app.schema.query import create_schema
from app.settings import Settings
from tests.check.command import run

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
def test_a_finding_is_reported_at_its_line_and_column(text: str, expected: list[str]) -> None:
    Path("it.graphql").write_text(text)
    printed = run("it.graphql")
    assert printed.exit_code == 1
    found = [line for line in printed.stdout.splitlines() if line.startswith("it.graphql:")]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(f"it.graphql:{start}")


def test_an_error_in_a_shared_fragment_is_reported_once_in_the_file_of_the_fragment() -> None:
    Path("a.graphql").write_text("query A { sessions { nodes { ...Row } } }")
    Path("b.graphql").write_text("query B { sessions { nodes { ...Row } } }")
    Path("row.graphql").write_bytes("\ufeff# ø\r\nfragment Row on Session {\r\n  id nope\r\n}\r\n".encode())
    printed = run("*.graphql")
    assert printed.stdout.splitlines() == [
        "query A  a.graphql:1:1  not run",
        "query B  b.graphql:1:1  not run",
        "",
        "row.graphql:3:6: error: Cannot query field 'nope' on type 'Session'. Did you mean 'name' or 'type'?",
        "2 operations, 0 requests, 1 error, 0 warnings",
    ]


def test_names_of_operations_and_fragments_must_be_unique_over_all_files() -> None:
    Path("a.graphql").write_text("query Q { ...F } fragment F on Query { __typename }")
    Path("b.graphql").write_text("fragment F on Query { __typename } query Q { ...F }")
    printed = run("b.graphql", "a.graphql")
    assert printed.exit_code == 1
    assert "a.graphql:1:7: error: There can be only one operation named 'Q'. (also b.graphql:1:42)" in printed.stdout
    assert "a.graphql:1:27: error: There can be only one fragment named 'F'. (also b.graphql:1:10)" in printed.stdout


def test_each_file_may_contain_one_anonymous_operation() -> None:
    for name in "ab":
        Path(f"{name}.graphql").write_text("{ __typename }")
    assert run("a.graphql", "b.graphql").exit_code == 0


@pytest.fixture
def schema_with_deprecation() -> strawberry.Schema:
    schema = create_schema()
    session: Any = graphql_core_schema(schema).type_map["Session"]
    session.fields["description"].deprecation_reason = "Use `extra`."
    return schema


def test_a_deprecated_field_is_a_warning(schema_with_deprecation: strawberry.Schema) -> None:
    query = Source("{ sessions { nodes { name\n  description } } }", "it.graphql")
    found = checking.check([query], Settings.load(), schema=schema_with_deprecation)
    (warning,) = found.findings
    assert (warning.severity, warning.code, str(warning.location)) == ("warning", "DEPRECATED", "it.graphql:2:3")
    assert str(warning) == "The field Session.description is deprecated. Use `extra`."
    assert (found.error_count, found.warning_count, found.operations[0].cost) == (0, 1, 2)


@pytest.mark.parametrize("text", ["", "\ufeff", "# only a word\n\n"])
def test_an_empty_document_is_a_warning(text: str) -> None:
    Path("it.graphql").write_text(text)
    printed = run("it.graphql")
    assert printed.exit_code == 0
    assert printed.stdout == (
        "it.graphql:1:1: warning: The document is empty.\n0 operations, 0 requests, 0 errors, 1 warning\n"
    )

"""Files are found by path, by glob pattern, or read from the standard input."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.check.command import report, run


def test_check_reads_the_standard_input_once() -> None:
    printed = run("-", "-", stdin=b"query A {\r\n  nope\r\n}")
    assert printed.exit_code == 1
    assert "<stdin>:2:3: error: Cannot query field 'nope' on type 'Query'." in printed.stdout
    assert printed.stdout.startswith("query A  <stdin>:1:1  not run\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_document_and_variables_with_a_byte_order_mark_are_read(encoding: str) -> None:
    Path("it.graphql").write_text("query A($n: Int) { sessions(first: $n) { nodes { id } } }", encoding)
    Path("variables.json").write_text('{"A": {"n": 0}}', encoding)
    printed = run("it.graphql", "--variables", "variables.json")
    assert "it.graphql:1:20: error: first: " in printed.stdout


def test_a_file_that_two_arguments_match_is_read_once_even_if_its_path_looks_like_a_pattern() -> None:
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
def test_a_missing_or_malformed_file_is_a_usage_error(
    prepare: Callable[[], object], argument: str, complaint: str
) -> None:
    prepare()
    printed = run(argument)
    assert printed.exit_code == 2
    assert printed.stdout == ""
    assert f"Error: {complaint}\n" in printed.stderr


def test_a_file_without_read_permission_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("it.graphql").write_text("{ __typename }")

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read any file
    printed = run("it.graphql")
    assert printed.exit_code == 2
    assert "it.graphql cannot be read: Permission denied." in printed.stderr

"""Runs `sessions-gateway check` in this process, on files in the working directory."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from app.__main__ import main

ID = "00000000-0000-4000-8000-00000000000a"
ORDER = "sort_by=start_time&sort_by_desc=true"
"""The order of a list without `orderBy`."""


def run(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = {}) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], input=stdin, env=environment)


def check(text: str, *arguments: str, **environment: str) -> tuple[list[str], list[str]]:
    """What is printed below the title of a document's only operation, and the lines of the findings."""
    Path("it.graphql").write_text(text)
    printed = run("it.graphql", *arguments, environment=environment)
    assert not isinstance(printed.exception, Exception), printed.exception
    assert printed.exit_code == (1 if ": error: " in printed.stdout else 0)
    operation, findings = printed.stdout.split("\n\n")
    return operation.splitlines()[1:], findings.splitlines()[:-1]


def requests(text: str, *arguments: str) -> list[str]:
    """The requests of a document's only operation. If it defers fragments, those in parts."""
    in_parts = itertools.takewhile(lambda line: line != "  as a whole:", check(text, *arguments)[0])
    lines = (line.strip() for line in in_parts)
    return [line for line in lines if line.startswith("GET") and not line.endswith("(shared)")]


def report(*arguments: str, **environment: str) -> Any:
    return json.loads(run(*arguments, "--json", environment=environment).stdout)

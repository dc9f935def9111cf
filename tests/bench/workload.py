"""What is asked: three scenarios, three kinds, and the documents of both ways to spell the schema."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs

from tests.support.paths import v1_specification

_SPEC: Final = v1_specification()
_ALL: Final[tuple[str, ...]] = tuple(field["name"] for field in _SPEC["fields"])
_FEEDBACK: Final = ("feedback_stats", "session_feedback_stats")
_DOCUMENTS: Final = 16
"""How many selections take turns: few enough that what compiles each of them (graphql-jit, then V8) is soon done."""


class Kind(StrEnum):
    REPEATED = "repeated"
    HELD = "held"
    MISS = "miss"


@dataclass(frozen=True)
class Scenario:
    """`fields` in LangSmith's spelling; `params` are what asks LangSmith for just those."""

    name: str
    rows: int
    fields: tuple[str, ...]
    params: str

    def as_arguments(self) -> str:
        """The parameters as GraphQL arguments: `include_stats: true, stats_select: ["run_count"]`."""
        found = parse_qs(self.params)
        return ", ".join(
            f"{name}: {json.dumps(values) if name == 'stats_select' else values[0]}" for name, values in found.items()
        )


_FEW: Final = ("name", "run_count", "latency_p50")
ALL_PARAMS: Final = "include_stats=true&facets=true"
FEW_PARAMS: Final = "include_stats=true&stats_select=run_count&stats_select=latency_p50"
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("100xall", 100, _ALL, ALL_PARAMS),
        Scenario("100x3", 100, _FEW, FEW_PARAMS),
        Scenario("10x3", 10, _FEW, FEW_PARAMS),
    )
}


@dataclass(frozen=True)
class Dialect:
    """How a contender's schema spells the question; most are spelt as ours is.

    `@PARAMS@` stands for the scenario's parameters, where the schema shows LangSmith's own as arguments.
    """

    before: str = "query Sessions($first: Int!, $offset: Int) { sessions(first: $first, offset: $offset) { nodes {"
    after: str = "} } }"
    camel_case: bool = True
    feedback: str = "{ key n avg }"
    json_feedback: bool = False
    """Feedback as one JSON value, which cannot be selected from."""

    def field(self, name: str) -> str:
        spelt = camel_case(name) if self.camel_case else name
        return f"{spelt} {self.feedback}" if name in _FEEDBACK and not self.json_feedback else spelt


@dataclass(frozen=True)
class Cell:
    scenario: Scenario
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.scenario.name} {self.kind}"

    def requests(self, dialect: Dialect) -> list[str]:
        """The bodies that take turns. In a miss, `@OFFSET@` stands for a number that never comes again."""
        turns = _DOCUMENTS if self.kind is Kind.HELD else 1
        offset = "@OFFSET@" if self.kind is Kind.MISS else 0
        variables = {"first": self.scenario.rows, "offset": offset}
        return [self._body(dialect, turn, variables) for turn in range(turns)]

    def aliases(self) -> dict[str, str]:
        """The fields that are selected under another name, by that name."""
        names = self.scenario.fields
        return {f"x{turn}": names[turn % len(names)] for turn in range(1, _DOCUMENTS)}

    def _body(self, dialect: Dialect, turn: int, variables: dict[str, Any]) -> str:
        names = self.scenario.fields
        start = turn % len(names)
        selected = [dialect.field(name) for name in (*names[start:], *names[:start])]
        if turn:
            selected[0] = f"x{turn}: {selected[0]}"
        before = dialect.before.replace("@PARAMS@", self.scenario.as_arguments())
        document = f"{before} {' '.join(selected)} {dialect.after}"
        return json.dumps({"query": document, "variables": variables}).replace('"@OFFSET@"', "@OFFSET@")


def camel_case(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda found: found[1].upper(), name)

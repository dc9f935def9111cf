"""The requests of the benchmark: three scenarios of six kinds, in the spelling of each contender's schema."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs

from tests.support.paths import v1_specification

_SPEC: Final = v1_specification()
_ALL: Final[tuple[str, ...]] = tuple(field["name"] for field in _SPEC["fields"])
_FEEDBACK: Final = ("feedback_stats", "session_feedback_stats")
_VARIANTS: Final = 16
"""Number of selections or pages that alternate: few enough that compilers (graphql-jit, then V8) finish soon."""
_MISSES_OF_MIXED: Final = 4
"""Misses beside the `_VARIANTS` requests of a mixed cell that are known: one request of five."""


class Kind(StrEnum):
    """How requests of a cell differ from each other; see the docstring of the package."""

    REPEATED = "repeated"
    CACHED = "cached"
    VARIABLES = "variables"
    MISS = "miss"
    KEPT_MISS = "kept-miss"
    MIXED = "mixed"

    @property
    def upstream_per_request(self) -> float:
        """Requests to LangSmith per request, if the contender caches pages."""
        if self is Kind.MIXED:
            return _MISSES_OF_MIXED / (_MISSES_OF_MIXED + _VARIANTS)
        return float(self in (Kind.MISS, Kind.KEPT_MISS))


@dataclass(frozen=True)
class Scenario:
    """A number of rows and fields. `params` is the query string that requests just these fields from LangSmith."""

    name: str
    rows: int
    fields: tuple[str, ...]
    params: str

    def as_arguments(self) -> str:
        """The parameters as GraphQL arguments: `include_stats: true, stats_select: ["run_count"]`."""
        params = parse_qs(self.params)
        return ", ".join(
            f"{name}: {json.dumps(values) if name == 'stats_select' else values[0]}" for name, values in params.items()
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
    """The spelling of a contender's schema. The defaults are the spelling of the gateway's schema.

    `@PARAMS@` in `before` is replaced by the scenario's parameters, for a schema that has them as arguments.
    """

    before: str = "query Sessions($first: Int!, $offset: Int) { sessions(first: $first, offset: $offset) { nodes {"
    after: str = "} } }"
    camel_case: bool = True
    feedback: str = "{ key n avg }"
    json_feedback: bool = False
    """Whether feedback is one JSON value, which has no fields to select."""

    def field(self, name: str) -> str:
        """Selection of a field that is given in LangSmith's spelling."""
        spelling = camel_case(name) if self.camel_case else name
        return f"{spelling} {self.feedback}" if name in _FEEDBACK and not self.json_feedback else spelling


@dataclass(frozen=True)
class Cell:
    """A scenario of one kind: one table of the report."""

    scenario: Scenario
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.scenario.name} {self.kind}"

    def requests(self, dialect: Dialect) -> list[str]:
        """Request bodies, which are sent in turn. The load replaces `@OFFSET@`, in misses, by ever new numbers."""
        miss = self._body(dialect, 0, "@OFFSET@")
        match self.kind:
            case Kind.REPEATED:
                return [self._body(dialect, 0, 0)]
            case Kind.CACHED:
                return [self._body(dialect, number, 0) for number in range(_VARIANTS)]
            case Kind.VARIABLES:
                return [self._body(dialect, 0, number) for number in range(_VARIANTS)]
            case Kind.MISS | Kind.KEPT_MISS:
                return [miss]
            case Kind.MIXED:
                known = [self._body(dialect, number, 0) for number in range(_VARIANTS)]
                step = _VARIANTS // _MISSES_OF_MIXED
                return [each for at in range(0, _VARIANTS, step) for each in (miss, *known[at : at + step])]

    def aliases(self) -> dict[str, str]:
        """Names of the fields that the documents select under an alias, by that alias."""
        names = self.scenario.fields
        return {f"x{number}": names[number % len(names)] for number in range(1, _VARIANTS)}

    def _body(self, dialect: Dialect, number: int, offset: int | str) -> str:
        """A request for one page with the fields in an order that depends on the number, the first under an alias."""
        variables = {"first": self.scenario.rows, "offset": offset}
        names = self.scenario.fields
        start = number % len(names)
        selected = [dialect.field(name) for name in (*names[start:], *names[:start])]
        if number:
            selected[0] = f"x{number}: {selected[0]}"
        before = dialect.before.replace("@PARAMS@", self.scenario.as_arguments())
        document = f"{before} {' '.join(selected)} {dialect.after}"
        return json.dumps({"query": document, "variables": variables}).replace('"@OFFSET@"', "@OFFSET@")


def camel_case(name: str) -> str:
    return re.sub("_([a-z0-9])", lambda match: match[1].upper(), name)

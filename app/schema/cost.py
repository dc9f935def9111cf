"""What an operation will ask of LangSmith at most: 1 for each request, and 1 for each statistic in it.

Rows come 100 to a request. Each window of `stats` is one request more for the same rows, and so is the probe whether
other sessions follow a full page, or come before an empty one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from graphql import GraphQLSchema, OperationDefinitionNode
from graphql.execution.values import VariableValues

from app.execution import CostOf, Document
from app.execution.selection import Selection
from app.schema.pagination import MAX_FIRST
from app.schema.query import MAX_IDS
from app.schema.types import field_of, statistics_in
from app.sessions.query import MAX_LIMIT

_Call = tuple[dict[str, Any], Selection]
_SINGLE: Final = ("session", "node")


def cost_by(schema: GraphQLSchema) -> CostOf:
    """The cost of operations on this schema. Raises GraphQLError for arguments that cannot be coerced."""
    root = {name: field_of(schema, "Query", name) for name in ("sessions", "nodes", *_SINGLE)}
    stats = field_of(schema, "Session", "stats")

    def of_rows(rows: int, selection: Selection) -> int:
        requests = (rows + MAX_LIMIT - 1) // MAX_LIMIT
        of_windows = (statistics_in(below) for _, below in _distinct(selection.calls("stats", stats)))
        return requests * sum(1 + len(each) for each in (statistics_in(selection), *filter(None, of_windows)))

    def of_roots(selection: Selection) -> Iterator[int]:
        for arguments, below in _distinct(selection.calls("sessions", root["sessions"])):
            rows = _rows(arguments.get("last") or arguments["first"], MAX_FIRST)
            yield of_rows(rows, below.at("nodes") + below.at("edges", "node"))
            yield _probes(rows, arguments, below.at("pageInfo").names)
        for name in _SINGLE:
            for _, below in _distinct(selection.calls(name, root[name])):
                yield of_rows(1, below)
        for arguments, below in _distinct(selection.calls("nodes", root["nodes"])):
            yield of_rows(_rows(len(arguments["ids"]), MAX_IDS), below)

    def cost_of(operation: OperationDefinitionNode, document: Document, variables: VariableValues) -> int:
        return sum(of_roots(Selection.of_operation(operation, document.fragments, variables)))

    return cost_of


def _distinct(calls: Iterable[_Call]) -> Iterable[_Call]:
    """Calls with the same arguments as one: they share their requests."""
    distinct: dict[str, _Call] = {}
    for arguments, below in calls:
        key = repr(sorted(arguments.items()))
        distinct[key] = (arguments, distinct[key][1] + below if key in distinct else below)
    return distinct.values()


def _rows(length: int, most: int) -> int:
    """A length that will be refused costs nothing: it is bad input, however much it would have cost."""
    return length if 0 < length <= most else 0


def _probes(rows: int, arguments: dict[str, Any], wanted: frozenset[str]) -> int:
    """At most one: a page is not both full and empty."""
    begins_later = any(arguments.get(name) for name in ("after", "offset", "before"))
    after_full_page = "hasNextPage" in wanted and rows % MAX_LIMIT == 0
    before_empty_page = "hasPreviousPage" in wanted and begins_later
    return 1 if after_full_page or before_empty_page else 0

"""The cost of an operation: 1 for each request that it may send to LangSmith, and 1 for each statistic in a request.

One request returns up to 100 rows. Each further window of `stats` is one more request for the same rows. A probe is
one more request too: whether sessions follow a full page, or precede an empty one.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from graphql import GraphQLSchema, OperationDefinitionNode
from graphql.execution.values import VariableValues

from app.execution import CostOf, Document
from app.execution.selection import Selection
from app.schema.lookup import MAX_IDS
from app.schema.pagination import MAX_FIRST
from app.schema.pushdown import statistics_in
from app.sessions.query import MAX_LIMIT

_Call = tuple[dict[str, Any], Selection]
"""The coerced arguments of a field, and the selection below it."""
_SESSION: Final = "Session"


def cost_by(schema: GraphQLSchema) -> CostOf:
    """The cost function of a schema. It raises GraphQLError for arguments that cannot be coerced."""

    def cost_of(operation: OperationDefinitionNode, document: Document, variables: VariableValues) -> int:
        return sum(_root_costs(Selection.of_operation(schema, operation, document.fragments, variables)))

    return cost_of


def _root_costs(roots: Selection) -> Iterator[int]:
    for arguments, below in _merged(roots.calls("sessions")):
        rows = _rows(arguments.get("last") or arguments["first"], MAX_FIRST)
        yield _cost_of_rows(rows, below.at("nodes") + below.at("edges", "node"))
        yield _probes(rows, arguments, below.at("pageInfo").names)
    for name in ("session", "node"):
        for _, below in _merged(roots.calls(name, _SESSION)):
            yield _cost_of_rows(1, below)
    for arguments, below in _merged(roots.calls("nodes", _SESSION)):
        yield _cost_of_rows(_rows(len(arguments["ids"]), MAX_IDS), below)


def _cost_of_rows(rows: int, sessions: Selection) -> int:
    requests = (rows + MAX_LIMIT - 1) // MAX_LIMIT
    windows = (statistics_in(below) for _, below in _merged(sessions.calls("stats")))
    return requests * sum(1 + len(each) for each in (statistics_in(sessions), *filter(None, windows)))


def _merged(calls: Iterable[_Call]) -> Iterable[_Call]:
    """The calls, with those that have equal arguments merged into one, because they share their requests."""
    merged: dict[str, _Call] = {}
    for arguments, below in calls:
        key = repr(sorted(arguments.items()))
        merged[key] = (arguments, merged[key][1] + below if key in merged else below)
    return merged.values()


def _rows(length: int, maximum: int) -> int:
    """The number of rows. An invalid length costs 0, so that the operation fails with the error about the length."""
    return length if 0 < length <= maximum else 0


def _probes(rows: int, arguments: dict[str, Any], page_info: frozenset[str]) -> int:
    """The number of probes: at most one, because a page is not both full and empty."""
    starts_later = any(arguments.get(name) for name in ("after", "offset", "before"))
    after_full_page = "hasNextPage" in page_info and rows % MAX_LIMIT == 0
    before_empty_page = "hasPreviousPage" in page_info and starts_later
    return 1 if after_full_page or before_empty_page else 0

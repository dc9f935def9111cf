"""What an operation will ask of LangSmith at most: 1 for each request, and 1 for each statistic in it."""

from collections.abc import Iterator
from typing import Any, Final

from graphql import DocumentNode, FragmentDefinitionNode, GraphQLSchema, OperationDefinitionNode
from graphql.execution.values import VariableValues

from app.execution import CostOf
from app.graph import statistics_in
from app.page import MAX_LIMIT
from app.selection import Selection

_SINGLE: Final = ("session", "node")


def cost_by(schema: GraphQLSchema) -> CostOf:
    """The cost of operations on this schema. Raises GraphQLError for arguments that cannot be coerced."""
    query = schema.query_type
    session = schema.type_map["Session"]
    assert query is not None  # noqa: S101 - the schema has queries
    stats = session.fields["stats"]  # type: ignore[attr-defined]

    def of_rows(rows: int, selection: Selection) -> int:
        requests = (rows + MAX_LIMIT - 1) // MAX_LIMIT
        cost = requests * (1 + len(statistics_in(selection)))
        for _, below in selection.calls("stats", stats):
            if statistics := statistics_in(below):
                cost += requests * (1 + len(statistics))
        return cost

    def roots(selection: Selection) -> Iterator[tuple[int, Selection]]:
        for arguments, below in selection.calls("sessions", query.fields["sessions"]):
            yield _length(arguments), below.at("nodes") + below.at("edges", "node")
        for name in _SINGLE:
            for _, below in selection.calls(name, query.fields[name]):
                yield 1, below
        for arguments, below in selection.calls("nodes", query.fields["nodes"]):
            yield len(arguments["ids"]), below

    def cost_of(operation: OperationDefinitionNode, document: DocumentNode, variables: VariableValues) -> int:
        fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        return sum(
            of_rows(rows, selection)
            for rows, selection in roots(Selection.of_operation(operation, fragments, variables))
        )

    return cost_of


def _length(arguments: dict[str, Any]) -> int:
    """Rows that `sessions` asks for; a length that will be refused costs nothing."""
    length: int = arguments.get("last") or arguments["first"]
    return max(0, length)

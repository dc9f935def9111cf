"""Arguments and variables have the values, or the errors, that graphql-core gives them."""

import itertools
from typing import Any

import pytest
from graphql import FieldNode, GraphQLError, OperationDefinitionNode, build_schema, get_argument_values, parse
from graphql.execution.values import VariableValues, get_variable_values

from app.execution.arguments import ArgumentPlan
from app.execution.variables import VariablePlan

SCHEMA = build_schema("""
    enum Colour { RED GREEN }
    scalar Moment
    input Filter { text: String = "any", numbers: [Int!], inner: Filter }
    type Query {
      rows(
        first: Int! = 20, last: Int, text: String, on: Boolean, id: ID, colour: Colour = RED, at: Moment
        filter: Filter = {text: "d"}, ratio: Float, must: Int!
      ): String
    }
""")
TYPES = {
    "first": ("Int", "Int!"),
    "last": ("Int", "Int!"),
    "text": ("String", "String!"),
    "on": ("Boolean",),
    "id": ("ID", "ID!"),
    "colour": ("Colour", "Colour!"),
    "at": ("Moment",),
    "filter": ("Filter",),
    "ratio": ("Float",),
    "must": ("Int!",),
}
VALUES: list[Any] = [None, 0, 3, -1, 2**31, 2.0, 1.5, True, "text", "RED", "", {"text": "x"}, [1], {"numbers": [1, 2]}]
LITERALS = {"first": "7", "filter": '{text: "x", numbers: [1]}', "colour": "GREEN", "text": "null", "must": "1"}


def operation_of(text: str) -> OperationDefinitionNode:
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    return operation


def field_of(operation: OperationDefinitionNode) -> FieldNode:
    (node,) = operation.selection_set.selections
    assert isinstance(node, FieldNode)
    return node


def outcome_of(coerce: Any) -> Any:
    try:
        return coerce()
    except GraphQLError as exc:
        return exc.message


def assert_same(operation: OperationDefinitionNode, given: dict[str, Any]) -> None:
    expected = get_variable_values(SCHEMA, operation.variable_definitions or (), given)
    variables = VariablePlan(SCHEMA, operation).coerce(given)
    if isinstance(expected, list):
        assert variables is None
        return
    if variables is not None:
        assert variables.coerced == expected.coerced
        assert [type(each) for each in variables.coerced.values()] == [*map(type, expected.coerced.values())]
    definition, node = SCHEMA.query_type.fields["rows"], field_of(operation)  # type: ignore[union-attr]
    plan = ArgumentPlan(definition, node)
    for values in (expected, VariableValues({}, expected.coerced)):
        for _ in range(2):
            coerced = outcome_of(lambda values=values: plan.coerce(values))
            assert coerced == outcome_of(lambda: get_argument_values(definition, node, expected))


@pytest.mark.parametrize(
    ("argument", "kind"), [(argument, kind) for argument, kinds in TYPES.items() for kind in kinds]
)
@pytest.mark.parametrize("default", ["", " = null", " = 5"])
def test_an_argument_that_is_a_variable_has_its_value(argument: str, kind: str, default: str) -> None:
    must = "" if argument == "must" else ", must: 1"
    operation = operation_of(f"query ($v: {kind}{default}) {{ rows({argument}: $v{must}) }}")
    assert_same(operation, {})
    for value in VALUES:
        assert_same(operation, {"v": value})


@pytest.mark.parametrize("names", [*itertools.combinations(LITERALS, 2)])
def test_literals_are_coerced_as_by_graphql_core(names: tuple[str, ...]) -> None:
    assert_same(operation_of(f"{{ rows({' '.join(f'{name}: {LITERALS[name]}' for name in names)}) }}"), {})


@pytest.mark.parametrize("value", VALUES)
def test_a_variable_inside_of_a_literal_has_its_value(value: Any) -> None:
    operation = operation_of("query ($v: String, $n: Int!) { rows(must: 1, filter: {text: $v, numbers: [$n]}) }")
    assert_same(operation, {"v": value, "n": 1})
    assert_same(operation, {"v": "x", "n": value})
    assert_same(operation, {"n": 1})


def test_values_of_one_request_are_not_those_of_another() -> None:
    operation = operation_of("query ($v: Int) { rows(must: 1, last: $v) }")
    plan = ArgumentPlan(SCHEMA.query_type.fields["rows"], field_of(operation))  # type: ignore[union-attr]
    first = plan.coerce(VariableValues({}, {"v": 1}))
    second = plan.coerce(VariableValues({}, {"v": 2}))
    assert (first["last"], second["last"]) == (1, 2)
    assert "last" not in plan.coerce(VariableValues({}, {}))

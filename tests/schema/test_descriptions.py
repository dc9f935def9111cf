"""The schema as clients read it: its types, and a description for every part."""

from typing import Any, cast

import pytest
from graphql import GraphQLObjectType, GraphQLSchema
from strawberry.utils.str_converters import to_camel_case

from app.execution import graphql_core_schema
from app.schema.pushdown import STATISTICS
from app.schema.query import create_schema
from tests.conftest import Gateway


def schema() -> GraphQLSchema:
    return graphql_core_schema(create_schema())


def test_every_part_of_the_schema_has_a_description() -> None:
    undescribed: list[str] = []
    for name, kind in schema().type_map.items():
        if name.startswith("__") or name in {"String", "Int", "Float", "Boolean", "ID"}:
            continue
        members = [*getattr(kind, "fields", {}).items(), *getattr(kind, "values", {}).items()]
        arguments = [
            (f"{field}({argument}:)", arg)
            for field, each in members
            for argument, arg in getattr(each, "args", {}).items()
        ]
        undescribed += [f"{name}.{member}" for member, each in [*members, *arguments] if not each.description]
        undescribed += [] if kind.description else [name]
    assert not undescribed


def test_stats_field_has_the_arguments_of_stats_options() -> None:
    types: dict[str, Any] = schema().type_map
    arguments, options = types["Session"].fields["stats"].args, types["StatsOptions"].fields
    assert [*arguments] == [*options]
    for name, argument in arguments.items():
        assert (str(argument.type), argument.description) == (str(options[name].type), options[name].description)


@pytest.mark.parametrize("name", ["Session", "SessionStats"])
def test_every_statistic_says_that_it_is_computed_on_selection(name: str) -> None:
    fields = cast(GraphQLObjectType, schema().type_map[name]).fields
    statistics = [to_camel_case(each) for each in STATISTICS]
    assert all("Computed on selection." in (fields[each].description or "") for each in statistics)
    assert not [
        each for each in fields.keys() - {*statistics} if "Computed on selection." in (fields[each].description or "")
    ]


def test_schema_has_exactly_these_types() -> None:
    names = {name for name in schema().type_map if not name.startswith("__")}
    assert names - {"String", "Int", "Float", "Boolean", "ID"} == {
        *("Query", "Session", "SessionStats", "SessionConnection", "SessionEdge", "PageInfo", "FeedbackStat", "Node"),
        *("SessionType", "ExperimentProgress", "EvaluatorProgress"),
        *("SessionFilter", "SessionOrder", "StatsOptions"),
        *("SessionOrderField", "OrderDirection", "FeedbackSource", "TraceTier"),
        *("BigInt", "DateTime", "Decimal", "Duration", "JSON", "UUID"),
    }


async def test_introspection_returns_the_descriptions(gateway: Gateway) -> None:
    data = await gateway.data(
        """{ __schema { types { name description specifiedByURL fields { name description args { name description } }
            inputFields { name description } enumValues { name description } } } }"""
    )
    types = {each["name"]: each for each in data["__schema"]["types"]}
    assert types["DateTime"]["specifiedByURL"] == "https://www.rfc-editor.org/rfc/rfc3339"
    assert "in seconds" in next(f for f in types["Session"]["fields"] if f["name"] == "latencyP50")["description"]
    assert {f["name"] for f in types["SessionStats"]["fields"]} - {"id"} <= {
        f["name"] for f in types["Session"]["fields"]
    }

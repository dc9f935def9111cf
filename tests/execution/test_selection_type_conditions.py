"""A fragment contributes to a selection only if its type condition applies to the objects that are selected."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import strawberry
from graphql import FragmentDefinitionNode, GraphQLInterfaceType, OperationDefinitionNode, execute_sync, parse, validate
from graphql.execution.values import VariableValues
from hypothesis import given
from hypothesis import strategies as st

from app.execution import graphql_core_schema
from app.execution.selection import Selection, Structure, Variables


@strawberry.interface
class Named:
    name: str = "n"


@strawberry.interface
class Sized:
    size: int = 1


@strawberry.type
class Box(Named, Sized):
    depth: int = 2


@strawberry.type
class Label(Named):
    text: str = "t"


@strawberry.type
class Stone(Sized):
    weight: int = 3


Thing = Annotated[Box | Label | Stone, strawberry.union("Thing")]


@strawberry.type
class Query:
    @strawberry.field
    def things(self) -> list[Thing]:
        return [Box(), Label(), Stone()]

    @strawberry.field
    def named(self) -> list[Named]:
        return [Box(), Label()]

    @strawberry.field
    def box(self) -> Box:
        return Box()


SCHEMA = graphql_core_schema(strawberry.Schema(Query, types=[Box, Label, Stone]))
FIELDS = {
    "Box": ["name", "size", "depth"],
    "Label": ["name", "text"],
    "Stone": ["size", "weight"],
    "Named": ["name"],
    "Sized": ["size"],
    "Thing": [],
}
OBJECTS = ["Box", "Label", "Stone"]
ROOTS = {"things": OBJECTS, "named": ["Box", "Label"], "box": ["Box"]}


def roots_of(query: str) -> Selection:
    document = parse(query)
    assert not validate(SCHEMA, document)
    [operation] = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    variables = VariableValues({}, {})
    return Selection(Structure.of_operation(SCHEMA, operation, fragments, variables), Variables(variables))


def names(query: str, root: str, object_type: str) -> frozenset[str]:
    [(_, below)] = roots_of(query).calls(root, object_type)
    return below.names - {"__typename"}


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        ("... on Box { depth }", {"depth"}),
        ("... on Label { text }", set[str]()),
        ("... on Named { name }", {"name"}),
        ("... on Sized { size }", {"size"}),
        ("... on Thing { ... on Box { depth } ... on Stone { weight } }", {"depth"}),
        ("... on Named { name ... on Label { text } ... on Sized { size } }", {"name", "size"}),
        ("... { ...OfStone ...OfBox }", {"depth"}),
    ],
)
def test_selection_of_a_box_leaves_out_fragments_on_other_types(selection: str, selected: set[str]) -> None:
    fragments = "fragment OfStone on Stone { weight } fragment OfBox on Box { depth }" if "OfStone" in selection else ""
    assert names(f"{{ things {{ {selection} }} }} {fragments}", "things", "Box") == selected


def test_selection_below_an_abstract_field_needs_the_name_of_an_object_type() -> None:
    roots = roots_of("{ things { __typename } named { name } }")
    assert isinstance(SCHEMA.type_map["Named"], GraphQLInterfaceType)
    for root, object_type in (("things", None), ("things", "Thing"), ("named", None), ("named", "Named")):
        with pytest.raises(TypeError, match="is not an object type"):
            list(roots.calls(root, object_type))


@dataclass
class Drawn:
    """A query under construction."""

    fragments: list[str] = field(default_factory=list)


def selection(draw: st.DrawFn, drawn: Drawn, parent: str, depth: int) -> str:
    """A selection on a type. Every fragment is on a type that can occur there, because others are invalid."""
    parts = [
        "__typename",
        *draw(st.lists(st.sampled_from(FIELDS[parent]), max_size=2) if FIELDS[parent] else st.just([])),
    ]
    for _ in range(draw(st.integers(0, 2)) if depth else 0):
        condition = draw(st.sampled_from([each for each in FIELDS if possible(each) & possible(parent)]))
        inner = selection(draw, drawn, condition, depth - 1)
        if draw(st.booleans()):
            parts.append(f"... on {condition} {{ {inner} }}")
        else:
            drawn.fragments.append(f"fragment F{len(drawn.fragments)} on {condition} {{ {inner} }}")
            parts.append(f"...F{len(drawn.fragments) - 1}")
    return " ".join(parts)


def possible(name: str) -> set[str]:
    """The object types that objects of this type can have."""
    return {
        "Named": {"Box", "Label"},
        "Sized": {"Box", "Stone"},
        "Thing": {*OBJECTS},
    }.get(name, {name})


@st.composite
def queries(draw: st.DrawFn) -> tuple[str, str]:
    root = draw(st.sampled_from([*ROOTS]))
    parent = {"things": "Thing", "named": "Named", "box": "Box"}[root]
    drawn = Drawn()
    below = selection(draw, drawn, parent, 3)
    return root, f"{{ {root} {{ {below} }} }} {' '.join(drawn.fragments)}"


@given(drawn=queries())
def test_selection_has_the_fields_that_execution_answers_for_each_object_type(drawn: tuple[str, str]) -> None:
    root, query = drawn
    result: Any = execute_sync(SCHEMA, parse(query))
    assert result.errors is None
    answers = result.data[root]
    for answer in answers if isinstance(answers, list) else [answers]:
        assert names(query, root, answer["__typename"]) == answer.keys() - {"__typename"}

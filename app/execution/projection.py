"""Completing values at C speed: generated functions turn resolved objects into structs that encode as the response.

For each selection a struct is made whose fields are the response keys, and a function that fills it: a field without
a resolver is an attribute, so that a hundred rows become one comprehension. What cannot be completed this way raises,
and is completed by graphql-core instead; so nothing here reports an error, or decides where a null goes.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import (
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues

from app.execution.resolver import DEFINITION

Call = Callable[[Any, Any, Any], Any]
"""Resolves a field of an object: `(source, run, path)`."""


class NotCompilableError(Exception):
    """`reason`: why graphql-core has to do it, one of a closed set."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Selected:
    """One field of a selection: its response key, definition and nodes."""

    key: str
    parent: GraphQLObjectType
    field: GraphQLField
    details: FieldDetailsList


@dataclass(frozen=True)
class Encoding:
    """`plain`: scalars whose values encode as they are. `as_attribute`: the key in a Strawberry field's metadata under
    which stands the attribute that has its value where it is selected without arguments, so that it need not resolve.
    """

    plain: frozenset[str]
    as_attribute: str


class Projector:
    """Makes the functions for one operation."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        how: Encoding,
        *,
        call_of: Callable[[Selected], Call],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {name: FragmentDetails(each) for name, each in fragments.items()}
        self._variables = variables
        self._how = how
        self._call_of = call_of
        self._numbers = itertools.count()
        self._names: dict[str, Any] = {"_present": _present, "_all_present": _all_present}

    def roots(self, root: GraphQLObjectType) -> tuple[list[Selected], Callable[[list[Any], Any, list[Any]], Any]]:
        """The root fields, and what completes their values, given in that order with the run and their paths."""
        grouped = collect_fields(
            self._schema, self._fragments, self._variables, root, self._operation
        ).grouped_field_set
        selected: list[Selected] = []
        parts: list[str] = []
        for key, details in grouped.items():
            name = details[0].node.name.value
            if name == "__typename":
                parts.append(repr(root.name))
                continue
            if name.startswith("__"):
                raise NotCompilableError("introspection")
            field = root.fields[name]
            number = len(selected)
            selected.append(Selected(key, root, field, details))
            parts.append(self._completed(field.type, details, f"v[{number}]", f"paths[{number}]"))
        struct = self._struct(grouped)
        return selected, self._function(f"{struct}({', '.join(parts)})", "v, run, paths")

    def _function(self, body: str, parameters: str) -> Callable[..., Any]:
        function: Callable[..., Any] = eval(f"lambda {parameters}: {body}", self._names)  # noqa: S307 - what came from elsewhere is bound by name
        return function

    def _define(self, body: str, parameters: str = "o, run, path") -> str:
        name = f"_f{next(self._numbers)}"
        self._names[name] = self._function(body, parameters)
        return name

    def _bind(self, value: object) -> str:
        name = f"_b{next(self._numbers)}"
        self._names[name] = value
        return name

    def _struct(self, grouped: GroupedFieldSet) -> str:
        """A struct with these response keys; its own attributes are numbered, since any name may be a key."""
        names = {f"f{number}": key for number, key in enumerate(grouped)}
        return self._bind(msgspec.defstruct("Selection", [(name, Any) for name in names], rename=names, gc=False))

    def _completed(self, kind: GraphQLOutputType, details: FieldDetailsList, value: str, path: str) -> str:
        """The expression that completes the value of an expression."""
        if is_non_null_type(kind):
            return f"_present({self._completed(kind.of_type, details, value, path)})"
        if is_leaf_type(kind):
            return self._leaf(kind, value)
        if is_list_type(kind):
            return self._list(kind.of_type, details, value, path)
        built = self._object(kind, details)
        return f"{self._define(f'None if o is None else {built}')}({value}, run, {path if 'path' in built else None})"

    def _leaf(self, kind: GraphQLLeafType, value: str) -> str:
        if isinstance(kind, GraphQLEnumType):
            return f"{self._bind(_Names(kind))}[{value}]"
        if kind.name in self._how.plain:
            return value
        serialize = self._bind(kind.coerce_output_value)
        return f"{self._define(f'None if o is None else {serialize}(o)', 'o')}({value})"

    def _list(self, item: GraphQLOutputType, details: FieldDetailsList, value: str, path: str) -> str:
        nullable: Any = get_nullable_type(item)
        if is_leaf_type(nullable) and nullable.name in self._how.plain:
            return f"_all_present({value})" if is_non_null_type(item) else value
        if is_leaf_type(nullable) or is_list_type(nullable):
            each = self._completed(item, details, "o", "path.add_key(i)")
        else:
            each = self._object(nullable, details, "o", "path.add_key(i)")
            if not is_non_null_type(item):
                each = f"(None if o is None else {each})"
        checked = f"_all_present({value})" if is_non_null_type(item) else value
        # A path costs as much as a row, so it is followed only where somebody asks for it.
        if "path" in each:
            name = self._define(f"None if l is None else [{each} for i, o in enumerate(l)]", "l, run, path")
            return f"{name}({checked}, run, {path})"
        return f"{self._define(f'None if l is None else [{each} for o in l]', 'l, run')}({checked}, run)"

    def _object(self, kind: GraphQLOutputType, details: FieldDetailsList, source: str = "o", path: str = "path") -> str:
        """The expression that fills a struct from `source`, which is not None."""
        if is_abstract_type(kind):
            possible = self._schema.get_possible_types(kind)
            if len(possible) != 1:
                raise NotCompilableError("abstract type")
            kind = possible[0]
        if not is_object_type(kind):
            raise NotCompilableError("type")
        grouped = collect_subfields(
            self._schema, self._fragments, self._variables, self._operation, kind, details
        ).grouped_field_set
        parts = [self._field(kind, key, each, source, path) for key, each in grouped.items()]
        return f"{self._struct(grouped)}({', '.join(parts)})"

    def _field(self, parent: GraphQLObjectType, key: str, details: FieldDetailsList, source: str, path: str) -> str:
        node = details[0].node
        if node.name.value == "__typename":
            return repr(parent.name)
        field = parent.fields[node.name.value]
        definition = field.extensions[DEFINITION]
        attribute = None if node.arguments else definition.metadata.get(self._how.as_attribute)
        below = f"{path}.add_key({key!r}, {parent.name!r})"
        if definition.is_basic_field:
            value = f"{source}.{definition.python_name}"
        elif attribute:
            value = f"{source}.{attribute}"
        else:
            call = self._bind(self._call_of(Selected(key, parent, field, details)))
            value = f"{call}({source}, run, {below})"
        return self._completed(field.type, details, value, below)


class _Names(dict[Any, str | None]):
    """The names of an enum's values, as the enum itself gives them."""

    def __init__(self, kind: GraphQLEnumType) -> None:
        super().__init__({None: None})
        self._kind = kind

    def __missing__(self, value: Any) -> str | None:
        self[value] = name = self._kind.coerce_output_value(value)
        return name


def _present(value: Any) -> Any:
    if value is None:
        raise NotCompilableError("null")
    return value


def _all_present(values: Any) -> Any:
    """Of a list; one that is encoded already was looked at before."""
    if isinstance(values, list) and None in values:
        raise NotCompilableError("null")
    return values

"""Generated functions that turn resolved values into structs, which encode as the response's data.

Each selection gets a struct whose fields are the response keys, and a function that fills it. A field without a
resolver is an attribute access, so that a hundred rows become one list comprehension.

The functions complete the ordinary case only. In any other case (a null where none is allowed, a resolver that raises,
a value that does not encode) they raise, and graphql-core completes the values instead. They therefore never report an
error, and never decide where a null goes.
"""

import itertools
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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

ResolveField = Callable[[Any, Any, Any], Any]
"""Resolves a field of an object. The arguments are the source object, the run and the path."""


_CALLS_PER_CHUNK: Final = 500
"""Resolvers that are called before the event loop serves others. Each takes some 7 µs."""


class NotCompilableError(Exception):
    """graphql-core has to run the operation, or to complete its values.

    `reason` is one of a closed set of texts, because it is the label of a metric.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SelectedField:
    """A field of a selection; `key` is its response key."""

    key: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList


@dataclass(frozen=True)
class Encoding:
    """How the schema's values can be encoded without graphql-core.

    Args:
        plain_scalars: Names of the scalars whose values msgspec encodes exactly as the scalar serializes them.
        attribute_key: A key in the metadata of Strawberry fields. Its value names the attribute of the source object
            that equals the result of the field's resolver without arguments, so that the resolver is not called.
    """

    plain_scalars: frozenset[str]
    attribute_key: str


class Projector:
    """Generates the functions for one operation. In their bodies, `o` is a source object, `l` a list and `i` an index.

    Args:
        schema: The graphql-core schema.
        operation: The operation.
        fragments: The fragments of its document, by name.
        variables: The coerced variables; only those of `@skip` and `@include` matter.
        encoding: Which values encode as they are.
        create_call: Creates the function that resolves a field for which reading an attribute is not enough.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        encoding: Encoding,
        *,
        create_call: Callable[[SelectedField], ResolveField],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {name: FragmentDetails(each) for name, each in fragments.items()}
        self._variables = variables
        self._encoding = encoding
        self._create_call = create_call
        self._numbers = itertools.count()
        self._calls = 0  # that the expressions made so far have
        self._is_in_list = False
        self._names: dict[str, Any] = {
            "_present": _present,
            "_all_present": _all_present,
            "_counted": _counted,
            "_in_chunks": _in_chunks,
        }

    def roots(self, root: GraphQLObjectType) -> tuple[list[SelectedField], Callable[[list[Any], Any, list[Any]], Any]]:
        """The root fields, and the function that projects their values.

        The arguments of the function are the values in the order of the fields, the run, and the paths of the fields.
        It is a generator if a list has fields with resolvers: it yields after some of the rows, and returns the result.
        """
        grouped = collect_fields(
            self._schema, self._fragments, self._variables, root, self._operation
        ).grouped_field_set
        selected: list[SelectedField] = []
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
            selected.append(SelectedField(key, root, field, details))
            parts.append(self._complete(field.type, details, f"v[{number}]", f"paths[{number}]"))
        struct = self._struct(grouped)
        return selected, self._function(f"{struct}({', '.join(parts)})", "v, run, paths")

    def _function(self, body: str, parameters: str) -> Callable[..., Any]:
        # The source has generated names, attributes of the schema, and literals made by `repr`, such as the aliases of
        # a client.
        source = f"lambda {parameters}: {body}"
        function: Callable[..., Any] = eval(source, self._names)  # noqa: S307 - no text of a client is code in it
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
        """A struct type with these response keys. Its attributes are numbered, because any name can be a key."""
        names = {f"f{number}": key for number, key in enumerate(grouped)}
        return self._bind(msgspec.defstruct("Selection", [(name, Any) for name in names], rename=names, gc=False))

    def _complete(self, kind: GraphQLOutputType, details: FieldDetailsList, value: str, path: str) -> str:
        """An expression that completes the value of the expression `value`."""
        if is_non_null_type(kind):
            return f"_present({self._complete(kind.of_type, details, value, path)})"
        if is_leaf_type(kind):
            return self._leaf(kind, value)
        if is_list_type(kind):
            return self._list(kind.of_type, details, value, path)
        built = self._object(kind, details)
        call = f"{self._define(f'None if o is None else {built}')}({value}, run, {path if 'path' in built else None})"
        return f"(yield from {call})" if "yield from" in built else call

    def _leaf(self, kind: GraphQLLeafType, value: str) -> str:
        if isinstance(kind, GraphQLEnumType):
            return f"{self._bind(_EnumNames(kind))}[{value}]"
        if kind.name in self._encoding.plain_scalars:
            return value
        serialize = self._bind(kind.coerce_output_value)
        return f"{self._define(f'None if o is None else {serialize}(o)', 'o')}({value})"

    def _list(self, item: GraphQLOutputType, details: FieldDetailsList, value: str, path: str) -> str:
        nullable: Any = get_nullable_type(item)
        if is_leaf_type(nullable) and nullable.name in self._encoding.plain_scalars:
            return f"_all_present({value})" if is_non_null_type(item) else value
        is_outer, calls_before = not self._is_in_list, self._calls
        self._is_in_list = True
        if is_leaf_type(nullable) or is_list_type(nullable):
            each = self._complete(item, details, "o", "path.add_key(i)")
        else:
            each = self._object(nullable, details, "o", "path.add_key(i)")
            if not is_non_null_type(item):
                each = f"(None if o is None else {each})"
        self._is_in_list = not is_outer
        checked = f"_counted({f'_all_present({value})' if is_non_null_type(item) else value}, run)"
        # Extending a path for each row costs as much as projecting the row, so it happens only if a resolver below
        # needs the path.
        if is_outer and (calls := self._calls - calls_before):
            name = self._define(f"[{each} for i, o in enumerate(l, start)]", "l, run, path, start")
            size = max(1, _CALLS_PER_CHUNK // calls)
            return f"(yield from _in_chunks({checked}, run, {path}, {name}, {size}))"
        if "path" in each:
            name = self._define(f"None if l is None else [{each} for i, o in enumerate(l)]", "l, run, path")
            return f"{name}({checked}, run, {path})"
        return f"{self._define(f'None if l is None else [{each} for o in l]', 'l, run')}({checked}, run)"

    def _object(self, kind: GraphQLOutputType, details: FieldDetailsList, source: str = "o", path: str = "path") -> str:
        """An expression that fills a struct from `source`, which must not be None."""
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
        attribute = None if node.arguments else definition.metadata.get(self._encoding.attribute_key)
        below = f"{path}.add_key({key!r}, {parent.name!r})"
        if definition.is_basic_field:
            value = f"{source}.{definition.python_name}"
        elif attribute:
            value = f"{source}.{attribute}"
        else:
            self._calls += 1
            call = self._bind(self._create_call(SelectedField(key, parent, field, details)))
            value = f"{call}({source}, run, {below})"
        return self._complete(field.type, details, value, below)


class _EnumNames(dict[Any, str | None]):
    """Names of an enum's values, as graphql-core serializes them; None for None."""

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


def _counted(values: Any, run: Any) -> Any:
    """The list, whose items count as part of the answer. Raises ResultTooLargeError."""
    if values:
        run.size.add(len(values))
    return values


def _in_chunks(
    values: Any, run: Any, path: Any, project: Callable[[Any, Any, Any, int], list[Any]], size: int
) -> Generator[None, None, list[Any] | None]:
    """The projected list. Yields after each `size` items but the last ones."""
    if values is None:
        return None
    if len(values) <= size:
        return project(values, run, path, 0)
    projected: list[Any] = []
    for start in range(0, len(values), size):
        if start:
            yield
        projected += project(values[start : start + size], run, path, start)
    return projected


def _all_present(values: Any) -> Any:
    """The list, which must not contain None. A list that is already encoded was checked when it was decoded."""
    if isinstance(values, list) and None in values:
        raise NotCompilableError("null")
    return values

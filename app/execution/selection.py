"""The fields that an operation selects below one of its fields (look-ahead).

graphql-core itself collects the fields, with the functions that its executor uses. A selection therefore follows
aliases, fragments with their type conditions, and `@skip` and `@include` exactly as execution does. These functions
are internal to graphql-core: `pyproject.toml` pins its minor version, and a property test compares selections with
what graphql-core executes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_argument_values,
    get_named_type,
    is_object_type,
)
from graphql.execution.collect_fields import (
    FieldDetails,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues


@dataclass(frozen=True)
class _Scope:
    """What is the same for every selection of one operation."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    variables: VariableValues

    @classmethod
    def of(
        cls,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> "_Scope":
        return cls(schema, operation, {name: FragmentDetails(each) for name, each in fragments.items()}, variables)

    def select(self, object_type: GraphQLObjectType, fields: list[FieldDetails]) -> "Selection":
        """The selection below these fields, which return objects of this type."""
        collected = collect_subfields(
            self.schema, self.fragments, self.variables, self.operation, object_type, fields
        ).grouped_field_set
        return Selection(self, object_type, _by_name(collected))

    def object_type(self, kind: GraphQLOutputType, name: str | None) -> GraphQLObjectType:
        """The object type of this name, or the type itself if it is one."""
        found = get_named_type(kind) if name is None else self.schema.type_map[name]
        if not is_object_type(found):
            raise TypeError(f"{found} is not an object type: name the object type whose fields are meant.")
        return found


class Selection:
    """The fields selected of objects of one type.

    A field can return an interface or a union. Methods that descend into such a field take `object_type`, the name
    of the object type whose selection is meant; without it they raise TypeError.
    """

    def __init__(
        self, scope: _Scope, object_type: GraphQLObjectType, fields_by_name: dict[str, list[FieldDetails]]
    ) -> None:
        self._scope = scope
        self.object_type = object_type
        self._fields_by_name = fields_by_name

    @classmethod
    def below(
        cls, info: Any, object_type: str | None = None, *, nodes: Sequence[FieldNode] | None = None
    ) -> "Selection":
        """The selection below the field that is being resolved.

        `info` is the plan's ResolveInfo, or graphql-core's as Strawberry passes it on: with variables in a plain dict.
        `nodes`: other nodes of the field than those of `info`, which spread no other fragments than its operation may.
        """
        variables = VariableValues({}, info.variable_values)
        scope = _Scope.of(info.schema, info.operation, info.fragments, variables)
        fields = [FieldDetails(node, None) for node in (info.field_nodes if nodes is None else nodes)]
        return scope.select(scope.object_type(info.return_type, object_type), fields)

    @classmethod
    def of_operation(
        cls,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> "Selection":
        """The root fields of a valid operation."""
        scope = _Scope.of(schema, operation, fragments, variables)
        root = cast(GraphQLObjectType, schema.get_root_type(operation.operation))
        collected = collect_fields(schema, scope.fragments, variables, root, operation).grouped_field_set
        return cls(scope, root, _by_name(collected))

    @property
    def names(self) -> frozenset[str]:
        """GraphQL names of the fields, whatever their aliases."""
        return frozenset(self._fields_by_name)

    def aliases(self, name: str) -> int:
        """How often a field is selected: the number of its response keys."""
        return len({_response_key(field) for field in self._fields_by_name.get(name, ())})

    def leaves(self, scalar: str) -> int:
        """The number of fields of this scalar, or lists of it, at any depth. Each response key counts.

        Fields below an interface or a union are not counted.
        """
        found = 0
        for name, fields in self._fields_by_name.items():
            kind = get_named_type(self.object_type.fields[name].type) if name in self.object_type.fields else None
            if is_object_type(kind):
                found += sum(self._below(name, each, None).leaves(scalar) for each in _by_key(fields).values())
            elif kind is not None and kind.name == scalar:
                found += self.aliases(name)
        return found

    def at(self, *path: str) -> "Selection":
        """The selection below the fields of this path, all aliases taken together; empty if they are not selected."""
        selection = self
        for name in path:
            selection = selection._below(name, selection._fields_by_name.get(name, []), None)
        return selection

    def find(self, path: Sequence[str], names: AbstractSet[str]) -> list[str] | None:
        """The response keys that lead to the first field with one of these names; None if there is no such field.

        `path`: the names of the fields around it.
        """
        if not path:
            return next(
                ([_response_key(self._fields_by_name[name][0])] for name in self._fields_by_name if name in names), None
            )
        for key, fields in _by_key(self._fields_by_name.get(path[0], ())).items():
            if found := self._below(path[0], fields, None).find(path[1:], names):
                return [key, *found]
        return None

    def __add__(self, other: "Selection") -> "Selection":
        """The fields of two selections of the same object type."""
        combined = {name: [*fields] for name, fields in self._fields_by_name.items()}
        for name, fields in other._fields_by_name.items():
            combined.setdefault(name, []).extend(fields)
        return Selection(self._scope, self.object_type, combined)

    def calls(self, name: str, object_type: str | None = None) -> Iterator[tuple[dict[str, Any], "Selection"]]:
        """Each call of a field: its coerced arguments, and the selection below it.

        Raises GraphQLError for arguments that cannot be coerced.
        """
        for field in self._fields_by_name.get(name, ()):
            arguments = get_argument_values(self.object_type.fields[name], field.node, self._scope.variables)
            yield arguments, self._below(name, [field], object_type)

    def _below(self, name: str, fields: list[FieldDetails], object_type: str | None) -> "Selection":
        return self._scope.select(self._scope.object_type(self.object_type.fields[name].type, object_type), fields)


def _response_key(field: FieldDetails) -> str:
    return (field.node.alias or field.node.name).value


def _by_key(fields: Iterable[FieldDetails]) -> dict[str, list[FieldDetails]]:
    """Fields by their response keys."""
    by_key: dict[str, list[FieldDetails]] = {}
    for each in fields:
        by_key.setdefault(_response_key(each), []).append(each)
    return by_key


def _by_name(collected: GroupedFieldSet) -> dict[str, list[FieldDetails]]:
    """Collected fields, which come by response key, by their GraphQL names."""
    by_name: dict[str, list[FieldDetails]] = {}
    for fields in collected.values():
        for field in fields:
            by_name.setdefault(field.node.name.value, []).append(field)
    return by_name

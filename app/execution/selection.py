"""The fields that an operation selects below one of its fields (look-ahead).

graphql-core itself collects the fields, with the functions that its executor uses. A selection therefore follows
aliases, fragments with their type conditions, and `@skip` and `@include` exactly as execution does. These functions
are internal to graphql-core: `pyproject.toml` pins its minor version, and a property test compares selections with
what graphql-core executes.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
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

from app.execution.arguments import ArgumentPlan


class Variables:
    """The coerced variables of one run, and the arguments that were coerced with them."""

    def __init__(self, values: VariableValues) -> None:
        self.values = values
        self._arguments: dict[ArgumentPlan, dict[str, Any]] = {}

    def coerce(self, plan: ArgumentPlan) -> dict[str, Any]:
        """The coerced arguments of a field, which must not be changed. Raises GraphQLError."""
        found = self._arguments.get(plan)
        if found is None:
            found = self._arguments[plan] = plan.coerce(self.values)
        return found


class _Scope:
    """What is the same for every selection of one operation, as long as its directives decide alike.

    `variables`: decide whether `@skip` and `@include` apply.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = {name: FragmentDetails(each) for name, each in fragments.items()}
        self.variables = variables
        self.arguments: dict[tuple[str, int], ArgumentPlan] = {}

    def select(self, object_type: GraphQLObjectType, fields: list[FieldDetails]) -> "Structure":
        """The structure below these fields, which return objects of this type."""
        collected = collect_subfields(
            self.schema, self.fragments, self.variables, self.operation, object_type, fields
        ).grouped_field_set
        return Structure(self, object_type, _by_name(collected))

    def object_type(self, kind: GraphQLOutputType, name: str | None) -> GraphQLObjectType:
        """The object type of this name, or the type itself if it is one."""
        found = get_named_type(kind) if name is None else self.schema.type_map[name]
        if not is_object_type(found):
            raise TypeError(f"{found} is not an object type: name the object type whose fields are meant.")
        return found


class Structure:
    """What a selection is, whatever the values of its arguments. It lasts as long as its document, and remembers."""

    def __init__(
        self, scope: _Scope, object_type: GraphQLObjectType, fields_by_name: dict[str, list[FieldDetails]]
    ) -> None:
        self.scope = scope
        self.object_type = object_type
        self.fields_by_name = fields_by_name
        self._below: dict[tuple[str, str | None, int | str | None], Structure] = {}
        self._leaves: dict[str, int] = {}
        self._sums: dict[Structure, Structure] = {}

    @classmethod
    def of_operation(
        cls,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> "Structure":
        """The root fields of a valid operation. `variables` have those of `@skip` and `@include`."""
        scope = _Scope(schema, operation, fragments, variables)
        root = cast(GraphQLObjectType, schema.get_root_type(operation.operation))
        collected = collect_fields(schema, scope.fragments, variables, root, operation).grouped_field_set
        return cls(scope, root, _by_name(collected))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.fields_by_name)

    def arguments_of(self, name: str, node: FieldNode) -> ArgumentPlan:
        plans, key = self.scope.arguments, (self.object_type.name, id(node))
        plan = plans.get(key)
        if plan is None:
            plan = plans[key] = ArgumentPlan(self.object_type.fields[name], node)
        return plan

    def below(self, name: str, object_type: str | None = None) -> "Structure":
        """The structure below all fields of this name; empty if there are none."""
        return self._select(name, self.fields_by_name.get(name, []), object_type, None)

    def below_field(self, name: str, number: int, object_type: str | None) -> "Structure":
        """The structure below one of the fields of this name, by its number among them."""
        return self._select(name, [self.fields_by_name[name][number]], object_type, number)

    def below_key(self, name: str, key: str, object_type: str | None = None) -> "Structure":
        """The structure below the fields of this name that have this response key."""
        fields = [each for each in self.fields_by_name.get(name, ()) if _response_key(each) == key]
        return self._select(name, fields, object_type, key)

    def leaves(self, scalar: str) -> int:
        if scalar not in self._leaves:
            self._leaves[scalar] = sum(self._leaves_of(name, scalar) for name in self.fields_by_name)
        return self._leaves[scalar]

    def plus(self, other: "Structure") -> "Structure":
        if found := self._sums.get(other):
            return found
        combined = {name: [*fields] for name, fields in self.fields_by_name.items()}
        for name, fields in other.fields_by_name.items():
            combined.setdefault(name, []).extend(fields)
        found = Structure(self.scope, self.object_type, combined)
        if other.scope is self.scope:  # one of another operation may not last as long
            self._sums[other] = found
        return found

    def keys(self, name: str) -> list[str]:
        """The response keys of the fields of this name."""
        return [*dict.fromkeys(_response_key(each) for each in self.fields_by_name.get(name, ()))]

    def _leaves_of(self, name: str, scalar: str) -> int:
        kind = get_named_type(self.object_type.fields[name].type) if name in self.object_type.fields else None
        if is_object_type(kind):
            return sum(self.below_key(name, key).leaves(scalar) for key in self.keys(name))
        return len(self.keys(name)) if kind is not None and kind.name == scalar else 0

    def _select(
        self, name: str, fields: list[FieldDetails], object_type: str | None, which: int | str | None
    ) -> "Structure":
        found = self._below.get((name, object_type, which))
        if found is None:
            kind = self.scope.object_type(self.object_type.fields[name].type, object_type)
            found = self._below[name, object_type, which] = self.scope.select(kind, fields)
        return found


class Selection:
    """The fields selected of objects of one type.

    A field can return an interface or a union. Methods that descend into such a field take `object_type`, the name
    of the object type whose selection is meant; without it they raise TypeError.
    """

    def __init__(self, structure: Structure, variables: Variables) -> None:
        self._structure = structure
        self._variables = variables

    @classmethod
    def below(
        cls, info: Any, object_type: str | None = None, *, nodes: Sequence[FieldNode] | None = None
    ) -> "Selection":
        """The selection below the field that is being resolved.

        `info` is the plan's ResolveInfo, or graphql-core's as Strawberry passes it on: with variables in a plain dict.
        `nodes`: other nodes of the field than those of `info`, which spread no other fragments than its operation may.
        """
        variables = VariableValues({}, info.variable_values)
        scope = _Scope(info.schema, info.operation, info.fragments, variables)
        fields = [FieldDetails(node, None) for node in (info.field_nodes if nodes is None else nodes)]
        structure = scope.select(scope.object_type(info.return_type, object_type), fields)
        return cls(structure, Variables(variables))

    @property
    def object_type(self) -> GraphQLObjectType:
        """The type of the objects."""
        return self._structure.object_type

    @property
    def names(self) -> frozenset[str]:
        """GraphQL names of the fields, whatever their aliases."""
        return self._structure.names

    def aliases(self, name: str) -> int:
        """How often a field is selected: the number of its response keys."""
        return len(self._structure.keys(name))

    def leaves(self, scalar: str) -> int:
        """The number of fields of this scalar, or lists of it, at any depth. Each response key counts.

        Fields below an interface or a union are not counted.
        """
        return self._structure.leaves(scalar)

    def at(self, *path: str) -> "Selection":
        """The selection below the fields of this path, all aliases taken together; empty if they are not selected."""
        structure = self._structure
        for name in path:
            structure = structure.below(name)
        return Selection(structure, self._variables)

    def below_key(self, name: str, key: str, object_type: str | None = None) -> "Selection":
        """The selection below the fields of this name that have this response key."""
        return Selection(self._structure.below_key(name, key, object_type), self._variables)

    def find(self, path: Sequence[str], names: AbstractSet[str]) -> list[str] | None:
        """The response keys that lead to the first field with one of these names; None if there is no such field.

        `path`: the names of the fields around it.
        """
        fields = self._structure.fields_by_name
        if not path:
            return next(([_response_key(fields[name][0])] for name in fields if name in names), None)
        for key in self._structure.keys(path[0]):
            if found := self.below_key(path[0], key).find(path[1:], names):
                return [key, *found]
        return None

    def __add__(self, other: "Selection") -> "Selection":
        """The fields of two selections of the same object type."""
        return Selection(self._structure.plus(other._structure), self._variables)

    def calls(self, name: str, object_type: str | None = None) -> Iterator[tuple[dict[str, Any], "Selection"]]:
        """Each call of a field: its coerced arguments, and the selection below it.

        Raises GraphQLError for arguments that cannot be coerced.
        """
        for number, field in enumerate(self._structure.fields_by_name.get(name, ())):
            arguments = self._variables.coerce(self._structure.arguments_of(name, field.node))
            yield arguments, Selection(self._structure.below_field(name, number, object_type), self._variables)


def _response_key(field: FieldDetails) -> str:
    return (field.node.alias or field.node.name).value


def _by_name(collected: GroupedFieldSet) -> dict[str, list[FieldDetails]]:
    """Collected fields, which come by response key, by their GraphQL names."""
    by_name: dict[str, list[FieldDetails]] = {}
    for fields in collected.values():
        for field in fields:
            by_name.setdefault(field.node.name.value, []).append(field)
    return by_name

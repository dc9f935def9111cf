"""Compiles filter expressions into predicates over runs or sessions.

A record has fields of its own, such as its name, and fields of its entries, of which it has many: tags, metadata and
feedback. A condition on an entry field is true if any entry meets it. Conditions on the same kind of entry in one `and`
must be met by the same entry: `and(eq(feedback_key, "x"), gt(feedback_score, 0.5))` looks for one feedback with both.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.emulator import timestamps
from app.emulator.filter_parser import Call, FilterError, Literal, Name, Node, Value, Values, parse

Predicate = Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field that filters may name.

    Args:
        read: Returns the value of the field: of a record, or of an entry if `entries` is given.
        literal: Converts a literal in a filter to the type of the field. Raises ValueError or TypeError.
        entries: Lists the entries of a record, for a field of its entries.
    """

    read: Callable[[Any], Any]
    literal: Callable[[Any], Any] = str
    entries: Callable[[Any], Iterable[Any]] | None = None


Fields = Mapping[str, Field]


def compile_filter(text: str, fields: Fields) -> Predicate:
    """The predicate of a filter expression over these fields. Raises FilterError."""
    return _Compiler(fields).compile(parse(text))


def as_number(literal: Any) -> float:
    """A number, or a string of seconds such as "1.5s"."""
    return float(literal.removesuffix("s") if isinstance(literal, str) else literal)


def as_time(literal: Any) -> datetime:
    return timestamps.in_utc(datetime.fromisoformat(literal))


def as_object(literal: Any) -> dict[str, Any]:
    return dict(orjson.loads(literal))


def includes(whole: Any, part: Any) -> bool:
    """Whether every key of `part` has the same value in `whole`. Nested objects are compared in the same way."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and includes(whole[key], value) for key, value in part.items())
    return bool(whole == part)


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class _Compiler:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def compile(self, node: Node) -> Predicate:
        return self._all_of([node])

    def _all_of(self, nodes: Iterable[Node]) -> Predicate:
        """True if all conditions are, with conditions on the same kind of entry met by one entry."""
        predicates: list[Predicate] = []
        by_entries: dict[Callable[[Any], Iterable[Any]], list[Predicate]] = {}
        for node in _conjuncts(nodes):
            entries, condition = self._condition(node)
            if entries is None:
                predicates.append(condition)
            else:
                by_entries.setdefault(entries, []).append(condition)
        predicates += [_any_entry(entries, conditions) for entries, conditions in by_entries.items()]
        return predicates[0] if len(predicates) == 1 else lambda record: all(each(record) for each in predicates)

    def _condition(self, call: Call) -> tuple[Callable[[Any], Iterable[Any]] | None, Predicate]:
        """The condition of a call, and the entries that it applies to; None if it applies to the record itself."""
        match call:
            case Call("or", arguments) if arguments:
                alternatives = [self.compile(argument) for argument in arguments]
                return None, lambda record: any(each(record) for each in alternatives)
            case Call("not", (argument,)):
                negated = self.compile(argument)
                return None, lambda record: not negated(record)
            case Call("search", (Value(str(text)),)):
                return None, self._search_all_fields(text)
            case Call("search", (Name(name), Value(str(text)))):
                field = self._field(name)
                return field.entries, lambda holder: text.lower() in str(field.read(holder) or "").lower()
            case Call("in", (Name(name), Values(literals))):
                field = self._field(name)
                allowed = [self._literal(name, field, literal) for literal in literals]
                return field.entries, lambda holder: field.read(holder) in allowed
            case Call("eq" | "neq" | "has" | "gt" | "gte" | "lt" | "lte" as name, (Name(field_name), Value(literal))):
                field = self._field(field_name)
                return field.entries, _comparison(name, field.read, self._literal(field_name, field, literal))
        raise FilterError(f"{call.operator} does not exist, or does not take these arguments")

    def _field(self, name: str) -> Field:
        try:
            return self._fields[name]
        except KeyError:
            raise FilterError(f"unknown field {name}") from None

    @staticmethod
    def _literal(name: str, field: Field, literal: Literal) -> Any:
        if literal is None or isinstance(literal, bool):
            return literal
        try:
            return field.literal(literal)
        except (ValueError, TypeError):
            raise FilterError(f"{name} cannot be compared with {literal!r}") from None

    def _search_all_fields(self, text: str) -> Predicate:
        # Assumed (search-text): a search without a field looks into every text field, and ignores case.
        lowered = text.lower()
        text_fields = [field for field in self._fields.values() if field.literal is str]
        return lambda record: any(
            lowered in str(field.read(holder) or "").lower()
            for field in text_fields
            for holder in ((record,) if field.entries is None else field.entries(record))
        )


def _conjuncts(nodes: Iterable[Node]) -> Iterable[Call]:
    """The calls that must all be true, with nested `and` calls flattened."""
    for node in nodes:
        if not isinstance(node, Call):
            raise FilterError('a condition must be a call, such as eq(name, "x")')
        if node.operator == "and" and node.arguments:
            yield from _conjuncts(node.arguments)
        else:
            yield node


def _any_entry(entries: Callable[[Any], Iterable[Any]], conditions: list[Predicate]) -> Predicate:
    return lambda record: any(all(condition(entry) for condition in conditions) for entry in entries(record))


def _comparison(name: str, read: Callable[[Any], Any], literal: Any) -> Predicate:
    if isinstance(literal, bool):
        # Assumed (error-condition): eq(error, true) asks whether there is an error.
        return lambda holder: ((read(holder) is not None) == literal) == (name == "eq")
    if name == "has":
        return lambda holder: includes(read(holder), literal)
    if name in ("eq", "neq"):
        return lambda holder: (read(holder) == literal) == (name == "eq")
    if literal is None:
        raise FilterError(f"{name} cannot compare with null")
    order = _ORDERS[name]

    def compare(holder: Any) -> bool:
        value = read(holder)
        return value is not None and order(value, literal)

    return compare

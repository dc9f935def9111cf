"""What a filter expression means: a claim about one run or one session.

A record has fields of its own, and fields of entries that it has many of (its tags,
its metadata, its feedback). A condition on an entry holds when some entry meets it,
and conditions beside one another in an `and` must be met by the same entry.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from . import moment
from .expression import Call, ExpressionError, Literal, Name, Node, Value, Values, parse

Claim = Callable[[Any], bool]


@dataclass(frozen=True, kw_only=True)
class Field:
    """How to read one field, and what a literal it is compared with becomes.

    With `of`, the field is one of entries that have it in common: `of` lists the
    entries of a record, and `read` takes an entry.
    """

    read: Callable[[Any], Any]
    literal: Callable[[Any], Any] = str
    of: Callable[[Any], Iterable[Any]] | None = None


Fields = Mapping[str, Field]


def claim(text: str, fields: Fields) -> Claim:
    """The claim that an expression makes over these fields."""
    return _Meaning(fields).of(parse(text))


def a_number(literal: Any) -> float:
    """A number, or a string of seconds such as "1.5s"."""
    return float(literal.removesuffix("s") if isinstance(literal, str) else literal)


def a_time(literal: Any) -> datetime:
    return moment.aware(datetime.fromisoformat(literal))


def an_object(literal: Any) -> dict[str, Any]:
    return dict(orjson.loads(literal))


def includes(whole: Any, part: Any) -> bool:
    """Whether every key of `part` is in `whole` with the same value, objects inside it alike."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and includes(whole[key], value) for key, value in part.items())
    return bool(whole == part)


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class _Meaning:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def of(self, node: Node) -> Claim:
        return self._all([node])

    def _all(self, nodes: Iterable[Node]) -> Claim:
        """All of the nodes, conditions on the same kind of entry met by one entry."""
        claims: list[Claim] = []
        together: dict[Callable[[Any], Iterable[Any]], list[Claim]] = {}
        for node in _conjuncts(nodes):
            entries, condition = self._condition(node)
            if entries is None:
                claims.append(condition)
            else:
                together.setdefault(entries, []).append(condition)
        claims += [_some_entry(entries, conditions) for entries, conditions in together.items()]
        return claims[0] if len(claims) == 1 else lambda record: all(claim(record) for claim in claims)

    def _condition(self, call: Call) -> tuple[Callable[[Any], Iterable[Any]] | None, Claim]:
        """What a call asks, and of which entries (None: of the record itself)."""
        match call:
            case Call("or", arguments) if arguments:
                choices = [self.of(argument) for argument in arguments]
                return None, lambda record: any(choice(record) for choice in choices)
            case Call("not", (argument,)):
                denied = self.of(argument)
                return None, lambda record: not denied(record)
            case Call("search", (Value(str(text)),)):
                return None, self._search_everywhere(text)
            case Call("search", (Name(name), Value(str(text)))):
                field = self._field(name)
                return field.of, lambda holder: text.lower() in str(field.read(holder) or "").lower()
            case Call("in", (Name(name), Values(literals))):
                field = self._field(name)
                allowed = [self._literal(name, field, literal) for literal in literals]
                return field.of, lambda holder: field.read(holder) in allowed
            case Call("eq" | "neq" | "has" | "gt" | "gte" | "lt" | "lte" as name, (Name(of), Value(literal))):
                field = self._field(of)
                return field.of, _comparison(name, field.read, self._literal(of, field, literal))
        raise ExpressionError(f"{call.operator} does not exist, or does not take these arguments")

    def _field(self, name: str) -> Field:
        try:
            return self._fields[name]
        except KeyError:
            raise ExpressionError(f"unknown field {name}") from None

    @staticmethod
    def _literal(name: str, field: Field, literal: Literal) -> Any:
        if literal is None or isinstance(literal, bool):
            return literal
        try:
            return field.literal(literal)
        except (ValueError, TypeError):
            raise ExpressionError(f"{name} cannot be compared with {literal!r}") from None

    def _search_everywhere(self, text: str) -> Claim:
        # Assumed: a search without a field looks into every text, in any case.
        sought = text.lower()
        texts = [field for field in self._fields.values() if field.literal is str]
        return lambda record: any(
            sought in str(field.read(holder) or "").lower()
            for field in texts
            for holder in ((record,) if field.of is None else field.of(record))
        )


def _conjuncts(nodes: Iterable[Node]) -> Iterable[Call]:
    for node in nodes:
        if not isinstance(node, Call):
            raise ExpressionError('a condition must be a call, such as eq(name, "x")')
        if node.operator == "and" and node.arguments:
            yield from _conjuncts(node.arguments)
        else:
            yield node


def _some_entry(entries: Callable[[Any], Iterable[Any]], conditions: list[Claim]) -> Claim:
    return lambda record: any(all(condition(entry) for condition in conditions) for entry in entries(record))


def _comparison(name: str, read: Callable[[Any], Any], literal: Any) -> Claim:
    if isinstance(literal, bool):
        # Assumed: eq(error, true) asks whether there is one.
        return lambda holder: ((read(holder) is not None) == literal) == (name == "eq")
    if name == "has":
        return lambda holder: includes(read(holder), literal)
    if name in ("eq", "neq"):
        return lambda holder: (read(holder) == literal) == (name == "eq")
    if literal is None:
        raise ExpressionError(f"{name} cannot compare with null")
    order = _ORDERS[name]

    def ordered(holder: Any) -> bool:
        value = read(holder)
        return value is not None and order(value, literal)

    return ordered

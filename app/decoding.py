"""Bytes of LangSmith become structs, once, when they arrive.

The whole answer is decoded at C speed. If a value in it is not what the specification says, it is decoded a second
time, value by value: the odd ones become `MALFORMED`, which `read` turns into an error when, and only when, a client
selected them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from app.errors import UpstreamMalformed
from app.scalars import fixed_point, in_utc


class Malformed:
    """Stands where LangSmith's value was not of its type."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = Malformed()
NULL: Final = msgspec.Raw(b"null")
_DIGITS: Final = 100
"""No cost has as many digits before or behind the point; `1e999999` is not to be printed in full."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def read(source: object, name: str) -> Any:
    """The value of an attribute; an odd one is raised, so that it costs its field alone."""
    value = getattr(source, name)
    if value is MALFORMED:
        raise UpstreamMalformed(f"LangSmith's value of `{name}` is not of the type its specification gives.")
    return value


def rows_of(body: bytes, row: type[_Struct], required: tuple[str, ...]) -> list[_Struct | None]:
    """The rows of an answer; None stands for one that lacks what every row must have.

    Raises UpstreamMalformed for a body that is no JSON array of objects.
    """
    try:
        body.decode()  # msgspec passes on, unchecked, strings that nobody looks into
        rows: list[_Struct | None] = list(msgspec.json.decode(body, type=list[row]))  # type: ignore[valid-type]
    except (ValueError, RecursionError):
        rows = [_leniently(item, row, required) for item in _objects(body)]
    normalise = _normaliser(row)
    for each in rows:
        if each is not None:
            normalise(each)
    return rows


def struct_of(value: bytes | msgspec.Raw, kind: type[_Struct]) -> _Struct:
    """One nested object; where it is none, every value in it is malformed."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (ValueError, RecursionError):
        item = _parsed(bytes(value))
        decoded = _leniently(item if isinstance(item, dict) else dict.fromkeys(kind.__struct_fields__, MALFORMED), kind)
        assert decoded is not None  # noqa: S101 - nothing was required
        return decoded


def unknown_fields(body: bytes, known: Iterable[str]) -> Iterator[str]:
    """Names in the first row that are not known; the rest of the answer is not looked at."""
    start = body.find(b"{")
    if start < 0:
        return
    try:
        first, _ = json.JSONDecoder().raw_decode(body[start:].decode(errors="replace"))
    except (ValueError, RecursionError):
        return
    yield from sorted(set(first).difference(known))


def _objects(body: bytes) -> list[dict[str, Any]]:
    items = _parsed(body)
    if items is MALFORMED:
        raise UpstreamMalformed("LangSmith answered something that is not JSON.")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UpstreamMalformed("LangSmith answered something else than a list of sessions.")
    return items


def _parsed(text: bytes) -> Any:
    """JSON with every number that can be had exactly; `MALFORMED` stands for one that cannot, as for no JSON at all."""
    try:
        return json.loads(
            text.decode(), parse_int=_number(int), parse_float=_number(Decimal), parse_constant=lambda _: MALFORMED
        )
    except (ValueError, RecursionError):
        return MALFORMED


def _number(kind: Callable[[str], object]) -> Callable[[str], object]:
    def number(text: str) -> object:
        try:
            return kind(text)
        except (ValueError, ArithmeticError):
            return MALFORMED

    return number


def _leniently(item: Mapping[str, Any], kind: type[_Struct], required: tuple[str, ...] = ()) -> _Struct | None:
    values = {
        field.name: _value(item[field.name], field.type) for field in msgspec.structs.fields(kind) if field.name in item
    }
    if any(values.get(name, MALFORMED) is MALFORMED for name in required):
        return None
    return kind(**values)


def _value(value: object, kind: Any) -> object:
    try:
        if kind is msgspec.Raw:
            return msgspec.Raw(_encoder.encode(value))
        # Only what was a JSON number may become a float or a whole number.
        return msgspec.json.decode(_encoder.encode(value), type=kind)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return MALFORMED


def _normaliser(kind: type[msgspec.Struct]) -> Callable[[msgspec.Struct], None]:
    """What msgspec leaves to do: naive times mean UTC, an opaque null is None but in no list, a decimal is printed."""
    fields = msgspec.structs.fields(kind)
    times = [field.name for field in fields if field.type == (datetime | None)]
    opaque = [field.name for field in fields if field.type is msgspec.Raw]
    lists = [field.name for field in fields if field.type == (list[msgspec.Raw] | None)]
    decimals = [field.name for field in fields if field.type == (Decimal | None)]

    def normalise(row: msgspec.Struct) -> None:
        for name in times:
            if isinstance(value := getattr(row, name), datetime):
                setattr(row, name, _in_utc(value))
        for name in opaque:
            if isinstance(value := getattr(row, name), msgspec.Raw) and bytes(value) == b"null":
                setattr(row, name, None)
        for name in lists:
            if isinstance(value := getattr(row, name), list) and any(bytes(each) == b"null" for each in value):
                setattr(row, name, MALFORMED)
        for name in decimals:
            if isinstance(value := getattr(row, name), Decimal):
                is_sane = value.is_finite() and abs(value.adjusted()) < _DIGITS
                setattr(row, name, fixed_point(value) if is_sane else MALFORMED)

    return normalise


def _in_utc(value: datetime) -> datetime | Malformed:
    try:
        return in_utc(value)
    except OverflowError:  # in the year 1 or 9999
        return MALFORMED

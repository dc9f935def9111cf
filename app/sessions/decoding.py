"""Bytes of LangSmith become structs, once, when they arrive.

The whole answer is decoded at C speed. If a value in it is not what the specification says, it is decoded a second
time, value by value: the odd ones become `MALFORMED`, which `read` turns into an error when, and only when, a client
selected them.
"""

import contextlib
import functools
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import GenericAlias
from typing import Any, Final, TypeVar

import msgspec
import strawberry

from app.errors import UpstreamMalformedError
from app.sessions.scalars import fixed_point, in_utc


class Malformed:
    """Stands where LangSmith's value was not of its type."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = Malformed()
NULL: Final = msgspec.Raw(b"null")
_DIGITS: Final = 100
"""No cost has as many digits before or behind the point; `1e999999` is not to be printed in full."""
_FIRST_ROW_BYTES: Final = 16 * 1024

_ASCII_AS_SPACES: Final = bytes(byte if byte > 127 else ord(" ") for byte in range(256))

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def read(source: object, name: str) -> Any:
    """The value of an attribute; an odd one is raised, so that it costs its field alone."""
    value = getattr(source, name)
    if value is MALFORMED:
        raise UpstreamMalformedError(f"LangSmith's value of `{name}` is not of the type its specification gives.")
    return value


def rows_of(
    body: bytes, row: type[_Struct], required: tuple[str, ...], arrays: tuple[str, ...] = ()
) -> list[_Struct | None]:
    """The rows of an answer; None stands for one that lacks what every row must have.

    `arrays`: those of the opaque values that must be arrays without nulls.

    Raises UpstreamMalformed for a body that is no JSON array of objects.
    """
    try:
        _check_utf_8(body)  # msgspec passes on, unchecked, strings that nobody looks into
        rows: list[_Struct | None] = _decoder(GenericAlias(list, row)).decode(body)
    except (ValueError, RecursionError):
        rows = [_leniently(item, row, required) for item in _objects(body)]
    kept = [each for each in rows if each is not None]
    _normalise(kept, row)
    for each in kept:
        for name in arrays:
            value = getattr(each, name)
            if isinstance(value, msgspec.Raw) and not _is_array(bytes(value)):
                setattr(each, name, MALFORMED)
    return rows


def _check_utf_8(text: bytes) -> None:
    """Raises UnicodeDecodeError. Only what is not ASCII is decoded, which is little, as a rule."""
    if not text.isascii():
        b" ".join(text.translate(_ASCII_AS_SPACES).split()).decode()


def struct_of(value: bytes | msgspec.Raw, kind: type[_Struct]) -> _Struct:
    """One nested object; where it is none, every value in it is malformed."""
    try:
        decoded: _Struct = _decoder(kind).decode(value)
    except (ValueError, RecursionError):
        item = _parsed(bytes(value))
        odd = dict.fromkeys(kind.__struct_fields__, MALFORMED)
        return kind(**(_values(item, kind) if isinstance(item, dict) else odd))
    return decoded


def array(name: str) -> Callable[..., list[msgspec.Raw] | None]:
    """The resolver of an opaque array: its items, as they are."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        value = read(root, name)
        return None if value is None else msgspec.json.decode(value, type=list[msgspec.Raw])

    return resolve


def _is_array(text: bytes) -> bool:
    return text[:1] == b"[" and (b"null" not in text or None not in msgspec.json.decode(text))


def is_null(value: msgspec.Raw) -> bool:
    # Most are longer, and copying them to compare would take longer than decoding did.
    return memoryview(value).nbytes == len(b"null") and bytes(value) == b"null"


def unknown_fields(body: bytes, known: Iterable[str]) -> Iterator[str]:
    """Names in the first row that are not known; the rest of the answer is not looked at."""
    start = body.find(b"{")
    if start < 0:
        return
    # It is short, as a rule, and the rest of the answer is not.
    for end in (start + _FIRST_ROW_BYTES, len(body)):
        with contextlib.suppress(ValueError, RecursionError):
            first, _ = json.JSONDecoder().raw_decode(body[start:end].decode(errors="replace"))
            yield from sorted(set(first).difference(known))
            return


def _objects(body: bytes) -> list[dict[str, Any]]:
    items = _parsed(body)
    if items is MALFORMED:
        raise UpstreamMalformedError("LangSmith answered something that is not JSON.")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UpstreamMalformedError("LangSmith answered something else than a list of sessions.")
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


def _leniently(item: Mapping[str, Any], kind: type[_Struct], required: tuple[str, ...]) -> _Struct | None:
    values = _values(item, kind)
    return None if any(values.get(name, MALFORMED) is MALFORMED for name in required) else kind(**values)


def _values(item: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        field.name: _value(item[field.name], field.type) for field in msgspec.structs.fields(kind) if field.name in item
    }


def _value(value: object, kind: Any) -> object:
    try:
        if kind is msgspec.Raw:
            return msgspec.Raw(_encoder.encode(value))
        # Only what was a JSON number may become a float or a whole number.
        return msgspec.json.decode(_encoder.encode(value), type=kind)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return MALFORMED


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@functools.cache
def _fields_of(kind: type[msgspec.Struct], declared: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """The names of the fields that are declared so, with what reads them."""
    names = [field.name for field in msgspec.structs.fields(kind) if field.type == declared]
    return [(name, operator.attrgetter(name)) for name in names]


def _normalise(rows: list[_Struct], kind: type[_Struct]) -> None:
    """What msgspec leaves to do: naive times mean UTC, an opaque null is None, a decimal is printed."""
    for name, get in _fields_of(kind, datetime | None):
        for row, value in zip(rows, map(get, rows), strict=True):
            if isinstance(value, datetime) and value.tzinfo is not UTC:
                setattr(row, name, _in_utc(value))
    for name, get in _fields_of(kind, msgspec.Raw):
        for row, value in zip(rows, map(get, rows), strict=True):
            if isinstance(value, msgspec.Raw) and is_null(value):
                setattr(row, name, None)
    for name, get in _fields_of(kind, Decimal | None):
        for row, value in zip(rows, map(get, rows), strict=True):
            if isinstance(value, Decimal):
                setattr(row, name, _printed(value))


def _printed(value: Decimal) -> str | Malformed:
    text = str(value)
    if text[-1].isdigit() and "E" not in text and len(text) < _DIGITS:
        return text
    return fixed_point(value) if value.is_finite() and abs(value.adjusted()) < _DIGITS else MALFORMED


def _in_utc(value: datetime) -> datetime | Malformed:
    try:
        return in_utc(value)
    except OverflowError:  # in the year 1 or 9999
        return MALFORMED

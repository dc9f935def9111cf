"""Decodes LangSmith's answers into structs, once, when they arrive.

msgspec decodes the whole answer at C speed. If a value does not have the type of the specification, the answer is
decoded a second time, value by value. The values of wrong types become `MALFORMED`, and `read_attribute` raises an
error for them, so that only clients that select such a value see the error.
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
from app.sessions.scalars import format_decimal, in_utc


class Malformed:
    """The type of MALFORMED, which takes the place of a value that is not of its specified type."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = Malformed()
NULL: Final = msgspec.Raw(b"null")
_DIGITS: Final = 100
"""Digits of a decimal, before or after the point. More are malformed: `1e999999` must not be printed in full."""
_FIRST_ROW_BYTES: Final = 16 * 1024
"""Length within which the first row of an answer usually ends."""

_ASCII_AS_SPACES: Final = bytes(byte if byte > 127 else ord(" ") for byte in range(256))

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def read_attribute(source: object, name: str) -> Any:
    """The value of an attribute. Raises UpstreamMalformedError if it is malformed, so that only its field fails."""
    value = getattr(source, name)
    if value is MALFORMED:
        raise UpstreamMalformedError(f"LangSmith sent a value of the wrong type for `{name}`.")
    return value


def decode_structs(
    body: bytes, row: type[_Struct], required: tuple[str, ...], arrays: tuple[str, ...] = ()
) -> list[_Struct | None]:
    """The objects of a JSON array; None takes the place of an object that lacks a required value.

    Args:
        body: The answer.
        row: The struct type of one object.
        required: Names of the fields that every object must have.
        arrays: Names of opaque fields that must be arrays without nulls.

    Raises UpstreamMalformedError for a body that is not a JSON array of objects.
    """
    try:
        check_utf_8(body)  # msgspec does not check the encoding of strings inside opaque values.
        rows: list[_Struct | None] = _decoder(GenericAlias(list, row)).decode(body)
    except (ValueError, RecursionError):
        rows = [_decode_leniently(item, row, required) for item in _objects(body)]
    complete = [each for each in rows if each is not None]
    _normalise(complete, row)
    for each in complete:
        for name in arrays:
            value = getattr(each, name)
            if isinstance(value, msgspec.Raw) and not is_array(bytes(value)):
                setattr(each, name, MALFORMED)
    return rows


def check_utf_8(text: bytes) -> None:
    """Raises UnicodeDecodeError. Only the bytes that are not ASCII are decoded, because they are usually few."""
    if not text.isascii():
        b" ".join(text.translate(_ASCII_AS_SPACES).split()).decode()


def decode_struct(value: bytes | msgspec.Raw, kind: type[_Struct]) -> _Struct:
    """A nested object. If the value is not an object, every field of the struct is MALFORMED."""
    try:
        decoded: _Struct = _decoder(kind).decode(value)
    except (ValueError, RecursionError):
        item = _parsed(bytes(value))
        malformed = dict.fromkeys(kind.__struct_fields__, MALFORMED)
        return kind(**(_values(item, kind) if isinstance(item, dict) else malformed))
    return decoded


def array_resolver(name: str) -> Callable[..., list[msgspec.Raw] | None]:
    """Create the resolver of an opaque array: its items, not decoded."""

    def resolve(root: strawberry.Parent[Any]) -> Any:
        value = read_attribute(root, name)
        return None if value is None else msgspec.json.decode(value, type=list[msgspec.Raw])

    return resolve


def is_array(text: bytes) -> bool:
    """Whether JSON is an array without nulls."""
    return text[:1] == b"[" and (b"null" not in text or None not in msgspec.json.decode(text))


def is_null(value: msgspec.Raw) -> bool:
    """Whether an opaque value is `null`."""
    # The length decides for most values. Copying them to compare would take longer than decoding them did.
    return memoryview(value).nbytes == len(b"null") and bytes(value) == b"null"


def unknown_fields(body: bytes, known: Iterable[str]) -> Iterator[str]:
    """Names of fields in the first row that are not among the known ones, sorted. Other rows are not examined."""
    start = body.find(b"{")
    if start < 0:
        return
    # The first row is usually short, so only the beginning of the answer is decoded first.
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
        raise UpstreamMalformedError("LangSmith did not answer with a list of sessions.")
    return items


def _parsed(text: bytes) -> Any:
    """JSON with exact numbers. MALFORMED takes the place of a number that cannot be exact, or of invalid JSON."""
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


def _decode_leniently(item: Mapping[str, Any], kind: type[_Struct], required: tuple[str, ...]) -> _Struct | None:
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
        # Through JSON, and not `msgspec.convert`, so that only a JSON number becomes a float or an integer.
        return msgspec.json.decode(_encoder.encode(value), type=kind)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return MALFORMED


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


@functools.cache
def _fields_of(kind: type[msgspec.Struct], declared: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """The names of the fields that are declared with this type, each with its getter."""
    names = [field.name for field in msgspec.structs.fields(kind) if field.type == declared]
    return [(name, operator.attrgetter(name)) for name in names]


def _normalise(rows: list[_Struct], kind: type[_Struct]) -> None:
    """Normalise decoded values: times are in UTC, an opaque null is None, and decimals are fixed-point strings."""
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
                setattr(row, name, _format_decimal(value))


def _format_decimal(value: Decimal) -> str | Malformed:
    """The decimal as a fixed-point string; MALFORMED if it is not finite or has too many digits."""
    text = str(value)
    if text[-1].isdigit() and "E" not in text and len(text) < _DIGITS:
        return text
    return format_decimal(value) if value.is_finite() and abs(value.adjusted()) < _DIGITS else MALFORMED


def _in_utc(value: datetime) -> datetime | Malformed:
    try:
        return in_utc(value)
    except OverflowError:  # in the years 1 and 9999
        return MALFORMED

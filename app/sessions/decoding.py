"""Decodes LangSmith's answers into structs, once, when they arrive.

msgspec decodes the whole answer at C speed. If a value does not have the type of the specification, the answer is
decoded a second time, row by row (`malformed.py`). The values of wrong types become `MALFORMED`, and `read_attribute`
raises an error for them, so that only clients that select such a value see the error.
"""

import contextlib
import functools
import json
import operator
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from types import GenericAlias
from typing import Any, Final, TypeVar

import msgspec
import strawberry

from app.errors import UpstreamMalformedError
from app.sessions.malformed import (
    DIGITS,
    MALFORMED,
    Malformed,
    OnUnknown,
    check_utf_8,
    decode_rows_one_by_one,
    decoder_of,
    read_values,
)
from app.sessions.scalars import format_decimal, in_utc

__all__ = [
    "MALFORMED",
    "NULL",
    "Malformed",
    "array_resolver",
    "check_utf_8",
    "decode_struct",
    "decode_structs",
    "is_array",
    "is_null",
    "read_attribute",
    "unknown_fields",
]

NULL: Final = msgspec.Raw(b"null")
_FIRST_ROW_BYTES: Final = 16 * 1024
"""Length within which the first row of an answer usually ends."""
_LONGEST_FIRST_ROW_BYTES: Final = 1024 * 1024

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def read_attribute(source: object, name: str) -> Any:
    """The value of an attribute. Raises UpstreamMalformedError if it is malformed, so that only its field fails."""
    value = getattr(source, name)
    if value is MALFORMED:
        raise UpstreamMalformedError(f"LangSmith sent a value of the wrong type for `{name}`.")
    return value


def decode_structs(
    body: bytes,
    row: type[_Struct],
    required: tuple[str, ...],
    arrays: tuple[str, ...] = (),
    on_unknown: OnUnknown = lambda *_: None,
) -> list[_Struct | None]:
    """The objects of a JSON array; None takes the place of an object that lacks a required value.

    Args:
        body: The answer.
        row: The struct type of one object.
        required: Names of the fields that every object must have.
        arrays: Names of opaque fields that must be arrays without nulls.
        on_unknown: Called for each value of an enumeration that is not known. Such a value is None.

    Raises UpstreamMalformedError for a body that is not a JSON array of objects.
    """
    try:
        check_utf_8(body)  # msgspec does not check the encoding of strings inside opaque values.
        rows: list[_Struct | None] = decoder_of(GenericAlias(list, row)).decode(body)
    except (ValueError, RecursionError):
        rows = decode_rows_one_by_one(body, row, required, on_unknown)
    complete = [each for each in rows if each is not None]
    _normalise(complete, row)
    for each in complete:
        for name in arrays:
            value = getattr(each, name)
            if isinstance(value, msgspec.Raw) and not is_array(bytes(value)):
                setattr(each, name, MALFORMED)
    return rows


def decode_struct(value: bytes | msgspec.Raw, kind: type[_Struct]) -> _Struct:
    """A nested object. If the value is not an object, every field of the struct is MALFORMED."""
    try:
        decoded: _Struct = decoder_of(kind).decode(value)
    except (ValueError, RecursionError):
        text = bytes(value)
        malformed = dict.fromkeys(kind.__struct_fields__, MALFORMED)
        return kind(**(read_values(text, kind, lambda *_: None) if text[:1] == b"{" else malformed))
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
    """Names of fields in the first row that are not among the known ones, sorted. Other rows are not examined.

    Nor is a first row of more than 1 MiB.
    """
    start = body.find(b"{")
    if start < 0:
        return
    # The first row is usually short, so only the beginning of the answer is decoded first.
    for end in (start + _FIRST_ROW_BYTES, start + _LONGEST_FIRST_ROW_BYTES):
        with contextlib.suppress(ValueError, RecursionError):
            first, _ = json.JSONDecoder().raw_decode(body[start:end].decode(errors="replace"))
            yield from sorted(set(first).difference(known))
            return


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
    if text[-1].isdigit() and "E" not in text and len(text) < DIGITS:
        return text
    return format_decimal(value) if value.is_finite() and abs(value.adjusted()) < DIGITS else MALFORMED


def _in_utc(value: datetime) -> datetime | Malformed:
    try:
        return in_utc(value)
    except OverflowError:  # in the years 1 and 9999
        return MALFORMED

"""Decodes LangSmith's answers into structs, once, when they arrive.

msgspec decodes the whole answer at C speed, and `columns.py` checks what the types do not say. If a value does not have
the type of the specification, the answer is decoded a second time, row by row (`malformed.py`). The values of wrong
types become `MALFORMED`, and `read_attribute` raises an error for them, so that only clients that select such a value
see the error.
"""

import contextlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import GenericAlias
from typing import Any, Final, TypeVar

import msgspec
import strawberry

from app.errors import UpstreamMalformedError
from app.sessions.columns import NULL, Normalise
from app.sessions.malformed import (
    MALFORMED,
    Malformed,
    OnUnknown,
    check_utf_8,
    decode_rows_one_by_one,
    decoder_of,
    read_values,
)

__all__ = [
    "MALFORMED",
    "NULL",
    "Malformed",
    "array_resolver",
    "check_utf_8",
    "decode_struct",
    "decode_structs",
    "is_null",
    "read_attribute",
    "unknown_fields",
]

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
    kind: type[_Struct],
    required: tuple[str, ...],
    columns: Mapping[str, Normalise],
    slices: Iterable[str],
    on_unknown: OnUnknown = lambda *_: None,
) -> list[_Struct | None]:
    """The objects of a JSON array; None takes the place of an object that lacks a required value.

    Args:
        body: The answer.
        kind: The struct type of one object.
        required: Names of the fields that every object must have.
        columns: How the values of a field are normalised, by name. The other fields stay as msgspec decodes them.
        slices: Names of the fields whose values are opaque slices of the body, or None.
        on_unknown: Called for each value of an enumeration that is not known. Such a value is None.

    Raises UpstreamMalformedError for a body that is not a JSON array of objects.
    """
    try:
        rows: list[_Struct | None] = decoder_of(GenericAlias(list, kind)).decode(body)
        if not body.isascii():
            _check_slices(rows, slices)
    except (ValueError, RecursionError):
        rows = decode_rows_one_by_one(body, kind, required, on_unknown)
    complete = [row for row in rows if row is not None]
    for name, normalise in columns.items():
        values = [*map(operator.attrgetter(name), complete)]
        if values.count(None) == len(values):  # as for all statistics that were not requested
            continue
        normalised = normalise(values)
        if normalised is values:
            continue
        for row, value in zip(complete, normalised, strict=True):
            setattr(row, name, value)
        if name in required and MALFORMED in normalised:
            rows = [None if row is None or getattr(row, name) is MALFORMED else row for row in rows]
    return rows


def _check_slices(rows: list[Any], names: Iterable[str]) -> None:
    """Raises UnicodeDecodeError. msgspec checks the encoding of all strings but those inside opaque values."""
    for name in names:
        check_utf_8(b"".join(filter(None, map(operator.attrgetter(name), rows))))


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


def is_null(value: msgspec.Raw) -> bool:
    """Whether an opaque value is `null`."""
    return value == NULL


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

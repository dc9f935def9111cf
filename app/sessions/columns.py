"""Checks decoded values, all values of one field at a time, and brings them into the form in which rows hold them.

A row holds a UUID and a decimal as the text that clients receive. LangSmith mostly sends them in exactly that form.
One regular expression checks this for all rows, and the texts stay as they are. Only if a value has another form, the
values of its field are parsed one by one. Those that cannot be parsed become MALFORMED.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from app.sessions.malformed import DIGITS, MALFORMED, Malformed
from app.sessions.scalars import format_decimal, in_utc

Column = list[Any]
"""The values that the rows have in one field, in the order of the rows. MALFORMED can be among them."""
Normalise = Callable[[Column], Column]
"""Returns the values in the form in which rows hold them; the given list itself if they have that form already."""

NULL: Final = msgspec.Raw(b"null")
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUIDS: Final = re.compile(f"(?:{_UUID}\n)*+")
_UUID_LINE_LENGTH: Final = 37
_FIXED_POINT: Final = r"-?(?:0|[1-9][0-9]{0,90})(?:\.[0-9]{1,90})?"
# The JSON number -0 is the integer 0.
_DECIMALS: Final = re.compile(rf'(?:(?:"{_FIXED_POINT}"|(?!-0\n){_FIXED_POINT}|null)\n)*+'.encode())
_decode_decimal: Final = msgspec.json.Decoder(Decimal).decode
is_canonical_uuid: Final = re.compile(_UUID).fullmatch


def is_array(text: bytes) -> bool:
    """Whether JSON is an array without nulls."""
    return text[:1] == b"[" and (b"null" not in text or None not in msgspec.json.decode(text))


def opaque_values(column: Column) -> Column:
    """JSON that is passed through. A null is None."""
    return [None if value == NULL else value for value in column] if NULL in column else column


def opaque_arrays(column: Column) -> Column:
    """JSON arrays that are passed through, with items that are not null."""
    values = opaque_values(column)
    if not any(values):
        return values
    return [MALFORMED if isinstance(value, msgspec.Raw) and not is_array(bytes(value)) else value for value in values]


def uuids(column: Column) -> Column:
    """UUIDs as texts of 36 characters, in lower case. They are decoded as strings."""
    texts = [value for value in column if isinstance(value, str)]
    lines = "\n".join([*texts, ""])
    # The length tells that each text is one line: a text can contain a line break too.
    if _UUIDS.fullmatch(lines) and len(lines) == _UUID_LINE_LENGTH * len(texts):
        return column
    return [_format_uuid(value) if isinstance(value, str) else value for value in column]


def decimals(column: Column) -> Column:
    """Numbers as fixed-point strings. They are decoded as opaque JSON, and can be strings or JSON numbers."""
    values = opaque_values(column)
    if not any(values):
        return values
    if MALFORMED not in values and None not in column:
        lines = b"\n".join([*column, b""])
        if _DECIMALS.fullmatch(lines):
            texts = lines.decode().replace('"', "").splitlines()
            return [None if text == "null" else text for text in texts]
    return [_format_decimal(value) if isinstance(value, msgspec.Raw) else value for value in values]


def times(column: Column) -> Column:
    """Times in UTC."""
    return [value if value is None or value is MALFORMED or value.tzinfo is UTC else _in_utc(value) for value in column]


def _format_uuid(text: str) -> str | Malformed:
    try:
        return str(msgspec.convert(text, UUID))
    except msgspec.ValidationError:
        return MALFORMED


def _format_decimal(number: msgspec.Raw) -> str | Malformed:
    """The number as a fixed-point string; MALFORMED if it is none, is not finite, or has too many digits."""
    try:
        value = _decode_decimal(number)
    except ValueError:
        return MALFORMED
    return format_decimal(value) if value.is_finite() and abs(value.adjusted()) < DIGITS else MALFORMED


def _in_utc(value: datetime) -> datetime | Malformed:
    try:
        return in_utc(value)
    except OverflowError:  # in the years 1 and 9999
        return MALFORMED

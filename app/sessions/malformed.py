"""Reads answers that do not decode as a whole, row by row and value by value.

msgspec splits the answer into rows and decodes each. A row that does not decode either is read value by value. A value
that cannot be read becomes MALFORMED, so that it costs its own field and nothing else. JSON that msgspec refuses to
split (a lone surrogate, `NaN`, a value that is nested too deeply) is split by counting brackets instead, which is ten
times slower.
"""

import contextlib
import enum
import functools
import re
import typing
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from app.errors import UpstreamMalformedError


class Malformed:
    """The type of MALFORMED, which takes the place of a value that is not of its specified type."""

    def __repr__(self) -> str:
        return "MALFORMED"


MALFORMED: Final = Malformed()
DIGITS: Final = 100
"""Digits of a number, before or after the point. More are malformed: `1e999999` must not be printed in full."""
OnUnknown = Callable[[str, str], None]
"""Called with a field and its value as JSON, where LangSmith sends a value of an enumeration that is not known yet."""

_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_LONG_TEXT_BYTES: Final = 128 * 1024
_ASCII_AS_SPACES: Final = bytes(byte if byte > 127 else ord(" ") for byte in range(256))
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ATOM: Final = re.compile(rb"[^\s,:\"\[\]{}]++")
_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[\]{}])', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?[0-9]{1,100}(?:\.[0-9]{1,100})?(?:[eE][+-]?[0-9]{1,3})?")


def check_utf_8(text: bytes) -> None:
    """Raises UnicodeDecodeError."""
    if text.isascii():
        return
    if len(text) > _LONG_TEXT_BYTES:
        # The whole text would take up to four times its memory. The bytes that are not ASCII are usually few.
        text = b" ".join(text.translate(_ASCII_AS_SPACES).split())
    text.decode()


@functools.cache
def decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type."""
    return msgspec.json.Decoder(kind)


def decode_rows_one_by_one(
    body: bytes, kind: type[_Struct], required: tuple[str, ...], on_unknown: OnUnknown
) -> list[_Struct | None]:
    """The objects of a JSON array; None takes the place of an object that lacks a required value.

    Raises UpstreamMalformedError for a body that is not a JSON array of objects.
    """
    decode = decoder_of(kind).decode
    rows: list[_Struct | None] = []
    for text in _split_rows(body):
        try:
            check_utf_8(text)
            rows.append(decode(text))
        except (ValueError, RecursionError):
            values = read_values(text, kind, on_unknown)
            is_complete = all(values.get(name, MALFORMED) is not MALFORMED for name in required)
            rows.append(kind(**values) if is_complete else None)
    return rows


def read_values(text: bytes, kind: type[msgspec.Struct], on_unknown: OnUnknown) -> dict[str, Any]:
    """The values of an object by field of the struct, each decoded by itself."""
    members = _split_members(text)
    return {
        field.name: _read_value(members[field.encode_name], field.name, field.type, on_unknown)
        for field in msgspec.structs.fields(kind)
        if field.encode_name in members
    }


def _read_value(text: bytes, name: str, kind: Any, on_unknown: OnUnknown) -> Any:
    try:
        check_utf_8(text)
        value = decoder_of(kind).decode(text)
    except (ValueError, RecursionError):
        accepted = _types_in(kind)
        if int in accepted:
            return _whole_number(text)
        if text[:1] == b'"' and any(isinstance(each, enum.EnumMeta) for each in accepted):
            on_unknown(name, text.decode(errors="replace"))
            return None
        return MALFORMED
    return value


def _whole_number(text: bytes) -> int | Malformed:
    """The integer that a JSON number such as `12.0` or `1e6` means; MALFORMED for anything else."""
    if not _NUMBER.fullmatch(text):
        return MALFORMED
    number = Decimal(text.decode())
    is_whole = number.adjusted() < DIGITS and number == number.to_integral_value()
    return int(number) if is_whole else MALFORMED


@functools.cache
def _types_in(kind: Any) -> frozenset[Any]:
    """The members of a union, and what new types stand for."""
    members = typing.get_args(kind) or (kind,)
    return frozenset(getattr(each, "__supertype__", each) for each in members)


def _split_rows(body: bytes) -> list[bytes]:
    try:
        rows = [bytes(raw) for raw in decoder_of(list[msgspec.Raw]).decode(body)]
    except (ValueError, RecursionError):
        rows = [*_scan_rows(body)]
    if not all(row[:1] == b"{" for row in rows):
        raise UpstreamMalformedError("LangSmith did not answer with a list of sessions.")
    return rows


def _split_members(row: bytes) -> dict[str, bytes]:
    """The members of an object: the JSON of each value by name."""
    try:
        return {name: bytes(raw) for name, raw in decoder_of(dict[str, msgspec.Raw]).decode(row).items()}
    except (ValueError, RecursionError):
        return dict(_scan_members(row))


def _scan_rows(body: bytes) -> Iterator[bytes]:
    """The items of an array. Raises UpstreamMalformedError for anything else."""
    at = _after(body, _after(body, 0), b"[")
    if body[at : at + 1] == b"]":
        _after(body, at, b"]", last=True)
        return
    separator = _row_separator(body, at)
    while True:
        end = _row_end(body, at, separator)
        yield body[at:end]
        at = _after(body, end)
        if body[at : at + 1] == b"]":
            _after(body, at, b"]", last=True)
            return
        at = _after(body, at, b",")


def _row_separator(body: bytes, first: int) -> re.Pattern[bytes] | None:
    """What is between two rows, because all begin with the same name; None if the first row does not tell."""
    name = re.compile(rb"\{[ \t\r\n]*+" + _STRING.pattern, re.DOTALL).match(body, first)
    return name and re.compile(rb"\}[ \t\r\n]*+,[ \t\r\n]*+(?=" + re.escape(name[0]) + rb")")


def _row_end(body: bytes, start: int, separator: re.Pattern[bytes] | None) -> int:
    """The position after the row that starts here.

    The next separator usually ends it. JSON has one end only, so if what is before the separator decodes, it is the
    row. Otherwise the row is broken, or has a separator inside, and its brackets are counted.
    """
    if found := separator and separator.search(body, start):
        end = found.start() + 1
        try:
            decoder_of(msgspec.Raw).decode(memoryview(body)[start:end])
        except (ValueError, RecursionError):
            pass
        else:
            return end
    return _value_end(body, start)


def _scan_members(row: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of an object. A name that cannot be decoded is none that we know, and is left out."""
    at = _after(row, 0, b"{")
    while row[at : at + 1] != b"}":
        name_end = _value_end(row, at)
        start = _after(row, _after(row, name_end), b":")
        end = _value_end(row, start)
        with contextlib.suppress(ValueError):
            yield decoder_of(str).decode(row[at:name_end]), row[start:end]
        at = _after(row, end)
        if row[at : at + 1] == b",":
            at = _after(row, at, b",")


def _value_end(text: bytes, start: int) -> int:
    """The position after the value that starts here. Only strings and brackets are looked at."""
    first = text[start : start + 1]
    if first not in (b"{", b"["):
        found = (_STRING if first == b'"' else _ATOM).match(text, start)
        if found is None:
            raise _not_json_error()
        return found.end()
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[1] in (b"{", b"[") else -1
        if depth == 0:
            return bracket.end()
    raise _not_json_error()


def _after(text: bytes, at: int, expected: bytes = b"", *, last: bool = False) -> int:
    """The position after the expected text and the whitespace that follows it. `last`: nothing else may follow."""
    space = _SPACE.match(text, at + len(expected))
    if text[at : at + len(expected)] != expected or space is None or (last and space.end() != len(text)):
        raise _not_json_error()
    return space.end()


def _not_json_error() -> UpstreamMalformedError:
    return UpstreamMalformedError("LangSmith answered something that is not JSON.")

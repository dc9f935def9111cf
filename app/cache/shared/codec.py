"""Single sessions as bytes for Redis: pure functions. Values that cannot be right are None, as if they were not cached.

Another program may have written anything under a key. What is decoded here is therefore as good as what LangSmith's
answers are decoded to: types, encoding, decimals and times are checked.

A *cell* is what was fetched together of one session: its columns, or some statistics over one window. It is encoded as
a JSON array of values without names, which each session of a page would repeat. Opaque values stay the JSON that
LangSmith sent. Unlike unpickling, decoding JSON runs no code.

`VERSION` is part of every key in Redis. It is derived from the fields and the format, so that no version of the gateway
reads what a version with other fields wrote.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec

from app.sessions.columns import NULL, is_array, is_canonical_uuid
from app.sessions.decoding import MALFORMED, check_utf_8
from app.sessions.feedback import FeedbackMap, FeedbackStat
from app.sessions.fields import FIELDS, Kind
from app.sessions.query import StatsWindow
from app.sessions.row import DECODED, Row, new_row
from app.sessions.scalars import JSON

_FORMAT: Final = "7"
"""Increase it with each change to the keys and values in `redis_records.py` and `scripts.py`, and to the leases."""
COLUMNS: Final = tuple(name for name, field in FIELDS.items() if field.kind is Kind.COLUMN and name != "id")
STATISTICS: Final = tuple(name for name, field in FIELDS.items() if field.kind is not Kind.COLUMN)
VERSION: Final = hashlib.blake2b(
    repr([_FORMAT, COLUMNS, STATISTICS, [repr(DECODED[name]) for name in FIELDS]]).encode(), digest_size=4
).hexdigest()
WINDOW_KEY_LENGTH: Final = 16
_BITS: Final = {name: 1 << number for number, name in enumerate(STATISTICS)}
_MAX_DIGITS: Final = 2 + len(STATISTICS) // 4
_POSITIONS: Final = {str(number).encode(): name for number, name in enumerate(STATISTICS)}
_DECIMAL: Final = re.compile(r"-?[0-9]{1,200}(\.[0-9]{1,200})?")
_NO_STATISTICS: Final = dict.fromkeys(STATISTICS)


def statistics_to_bits(statistics: Iterable[str]) -> int:
    """A set of statistics as a number with one bit for each."""
    return sum(_BITS[name] for name in statistics)


def statistics_from_bits(digits: bytes) -> tuple[str, ...] | None:
    """The statistics of such a number in hexadecimal digits, in the order of `STATISTICS`."""
    return _statistics_from_bits(digits) if len(digits) <= _MAX_DIGITS else None


@functools.lru_cache(maxsize=1000)
def _statistics_from_bits(digits: bytes) -> tuple[str, ...] | None:
    try:
        number = int(digits, 16)
    except ValueError:
        return None
    return tuple(name for name, bit in _BITS.items() if number & bit) if 0 < number < 1 << len(STATISTICS) else None


def statistics_at(positions: Iterable[bytes]) -> frozenset[str]:
    """The statistics at these positions of `STATISTICS`, given in decimal digits. Unknown positions are ignored."""
    return frozenset(_POSITIONS[each] for each in positions if each in _POSITIONS)


def window_key(window: StatsWindow) -> str:
    """A hash of the window, of fixed length."""
    return hashlib.blake2b(repr(window.arguments).encode(), digest_size=WINDOW_KEY_LENGTH // 2).hexdigest()


def encode_cell(row: Row, names: tuple[str, ...]) -> bytes:
    """The values of these fields. Raises ValueError, OverflowError or TypeError for a value that JSON cannot hold."""
    values = [*attrgetter(*names)(row)] if len(names) > 1 else [getattr(row, names[0])]
    for number in _feedback_positions(names):
        if isinstance(values[number], FeedbackMap):
            values[number] = values[number].raw
    malformed = [number for number, value in enumerate(values) if value is MALFORMED]
    for number in malformed:
        values[number] = None
    return msgspec.json.encode([malformed, *values])


def decode_cell(text: bytes, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The values by name. `names` are those that the cell was encoded with."""
    try:
        check_utf_8(text)  # msgspec does not check the encoding of strings inside opaque values
        cell = _decoder(names).decode(text)
        values = dict(zip(names, msgspec.structs.astuple(cell)[1:], strict=True))
        for name in _opaque_names(names):
            if values[name] == NULL:
                values[name] = None
        is_right = all(values[name] is None or check(values[name]) for name, check in _checks(names))
    except (ValueError, RecursionError):
        return None
    if not is_right or not all(0 <= number < len(names) for number in cell.malformed):
        return None
    for number in _feedback_positions(names):
        if (raw := values[names[number]]) is not None:
            values[names[number]] = FeedbackMap(raw)
    return values | {names[number]: MALFORMED for number in cell.malformed}


@dataclass(frozen=True)
class StatsCell:
    """Some statistics of a session by name, and when they were fetched (monotonic seconds)."""

    fetched_at: float
    values: dict[str, Any]


def build_row(session_id: str, columns: dict[str, Any], cells: Sequence[StatsCell]) -> tuple[Row, dict[str, float]]:
    """A session from its cells, with the youngest value of each statistic; and when each statistic was fetched."""
    values: dict[str, Any] = {}
    fetched_at: dict[str, float] = {}
    for cell in sorted(cells, key=lambda each: each.fetched_at):
        values |= cell.values
        fetched_at |= dict.fromkeys(cell.values, cell.fetched_at)
    return new_row(id=session_id, **columns, **(_NO_STATISTICS | values)), fetched_at


@functools.lru_cache(maxsize=1000)
def _feedback_positions(names: tuple[str, ...]) -> list[int]:
    return [number for number, name in enumerate(names) if FIELDS[name].annotation == (list[FeedbackStat] | None)]


@functools.lru_cache(maxsize=1000)
def _opaque_names(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _decoded_as(name) is msgspec.Raw]


def _decoded_as(name: str) -> Any:
    """The type that the field is decoded as in a cell. A row holds a decimal as it is printed."""
    return str | None if FIELDS[name].annotation == (Decimal | None) else DECODED[name]


def _is_decimal(value: str) -> bool:
    return _DECIMAL.fullmatch(value) is not None


def _is_array(value: msgspec.Raw) -> bool:
    return is_array(bytes(value))


def _is_object(value: msgspec.Raw) -> bool:
    return bytes(value)[:1] == b"{"


def _is_uuid(value: str) -> bool:
    return is_canonical_uuid(value) is not None


def _is_utc(value: datetime) -> bool:
    return value.tzinfo is UTC


_CHECKS: Final[dict[Any, Callable[[Any], bool]]] = {
    UUID: _is_uuid,
    UUID | None: _is_uuid,
    Decimal | None: _is_decimal,
    datetime | None: _is_utc,
    list[JSON] | None: _is_array,
    list[FeedbackStat] | None: _is_object,
}


@functools.lru_cache(maxsize=1000)
def _checks(names: tuple[str, ...]) -> list[tuple[str, Callable[[Any], bool]]]:
    """What has to hold for decoded values beyond their type: it holds for every value that was encoded."""
    return [(name, _CHECKS[FIELDS[name].annotation]) for name in names if FIELDS[name].annotation in _CHECKS]


@functools.lru_cache(maxsize=1000)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [("malformed", list[int])]
    for name in names:
        kind = _decoded_as(name)
        if name == "tenant_id":  # a row without it is dropped when it arrives, so that no cell lacks it
            fields.append((name, kind))
        else:
            fields.append((name, kind, NULL if kind is msgspec.Raw else None))
    return msgspec.json.Decoder(msgspec.defstruct("StatsCell", fields, array_like=True, forbid_unknown_fields=True))

"""Sessions as the text that Redis holds: values, without I/O; compact, and nothing that could be run.

A *cell* is what was asked for together of one session: its columns, or some statistics over one window. It is a JSON
array of values, without names; what is opaque stays the text that LangSmith sent. `VERSION`, which belongs into every
key, changes with the fields and the form, so that no version reads what another one wrote. What cannot be read is
None, as if it were not there.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final

import msgspec

from app.sessions.decoding import MALFORMED, NULL, is_null
from app.sessions.feedback import as_sent
from app.sessions.fields import FIELDS, Kind
from app.sessions.page import Page
from app.sessions.query import StatsWindow
from app.sessions.row import DECODED, Row, new_row

_FORM: Final = "1"
COLUMNS: Final = tuple(name for name, field in FIELDS.items() if field.kind is Kind.COLUMN and name != "id")
STATISTICS: Final = tuple(name for name, field in FIELDS.items() if field.kind is not Kind.COLUMN)
VERSION: Final = hashlib.blake2b(
    repr([_FORM, COLUMNS, STATISTICS, [repr(DECODED[name]) for name in FIELDS]]).encode(), digest_size=4
).hexdigest()
_BITS: Final = {name: 1 << number for number, name in enumerate(STATISTICS)}


def as_bits(statistics: Iterable[str]) -> int:
    return sum(_BITS[name] for name in statistics)


@functools.lru_cache(maxsize=1000)
def names_from(bits: bytes) -> tuple[str, ...] | None:
    """From their hexadecimal digits, in order."""
    try:
        number = int(bits, 16)
    except ValueError:
        return None
    return tuple(name for name, bit in _BITS.items() if number & bit) if 0 < number < 1 << len(STATISTICS) else None


def numbered(numbers: Iterable[bytes]) -> frozenset[str]:
    """From their places, as decimal digits."""
    names = {str(number).encode(): name for number, name in enumerate(STATISTICS)}
    return frozenset(names[each] for each in numbers if each in names)


WINDOW_KEY_LENGTH: Final = 16


@functools.lru_cache(maxsize=1000)
def window_key(window: StatsWindow) -> str:
    return hashlib.blake2b(repr(window.arguments).encode(), digest_size=WINDOW_KEY_LENGTH // 2).hexdigest()


class PageRecord(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Which sessions a page has, in order; None stands for one that was left out."""

    limit: int
    ids: tuple[str | None, ...]


def page_text(page: Page) -> bytes:
    return msgspec.json.encode(PageRecord(page.limit, tuple(row.id if row else None for row in page.rows)))


def page_from(text: bytes) -> PageRecord | None:
    try:
        return msgspec.json.decode(text, type=PageRecord)
    except ValueError:
        return None


def cell_text(row: Row, names: tuple[str, ...]) -> bytes:
    """Raises ValueError, OverflowError or TypeError where a value cannot be written."""
    values = (
        [_plain(value) for value in attrgetter(*names)(row)] if len(names) > 1 else [_plain(getattr(row, names[0]))]
    )
    odd = [number for number, value in enumerate(values) if value is MALFORMED]
    for number in odd:
        values[number] = None
    return msgspec.json.encode([odd, *values])


def cell_from(text: bytes, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The values by name."""
    try:
        cell = _reader(names).decode(text)
    except (ValueError, RecursionError):
        return None
    values = {name: _read(getattr(cell, name)) for name in names}
    if not all(0 <= number < len(names) for number in cell.odd):
        return None
    return values | {names[number]: MALFORMED for number in cell.odd}


@dataclass(frozen=True)
class StatsCell:
    """Some statistics of a session, and when they were asked for."""

    fetched_at: float
    values: dict[str, Any]


def session_row(session_id: str, columns: dict[str, Any], cells: Sequence[StatsCell]) -> tuple[Row, dict[str, float]]:
    """A session of all these cells, the youngest value of each statistic, and when each was asked for."""
    values: dict[str, Any] = {}
    asked_at: dict[str, float] = {}
    for cell in sorted(cells, key=lambda each: each.fetched_at):
        values |= cell.values
        asked_at |= dict.fromkeys(cell.values, cell.fetched_at)
    return new_row(id=session_id, **columns, **(_UNKNOWN | values)), asked_at


_UNKNOWN: Final = dict.fromkeys(STATISTICS)


def _plain(value: Any) -> Any:
    return as_sent(value) if isinstance(value, dict) else value


def _read(value: Any) -> Any:
    return None if isinstance(value, msgspec.Raw) and is_null(value) else value


@functools.lru_cache(maxsize=1000)
def _reader(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [("odd", list[int])]
    for name in names:
        kind = DECODED[name]
        if kind == Decimal | None:  # printed already
            kind = str | None
        if name == "tenant_id":
            fields.append((name, kind))
        else:
            fields.append((name, kind, NULL if kind is msgspec.Raw else None))
    return msgspec.json.Decoder(msgspec.defstruct("StatsCell", fields, array_like=True, forbid_unknown_fields=True))

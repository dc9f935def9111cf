"""The values of the records in Redis, as they are read. Values that cannot be right count as not cached.

Another program may have written anything under a key, and a value may come from another key. See `redis_records.py` for
the form of a value.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.cache.shared import codec
from app.cache.shared.codec import StatsCell
from app.cache.shared.page_bodies import PageBody, parse_body
from app.resilience.clock import Clocks
from app.sessions.page import Page, WindowStats
from app.sessions.query import StatsWindow

COLUMNS_FIELD: Final = b"columns"
MAX_SKEW_SECONDS: Final = 1.0
"""Times that are further in the future were not written by the gateway, or by a host whose clock is wrong."""
_SELECTED: Final = "selected"
_VALUE: Final = re.compile(rb"\d{1,16} (\d{1,16}) (.*)", re.DOTALL)
_MARK_LENGTH: Final = 9


@dataclass(frozen=True)
class Record:
    """A value that can be read. `fetched_at` is in monotonic seconds of this process."""

    fetched_at: float
    body: bytes


class RecordReader:
    """Reads values. `clocks`: monotonic and wall clock."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks

    def record(self, value: bytes | None, newer_than: float | None, mark: bytes = b"") -> Record | None:
        """The record in a value; None if it cannot be read, lacks the mark, or was fetched at that time or earlier."""
        found = _VALUE.fullmatch(value) if value else None
        latest = self._clocks.now_as_micros() + MAX_SKEW_SECONDS * 1e6
        if found is None or not found[2].startswith(mark) or int(found[1]) > latest:
            return None
        fetched_at = self._clocks.from_micros(int(found[1]))
        return Record(fetched_at, found[2][len(mark) :]) if newer_than is None or fetched_at > newer_than else None

    def body(
        self, key: str, name: bytes, value: bytes, window: StatsWindow, newer_than: float | None
    ) -> PageBody | None:
        """A body in the hash of a page. Only the columns of one that was fetched over another window count."""
        record = self.record(value, newer_than)
        text = record.body[_MARK_LENGTH:] if record else b""
        if record is None or not record.body.startswith(mark(key, name, text)):
            return None
        is_of_window = name.startswith(codec.window_key(window).encode())
        names = codec.statistics_from_bits(name[codec.WINDOW_KEY_LENGTH :]) if is_of_window else ()
        return None if names is None else parse_body(text, record.fetched_at, names)

    def session(
        self,
        key: str,
        session_id: str,
        values: Mapping[bytes, bytes],
        window: StatsWindow,
        newer_than: float | None,
    ) -> Page | None:
        """A session in its hash, as a page of one row, or of none if LangSmith does not know it."""
        columns = self.record(values.get(COLUMNS_FIELD), newer_than, mark(key, COLUMNS_FIELD))
        if columns is None:
            return None
        if not columns.body:
            return Page(rows=(), limit=1, fetched_at=columns.fetched_at)
        decoded = codec.decode_cell(columns.body, codec.COLUMNS)
        if decoded is None:
            return None
        cells: list[StatsCell] = []
        for name, value in values.items():
            record = self.record(value, newer_than, mark(key, name)) if name != COLUMNS_FIELD else None
            names = codec.statistics_from_bits(name[codec.WINDOW_KEY_LENGTH :]) if record else None
            cell = codec.decode_cell(record.body, names) if record and names else None
            if record and cell is not None:
                cells.append(StatsCell(record.fetched_at, cell))
        row, fetched_at = codec.build_row(session_id, decoded, cells)
        return Page(
            rows=(row,),
            limit=1,
            fetched_at=columns.fetched_at,
            stats_by_window={window: WindowStats((row,), fetched_at)} if fetched_at else {},
            body_bytes=sum(map(len, values.values())),
        )

    def selected_statistics(self, fields: Iterable[tuple[bytes, bytes]], since: float) -> frozenset[str]:
        """The statistics that were selected after that time, among the fields of a hash."""
        selected = ((name.rpartition(_SELECTED.encode())[2], self.record(value, since)) for name, value in fields)
        return codec.statistics_at(position for position, record in selected if record)


def mark(key: str, field: bytes = b"", *body: bytes) -> bytes:
    """What the body of a value begins with: a checksum of the place that it was written to, and of what is in it."""
    checksum = zlib.crc32(key.encode())
    for part in (field, *body):
        checksum = zlib.crc32(part, checksum)
    return b"%08x " % checksum


def selection_fields(prefix: str, statistics: Iterable[str]) -> list[str]:
    """The fields of selected statistics. `prefix`: see `redis_records.py`."""
    return [f"{prefix}{_SELECTED}{codec.STATISTICS.index(name)}" for name in sorted(statistics)]


def statistics_field(page: Page, window: StatsWindow) -> str:
    """The field of what a page knows over a window; empty if it knows no statistics."""
    stats = page.stats_by_window.get(window)
    bits = codec.statistics_to_bits(stats.fetched_at) if stats else 0
    return f"{codec.window_key(window)}{bits:x}" if bits else ""

"""Pages and sessions in Redis: their values, written and read by the scripts in `scripts.py`. Keys: `redis_keys.py`.

A page refers to its sessions, so that every page that shows a session finds the statistics that were fetched for
another one. An answer without statistics is another record of the same page: if it is shorter, it does not cost those
who need statistics theirs. The hash of a session has the field `columns`, and `<window><bits>` for the statistics that
were fetched together; `<window>selected<position>` for those that were selected lately.

A value is `<token> <fetched at> <mark> <body>`:

- the fencing token of the lease (see `leases.py`)
- microseconds since the epoch by the wall clock, on which processes have to agree
- a checksum of the key and the field, by which a value that was copied from another place is found out
- what `codec.py` encodes; empty in `columns` if LangSmith does not know the session

A selection is `0 <selected at> ` only, and `dropped` is microseconds only.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from app.cache.prefetch import MAX_REMEMBERED_IDS
from app.cache.shared import codec
from app.cache.shared.codec import PageRecord, StatsCell
from app.cache.shared.leases import ScriptRunner
from app.cache.shared.redis_keys import KeyKind, redis_key
from app.cache.shared.scripts import (
    DELETE_SCRIPT,
    DROP_SCOPE_SCRIPT,
    READ_PAGE_SCRIPT,
    READ_SESSIONS_SCRIPT,
    RECORD_SELECTION_SCRIPT,
    WRITE_SCRIPT,
)
from app.redis.connection import KEY_PREFIX
from app.resilience.clock import Clocks
from app.sessions.page import Page, WindowStats
from app.sessions.query import PageQuery, StatsWindow
from app.sessions.row import Row

RECORDS_PREFIX: Final = f"{KEY_PREFIX}{codec.VERSION}:"
CLOCK_TOLERANCE_SECONDS: Final = 0.001
"""Times that differ by no more than this are equal. They were converted between two clocks, and rounded."""
_MAX_SKEW_SECONDS: Final = 1.0
"""Times that are further in the future were not written by the gateway, or by a host whose clock is wrong."""
_VALUE: Final = re.compile(rb"\d{1,16} (\d{1,16}) (.*)", re.DOTALL)
_COLUMNS: Final = b"columns"
_SELECTED: Final = "selected"


@dataclass(frozen=True)
class SharedPage:
    """A page that another process fetched, and its statistics that clients of any process selected lately."""

    page: Page | None
    recent_statistics: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SharedSessions:
    """Sessions by id, each as a page of its own, and their statistics that clients selected lately."""

    pages: Mapping[str, Page]
    recent_statistics: frozenset[str] = frozenset()


class RedisRecords:
    """Reads and writes the records. All methods raise RedisUnavailableError.

    - `redis`, `clocks`: the connection; monotonic and wall clock.
    - `lifetime_seconds`: after which a record expires.
    - `selection_seconds`: for which a selection is remembered.
    - `on_scope_dropped`: called if another process has dropped a scope, with the scope and the time (monotonic seconds)
      before which what was fetched no longer counts.
    """

    def __init__(
        self,
        redis: ScriptRunner,
        clocks: Clocks,
        *,
        lifetime_seconds: float,
        selection_seconds: float,
        on_scope_dropped: Callable[[str, float], None],
    ) -> None:
        self._redis = redis
        self._clocks = clocks
        self._lifetime_ms = round(lifetime_seconds * 1000)
        self._selection_seconds = selection_seconds
        self._on_scope_dropped = on_scope_dropped

    async def read_page(self, scope: str, query: PageQuery, newer_than: float) -> SharedPage:
        """The page with the statistics of the query's window, if it was fetched after `newer_than` (monotonic)."""
        page_keys = [self._key(scope, kind, digest=query.digest) for kind in (KeyKind.PAGE, KeyKind.COLUMNS_PAGE)]
        keys = [self._key(scope, KeyKind.DROPPED), *page_keys, self._selection_key(scope, query)]
        values: Any = await self._redis.script(READ_PAGE_SCRIPT, keys, [])
        dropped_at = self._dropped_at(scope, values[0])
        selected = dict(zip(values[3][::2], values[3][1::2], strict=True))
        records = [self._record(values[1 + each], dropped_at, _mark(key)) for each, key in enumerate(page_keys)]
        page = await self._page(scope, query, _latest_page(records, query.limit), newer_than)
        return SharedPage(page, self._recent_statistics(selected.items()))

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those of the sessions that are in Redis, with their statistics over the window."""
        keys = [self._key(scope, KeyKind.DROPPED), *(self._session_key(scope, each) for each in ids)]
        found: Any = await self._redis.script(READ_SESSIONS_SCRIPT, keys, [codec.window_key(window)])
        dropped_at = self._dropped_at(scope, found[0])
        pages, recent_statistics = {}, frozenset[str]()
        for session_id, values in zip(ids, found[1:], strict=True):
            fields = dict(zip(values[::2], values[1::2], strict=True))
            if page := self._session(scope, session_id, fields, window, dropped_at):
                pages[session_id] = page
            if len(ids) <= MAX_REMEMBERED_IDS:
                recent_statistics |= self._recent_statistics(fields.items())
        return SharedSessions(pages, recent_statistics)

    async def write(
        self,
        scope: str,
        page: Page,
        window: StatsWindow,
        token: int,
        *,
        query: PageQuery | None = None,
        requested_ids: Sequence[str] = (),
    ) -> None:
        """Writes an answer of LangSmith: the page of `query`, or the sessions of `requested_ids`.

        A requested session that is not in the answer is recorded as not existing. `token` is the fencing token
        of the lease under which the answer was fetched.
        """
        if page.dropped_rows and query:
            return  # each process reports the rows itself
        stats = page.stats_by_window.get(window)
        names = tuple(name for name in codec.STATISTICS if stats and name in stats.fetched_at)
        field = f"{codec.window_key(window)}{codec.statistics_to_bits(names):x}" if names else ""
        # The script expects the key of a page. Without a page it never writes it.
        keys = [self._page_key(scope, query) if query else self._key(scope, KeyKind.PAGE, digest="none")]
        args: list[bytes | str | int] = [
            token,
            self._lifetime_ms,
            self._clocks.as_micros(page.fetched_at),
            self._clocks.now_as_micros() + round(_MAX_SKEW_SECONDS * 1e6),
            _mark(keys[0]) + codec.encode_page(page) if query else b"",
            field,
        ]
        try:
            for row in page.rows_in(window):
                if row is not None:
                    keys.append(key := self._session_key(scope, row.id))
                    args.append(_mark(key, _COLUMNS) + codec.encode_cell(row, codec.COLUMNS))
                    args.append(_mark(key, field.encode()) + codec.encode_cell(row, names) if names else b"")
        except (ValueError, TypeError, OverflowError):
            return  # other processes could not read this answer, and fetch it themselves
        if not page.dropped_rows:
            for session_id in {*requested_ids} - {row.id for row in page.rows if row}:
                keys.append(key := self._session_key(scope, session_id))
                args += [_mark(key, _COLUMNS), b""]
        await self._redis.script(WRITE_SCRIPT, keys, args)

    async def record_page_selection(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        """Records that a client selected these statistics of a page now."""
        await self._record_selection([self._selection_key(scope, query)], "", statistics)

    async def record_session_selections(
        self, scope: str, ids: Iterable[str], window: StatsWindow, statistics: frozenset[str]
    ) -> None:
        """Records that a client selected these statistics of some sessions now."""
        keys = [self._session_key(scope, each) for each in ids]
        await self._record_selection(keys, codec.window_key(window), statistics)

    async def drop_scope(self, scope: str) -> None:
        """Invalidates all that was fetched for a credential scope, in all processes."""
        now = self._clocks.now_as_micros()
        await self._redis.script(DROP_SCOPE_SCRIPT, [self._key(scope, KeyKind.DROPPED)], [now, self._lifetime_ms])

    async def delete(self, scope: str, query: PageQuery) -> None:
        """Deletes a page, and the sessions that its query names by id."""
        pages = [self._key(scope, kind, digest=query.digest) for kind in (KeyKind.PAGE, KeyKind.COLUMNS_PAGE)]
        keys = [*pages, *(self._session_key(scope, each) for each in query.ids)]
        await self._redis.script(DELETE_SCRIPT, keys, [])

    async def _record_selection(self, keys: list[str], prefix: str, statistics: frozenset[str]) -> None:
        fields = [f"{prefix}{_SELECTED}{codec.STATISTICS.index(name)}" for name in sorted(statistics)]
        lifetime_ms = round(self._selection_seconds * 1000)
        args: list[bytes | str | int] = [lifetime_ms, f"0 {self._clocks.now_as_micros()} ", *fields]
        await self._redis.script(RECORD_SELECTION_SCRIPT, keys, args)

    def _recent_statistics(self, fields: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
        since = self._clocks.monotonic() - self._selection_seconds
        selected = ((name.rpartition(_SELECTED.encode())[2], self._record(value, since)) for name, value in fields)
        return codec.statistics_at(position for position, record in selected if record)

    async def _page(
        self, scope: str, query: PageQuery, found: "tuple[float, PageRecord] | None", newer_than: float
    ) -> Page | None:
        if found is None or found[0] <= newer_than + CLOCK_TOLERANCE_SECONDS:
            return None
        fetched_at, page = found
        sessions = (await self.read_sessions(scope, page.ids, query.window)).pages
        rows = [sessions[each].rows[0] if each in sessions and sessions[each].rows else None for each in page.ids]
        if None in rows:
            return None  # a session of the page is missing
        built = _build_page(rows, [*sessions.values()], page.limit, query.window, fetched_at)
        return replace(built, has_more=page.has_more)

    def _session(
        self,
        scope: str,
        session_id: str,
        values: Mapping[bytes, bytes],
        window: StatsWindow,
        dropped_at: float | None,
    ) -> Page | None:
        key = self._session_key(scope, session_id)
        columns = self._record(values.get(_COLUMNS), dropped_at, _mark(key, _COLUMNS))
        if columns is None:
            return None
        if not columns.body:
            return Page(rows=(), limit=1, fetched_at=columns.fetched_at)
        decoded = codec.decode_cell(columns.body, codec.COLUMNS)
        if decoded is None:
            return None
        cells: list[StatsCell] = []
        for name, value in values.items():
            record = self._record(value, dropped_at, _mark(key, name)) if name != _COLUMNS else None
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

    def _dropped_at(self, scope: str, value: bytes | None) -> float | None:
        """When the scope was dropped. Drops it in this process too."""
        # A time in the future would hide all that is fetched until then.
        record = self._record(b"0 %s " % value, None) if value else None
        if record is None:
            return None
        dropped_at = record.fetched_at
        self._on_scope_dropped(scope, dropped_at)
        return dropped_at

    def _record(self, value: bytes | None, newer_than: float | None, mark: bytes = b"") -> "_Record | None":
        """The record in a value; None if it cannot be read, lacks the mark, or was fetched at that time or earlier."""
        found = _VALUE.fullmatch(value) if value else None
        latest = self._clocks.now_as_micros() + _MAX_SKEW_SECONDS * 1e6
        if found is None or not found[2].startswith(mark) or int(found[1]) > latest:
            return None
        fetched_at = self._clocks.from_micros(int(found[1]))
        return _Record(fetched_at, found[2][len(mark) :]) if newer_than is None or fetched_at > newer_than else None

    def _page_key(self, scope: str, query: PageQuery) -> str:
        kind = KeyKind.PAGE if query.computes_statistics else KeyKind.COLUMNS_PAGE
        return self._key(scope, kind, digest=query.digest)

    def _session_key(self, scope: str, session_id: str) -> str:
        return self._key(scope, KeyKind.SESSION, id=session_id)

    def _selection_key(self, scope: str, query: PageQuery) -> str:
        return self._key(scope, KeyKind.SELECTION, digest=query.digest, window=codec.window_key(query.window))

    def _key(self, scope: str, kind: KeyKind, **parts: str) -> str:
        return redis_key(RECORDS_PREFIX, scope, kind, **parts)


@dataclass(frozen=True)
class _Record:
    """`fetched_at` is in monotonic seconds of this process."""

    fetched_at: float
    body: bytes


def _mark(key: str, field: bytes = b"") -> bytes:
    """What the body of a value begins with: a checksum of the place that it was written to."""
    return b"%08x " % zlib.crc32(field, zlib.crc32(key.encode()))


def _latest_page(records: Iterable[_Record | None], limit: int) -> tuple[float, PageRecord] | None:
    """The page that was fetched last, with its time; None if there is no page.

    One that has the rows of that limit goes before one that lacks some.
    """
    pages = [(each.fetched_at, page) for each in records if each and (page := codec.decode_page(each.body))]
    return max(pages, key=lambda each: (each[1].holds_rows(limit), each[0]), default=None)


def _build_page(
    rows: Sequence[Row | None], sessions: Sequence[Page], limit: int, window: StatsWindow, fetched_at: float
) -> Page:
    """A page from its sessions. It has the statistics that all of them have, each as old as the oldest value."""
    all_fetched = [stats.fetched_at if (stats := page.stats_by_window.get(window)) else {} for page in sessions]
    names = set(all_fetched[0]).intersection(*all_fetched) if all_fetched else ()
    oldest = {name: min(fetched[name] for fetched in all_fetched) for name in names}
    return Page(
        rows=tuple(rows),
        limit=limit,
        fetched_at=fetched_at,
        stats_by_window={window: WindowStats(tuple(rows), oldest)} if oldest else {},
        body_bytes=sum(page.body_bytes for page in sessions),
    )

"""Pages and sessions in Redis: their values, written and read by the scripts in `scripts.py`. Keys: `redis_keys.py`.

The hash of a page has a field for each answer about the page that is of use: `<window><bits>` with the statistics that
were fetched together, and `columns` for an answer without statistics. If an answer without statistics is shorter, it
does not cost those who need statistics theirs. The hash of a session that was looked up by id has the same fields, and
`<window>selected<position>` for statistics that were selected lately. A page and its sessions do not refer to each
other: who finds a page without a statistic looks its sessions up, and finds there what was fetched for them.

A value is `<token> <fetched at> <mark> <body>`:

- the fencing token of the lease (see `leases.py`)
- microseconds since the epoch by the wall clock, on which processes have to agree
- a checksum of the key and the field, and of the body of a page, by which a value that was copied from another place or
  damaged is found out
- what `page_bodies.py` or `codec.py` encodes; empty in `columns` if LangSmith does not know the session

A selection is `0 <selected at> ` only, and `dropped` is microseconds only.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.cache.prefetch import MAX_REMEMBERED_IDS
from app.cache.shared import codec
from app.cache.shared.lease_values import AcquireCall, Lease, ReleaseCall
from app.cache.shared.leases import ScriptRunner
from app.cache.shared.page_bodies import encode_page, pages_of
from app.cache.shared.record_values import (
    COLUMNS_FIELD,
    MAX_SKEW_SECONDS,
    RecordReader,
    mark,
    selection_fields,
    statistics_field,
)
from app.cache.shared.redis_keys import KeyKind, redis_key
from app.cache.shared.scripts import (
    DELETE_SCRIPT,
    DROP_SCOPE_SCRIPT,
    READ_PAGE_SCRIPT,
    READ_SESSIONS_SCRIPT,
    RECORD_SELECTION_SCRIPT,
    WRITE_PAGE_SCRIPT,
    WRITE_SESSIONS_SCRIPT,
)
from app.redis.connection import KEY_PREFIX
from app.resilience.clock import Clocks
from app.sessions.page import Page
from app.sessions.query import PageQuery, StatsWindow

RECORDS_PREFIX: Final = f"{KEY_PREFIX}{codec.VERSION}:"
CLOCK_TOLERANCE_SECONDS: Final = 0.001
"""Times that differ by no more than this are equal. They were converted between two clocks, and rounded."""


@dataclass(frozen=True)
class SharedPage:
    """A page that another process fetched, and its statistics that clients of any process selected lately.

    - `others`: older answers about the page that know some statistics better.
    - `lease`: acquired by the same command because there is no such page. The reader has to use or release it.
    """

    page: Page | None
    others: tuple[Page, ...] = ()
    recent_statistics: frozenset[str] = frozenset()
    lease: Lease | None = None


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
        self._values = RecordReader(clocks)
        self._lifetime_ms = round(lifetime_seconds * 1000)
        self._selection_seconds = selection_seconds
        self._on_scope_dropped = on_scope_dropped

    async def read_page(
        self, scope: str, query: PageQuery, newer_than: float, acquire: AcquireCall | None = None
    ) -> SharedPage:
        """The page with the statistics of the query's window, if it was fetched after `newer_than` (monotonic).

        `acquire`: the lease to acquire if Redis has no such page.
        """
        # The script expects the keys of a lease. Without an owner it does not use them.
        lease_keys = acquire.keys if acquire else [self._key(scope, KeyKind.DROPPED)] * 2
        page_key = self._key(scope, KeyKind.PAGE, digest=query.digest)
        keys = [self._key(scope, KeyKind.DROPPED), page_key, self._selection_key(scope, query), *lease_keys]
        since = self._clocks.as_micros(newer_than + CLOCK_TOLERANCE_SECONDS) if newer_than > -math.inf else 0
        args = [codec.window_key(query.window), since, *(acquire.args if acquire else (0, "", ""))]
        values: Any = await self._redis.script(READ_PAGE_SCRIPT, keys, args)
        dropped_at = self._dropped_at(scope, values[0])
        selected, fields = (zip(each[::2], each[1::2], strict=True) for each in values[1:3])
        bodies = (self._values.body(page_key, name, value, query.window, dropped_at) for name, value in fields)
        pages = pages_of(filter(None, bodies), query.limit, query.window)
        if pages and pages[0].fetched_at <= newer_than + CLOCK_TOLERANCE_SECONDS:
            pages = []
        lease = acquire.lease(values[3]) if acquire else None
        return SharedPage(pages[0] if pages else None, (*pages[1:],), self._recent_statistics(selected), lease)

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those of the sessions that are in Redis, with their statistics over the window."""
        keys = [self._key(scope, KeyKind.DROPPED), *(self._session_key(scope, each) for each in ids)]
        found: Any = await self._redis.script(READ_SESSIONS_SCRIPT, keys, [codec.window_key(window)])
        dropped_at = self._dropped_at(scope, found[0])
        pages, recent_statistics = {}, frozenset[str]()
        for session_id, key, values in zip(ids, keys[1:], found[1:], strict=True):
            fields = dict(zip(values[::2], values[1::2], strict=True))
            if page := self._values.session(key, session_id, fields, window, dropped_at):
                pages[session_id] = page
            if len(ids) <= MAX_REMEMBERED_IDS:
                recent_statistics |= self._recent_statistics(fields.items())
        return SharedSessions(pages, recent_statistics)

    async def write_page(
        self, scope: str, page: Page, query: PageQuery, token: int, selected: frozenset[str], release: ReleaseCall
    ) -> bool:
        """Writes LangSmith's answer to a query, and releases the leases. False if other processes cannot use it.

        `token` is the fencing token of the lease under which the answer was fetched. `selected`: the statistics of the
        page that clients selected now.
        """
        if page.dropped_rows:
            return False  # each process reports the rows itself
        try:
            head, rows = encode_page(page, query.window)
        except (ValueError, TypeError, OverflowError):
            return False  # other processes could not read this answer, and fetch it themselves
        key = self._key(scope, KeyKind.PAGE, digest=query.digest)
        field = statistics_field(page, query.window) if query.computes_statistics else ""
        args: list[bytes | str | int] = [
            *self._head(page, token),
            field or COLUMNS_FIELD,
            mark(key, field.encode() or COLUMNS_FIELD, head, rows) + head,
            rows,  # on its own, because copying it takes long
            codec.WINDOW_KEY_LENGTH if field else 0,
            round(self._selection_seconds * 1000),
            self._selection_value(),
            *release.args,
            *selection_fields("", selected),
        ]
        await self._redis.script(WRITE_PAGE_SCRIPT, [key, self._selection_key(scope, query), *release.keys], args)
        return True

    async def write_sessions(
        self,
        scope: str,
        page: Page,
        window: StatsWindow,
        token: int,
        requested_ids: Sequence[str],
        release: ReleaseCall,
    ) -> bool:
        """Writes LangSmith's answer to a lookup by id, and releases the leases. False if others cannot use it.

        A requested session that is not in the answer is recorded as not existing. `token`: see `write_page`.
        """
        field = statistics_field(page, window)
        names = codec.statistics_from_bits(field[codec.WINDOW_KEY_LENGTH :].encode()) if field else None
        keys: list[str] = []
        cells: list[bytes | str | int] = []
        try:
            for row in page.rows_in(window):
                if row is not None:
                    keys.append(key := self._session_key(scope, row.id))
                    cells.append(mark(key, COLUMNS_FIELD) + codec.encode_cell(row, codec.COLUMNS))
                    cells.append(mark(key, field.encode()) + codec.encode_cell(row, names) if names else b"")
        except (ValueError, TypeError, OverflowError):
            return False  # other processes could not read this answer, and fetch it themselves
        if not page.dropped_rows:
            for session_id in {*requested_ids} - {row.id for row in page.rows if row}:
                keys.append(key := self._session_key(scope, session_id))
                cells += [mark(key, COLUMNS_FIELD), b""]
        args = [*self._head(page, token), field, len(keys), *release.args, *cells]
        await self._redis.script(WRITE_SESSIONS_SCRIPT, [*keys, *release.keys], args)
        return True

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
        page = self._key(scope, KeyKind.PAGE, digest=query.digest)
        keys = [page, *(self._session_key(scope, each) for each in query.ids)]
        await self._redis.script(DELETE_SCRIPT, keys, [])

    async def _record_selection(self, keys: list[str], prefix: str, statistics: frozenset[str]) -> None:
        lifetime_ms, fields = round(self._selection_seconds * 1000), selection_fields(prefix, statistics)
        await self._redis.script(RECORD_SELECTION_SCRIPT, keys, [lifetime_ms, self._selection_value(), *fields])

    def _recent_statistics(self, fields: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
        return self._values.selected_statistics(fields, self._clocks.monotonic() - self._selection_seconds)

    def _selection_value(self) -> str:
        return f"0 {self._clocks.now_as_micros()} "

    def _head(self, page: Page, token: int) -> tuple[int, int, int, int]:
        """The first arguments of a script that writes: see `scripts.py`."""
        latest = self._clocks.now_as_micros() + round(MAX_SKEW_SECONDS * 1e6)
        return token, self._lifetime_ms, self._clocks.as_micros(page.fetched_at), latest

    def _dropped_at(self, scope: str, value: bytes | None) -> float | None:
        """When the scope was dropped. Drops it in this process too."""
        # A time in the future would hide all that is fetched until then.
        record = self._values.record(b"0 %s " % value, None) if value else None
        if record is None:
            return None
        dropped_at = record.fetched_at
        self._on_scope_dropped(scope, dropped_at)
        return dropped_at

    def _session_key(self, scope: str, session_id: str) -> str:
        return self._key(scope, KeyKind.SESSION, id=session_id)

    def _selection_key(self, scope: str, query: PageQuery) -> str:
        return self._key(scope, KeyKind.SELECTION, digest=query.digest, window=codec.window_key(query.window))

    def _key(self, scope: str, kind: KeyKind, **parts: str) -> str:
        return redis_key(RECORDS_PREFIX, scope, kind, **parts)

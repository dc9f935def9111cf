"""Pages and sessions as a Redis holds them, read and written.

A page is held there as the sessions it has, in order; a session as a hash of its columns and of the statistics that
were asked for together, so that every page that needs a cell finds it. Times are of the wall clock, which hosts are
supposed to keep; all keys of a credential carry its scope as their hash tag, and expire.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.cache.prefetch import MAX_REMEMBERED_IDS
from app.cache.shared import codec
from app.cache.shared.codec import StatsCell
from app.cache.shared.leases import ScriptRunner
from app.redis.connection import KEY_PREFIX
from app.resilience.clock import Clocks
from app.sessions.page import Page, WindowStats
from app.sessions.query import PageQuery, StatsWindow
from app.sessions.row import Row

RECORDS_PREFIX: Final = f"{KEY_PREFIX}{codec.VERSION}:"
SLACK: Final = 0.001
"""Seconds within which two times are the same: they have passed through two clocks."""
_COLUMNS: Final = b"columns"
_WANTED: Final = "wanted"


@dataclass(frozen=True)
class SharedPage:
    """`wanted`: statistics of the page that were wanted lately, wherever."""

    page: Page | None
    recent_statistics: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SharedSessions:
    pages: Mapping[str, Page]
    recent_statistics: frozenset[str] = frozenset()


class RedisRecords:
    """`lifetime`: seconds that a record is of use; `remembers`: that it is known what was wanted.

    `forgets` is told that nothing of a scope counts that was asked for before that time (monotonic). All raise Away.
    """

    def __init__(
        self,
        redis: ScriptRunner,
        clocks: Clocks,
        *,
        lifetime: float,
        remembers: float,
        forgets: Callable[[str, float], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._clocks = clocks
        self._lifetime_ms = round(lifetime * 1000)
        self._remembers = remembers
        self._forgets = forgets

    async def read_page(self, scope: str, query: PageQuery, newer_than: float) -> SharedPage:
        """That page with the statistics of the query's window, if one is there that was asked for after that time."""
        keys = [self._key(scope, "forgotten"), self._page_key(scope, query), self._wanted_key(scope, query)]
        found: Any = await self._redis.script(_PAGE, keys, [])
        forgotten = await self._forgotten(scope, found[0])
        lately = dict(zip(found[2][::2], found[2][1::2], strict=True))
        return SharedPage(
            await self._page(scope, query, self._value(found[1], forgotten), newer_than),
            self._lately(lately.items()),
        )

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those that are there, each as a page of its own, with the statistics over that window."""
        prefix = codec.window_key(window)
        keys = [self._key(scope, "forgotten"), *(self._key(scope, f"session:{each}") for each in ids)]
        found: Any = await self._redis.script(_READ, keys, [prefix])
        forgotten = await self._forgotten(scope, found[0])
        pages, lately = {}, frozenset[str]()
        for session_id, values in zip(ids, found[1:], strict=True):
            fields = dict(zip(values[::2], values[1::2], strict=True))
            if page := self._single(session_id, fields, window, forgotten):
                pages[session_id] = page
            if len(ids) <= MAX_REMEMBERED_IDS:
                lately |= self._lately(fields.items())
        return SharedSessions(pages, lately)

    async def write(
        self,
        scope: str,
        page: Page,
        window: StatsWindow,
        token: int,
        *,
        of: PageQuery | None = None,
        asked_for: Sequence[str] = (),
    ) -> None:
        """What LangSmith answered, `of` a page or for ids that were `asked_for`: those that it lacks do not exist."""
        known = page.stats_by_window.get(window)
        names = tuple(name for name in codec.STATISTICS if known and name in known.fetched_at)
        field = f"{codec.window_key(window)}{codec.as_bits(names):x}" if names else ""
        keys = [self._page_key(scope, of) if of else self._key(scope, "none")]
        args: list[bytes | str | int] = [
            token,
            self._lifetime_ms,
            self._clocks.as_micros(page.fetched_at),
            codec.page_text(page) if of else b"",
            field,
        ]
        try:
            for row in page.rows_in(window):
                if row is not None:
                    keys.append(self._key(scope, f"session:{row.id}"))
                    args += [codec.cell_text(row, codec.COLUMNS), codec.cell_text(row, names) if names else b""]
        except (ValueError, TypeError, OverflowError):
            return  # no value of which another process could read what it is
        if not page.dropped_rows:
            for session_id in {*asked_for} - {row.id for row in page.rows if row}:
                keys.append(self._key(scope, f"session:{session_id}"))
                args += [b"", b""]
        await self._redis.script(_WRITE, keys, args)

    async def record_page_selection(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        await self._want([self._wanted_key(scope, query)], "", statistics)

    async def record_session_selections(
        self, scope: str, ids: Iterable[str], window: StatsWindow, statistics: frozenset[str]
    ) -> None:
        keys = [self._key(scope, f"session:{each}") for each in ids]
        await self._want(keys, codec.window_key(window), statistics)

    async def drop_scope(self, scope: str) -> None:
        """All that a credential has."""
        at = self._clocks.now_as_micros()
        await self._redis.script(_FORGET, [self._key(scope, "forgotten")], [at, self._lifetime_ms])

    async def _want(self, keys: list[str], prefix: str, statistics: frozenset[str]) -> None:
        names = [f"{prefix}{_WANTED}{codec.STATISTICS.index(name)}" for name in sorted(statistics)]
        lifetime = round(self._remembers * 1000)
        await self._redis.script(_WANT, keys, [lifetime, f"0 {self._clocks.now_as_micros()} ", *names])

    def _lately(self, noted: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
        """Which of them were noted, and not too long ago."""
        since = self._clocks.monotonic() - self._remembers
        ages = ((name.rpartition(_WANTED.encode())[2], self._value(value, since)) for name, value in noted)
        return codec.numbered(number for number, text in ages if text)

    async def _page(self, scope: str, query: PageQuery, text: "_Record | None", newer_than: float) -> Page | None:
        record = codec.page_from(text.body) if text else None
        if text is None or record is None or text.asked_at <= newer_than + SLACK:
            return None
        singles = (await self.read_sessions(scope, [each for each in record.ids if each], query.window)).pages
        rows = [
            singles[each].rows[0] if each and each in singles and singles[each].rows else None for each in record.ids
        ]
        if rows.count(None) != record.ids.count(None):
            return None
        return _page_of(rows, [*singles.values()], record.limit, query.window, text.asked_at)

    def _single(
        self, session_id: str, values: Mapping[bytes, bytes], window: StatsWindow, forgotten: float | None
    ) -> Page | None:
        columns = self._value(values.get(_COLUMNS), forgotten)
        if columns is None:
            return None
        if not columns.body:  # LangSmith does not know it
            return Page(rows=(), limit=1, fetched_at=columns.asked_at)
        decoded = codec.cell_from(columns.body, codec.COLUMNS)
        if decoded is None:
            return None
        held: list[StatsCell] = []
        for name, value in values.items():
            text = self._value(value, forgotten) if name != _COLUMNS else None
            names = codec.names_from(name[codec.WINDOW_KEY_LENGTH :]) if text else None
            cell = codec.cell_from(text.body, names) if text and names else None
            if text and cell is not None:
                held.append(StatsCell(text.asked_at, cell))
        row, asked_at = codec.session_row(session_id, decoded, held)
        size = sum(map(len, values.values()))
        known = {window: WindowStats((row,), asked_at)} if asked_at else {}
        return Page(rows=(row,), limit=1, fetched_at=columns.asked_at, stats_by_window=known, body_bytes=size)

    async def _forgotten(self, scope: str, value: bytes | None) -> float | None:
        if value is None or not value.isdigit():
            return None
        at = self._clocks.from_micros(int(value))
        await self._forgets(scope, at)
        return at

    def _value(self, value: bytes | None, forgotten: float | None) -> "_Record | None":
        """`<token> <asked at> <body>`, where it can be read and counts."""
        parts = value.split(b" ", 2) if value else []
        if len(parts) < 3 or not (parts[0].isdigit() and parts[1].isdigit()):
            return None
        asked_at = self._clocks.from_micros(int(parts[1]))
        return _Record(asked_at, parts[2]) if forgotten is None or asked_at > forgotten else None

    def _page_key(self, scope: str, query: PageQuery) -> str:
        return self._key(scope, f"page:{query.digest}")

    def _wanted_key(self, scope: str, query: PageQuery) -> str:
        return f"{self._page_key(scope, query)}:{_WANTED}:{codec.window_key(query.window)}"

    def _key(self, scope: str, name: str) -> str:
        return f"{RECORDS_PREFIX}{{{scope}}}:{name}"


@dataclass(frozen=True)
class _Record:
    asked_at: float
    body: bytes


def _page_of(
    rows: Sequence[Row | None], singles: Sequence[Page], limit: int, window: StatsWindow, fetched_at: float
) -> Page:
    """It knows what is known of each of its rows, as of the one that was asked for first."""
    each_known = [known.fetched_at if (known := single.stats_by_window.get(window)) else {} for single in singles]
    names = set(each_known[0]).intersection(*each_known) if each_known else ()
    asked_at = {name: min(known[name] for known in each_known) for name in names}
    return Page(
        rows=tuple(rows),
        limit=limit,
        fetched_at=fetched_at,
        stats_by_window={window: WindowStats(tuple(rows), asked_at)} if asked_at else {},
        body_bytes=sum(single.body_bytes for single in singles),
    )


_PAGE: Final = """
local found = redis.call('MGET', KEYS[1], KEYS[2])
local wanted = redis.pcall('HGETALL', KEYS[3])
found[3] = wanted.err and {} or wanted
return found
"""
_FORGET: Final = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"
_WANT: Final = """
for i = 1, #KEYS do
  if redis.call('TYPE', KEYS[i]).ok ~= 'hash' then redis.call('DEL', KEYS[i]) end
  for j = 3, #ARGV do redis.call('HSET', KEYS[i], ARGV[j], ARGV[2]) end
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
"""
_READ: Final = """
local found = redis.call('MGET', KEYS[1])
for i = 2, #KEYS do
  local all, kept = redis.pcall('HGETALL', KEYS[i]), {}
  for j = 1, #all, 2 do
    if all[j] == 'columns' or string.sub(all[j], 1, #ARGV[1]) == ARGV[1] then
      kept[#kept + 1] = all[j]
      kept[#kept + 1] = all[j + 1]
    end
  end
  found[i] = kept
end
return found
"""
_WRITE: Final = """
local token, lifetime, asked, field = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local head = ARGV[1] .. ' ' .. ARGV[3] .. ' '
local function is_newer(value)
  if type(value) ~= 'string' then return false end
  local its_token, its_asked = string.match(value, '^(%d+) (%d+) ')
  return its_token and tonumber(its_token) > token and tonumber(its_asked) > asked
end
if ARGV[4] ~= '' and not is_newer(redis.pcall('GET', KEYS[1])) then
  redis.call('SET', KEYS[1], head .. ARGV[4], 'PX', lifetime)
end
for i = 2, #KEYS do
  local key, columns, statistics = KEYS[i], ARGV[2 * i + 2], ARGV[2 * i + 3]
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if not is_newer(redis.call('HGET', key, 'columns')) then redis.call('HSET', key, 'columns', head .. columns) end
  if field ~= '' and columns ~= '' and not is_newer(redis.call('HGET', key, field)) then
    redis.call('HSET', key, field, head .. statistics)
  end
  if redis.call('HLEN', key) > 16 then
    local all = redis.call('HGETALL', key)
    for j = 1, #all, 2 do
      local its_asked = string.match(all[j + 1], '^%d+ (%d+) ')
      if not its_asked or tonumber(its_asked) < asked - lifetime * 1000 then redis.call('HDEL', key, all[j]) end
    end
  end
  redis.call('PEXPIRE', key, lifetime)
end
"""

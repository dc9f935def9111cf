"""The positions of lists that were walked lately: in memory, and in Redis for the other processes.

A position is found by who walked (the credential's scope), and which list: filter, order, and the window if the order
depends on it. What is read from Redis is checked, because another program may have written it.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote_plus

import msgspec

from app.langsmith.walk import POSITION_SECONDS, Position, Walk
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.resilience.clock import Clocks
from app.resilience.lru_cache import LruCache
from app.sessions.fields import FACETS, STATS
from app.sessions.query import MAX_LIMIT, PageQuery, StatsWindow

_MAX_CURSOR_BYTES: Final = 4096
"""Bytes of a cursor in a request line. A longer one would leave too little room for the parameters."""
_MAX_BYTES: Final = 8 * 1024 * 1024
_MAX_POSITIONS: Final = 64
"""Positions of one list. The oldest ones give way in memory, and all of them in Redis."""
_FORMAT: Final = 1
_WRITE: Final = f"""
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
elseif redis.call('HLEN', KEYS[1]) >= {_MAX_POSITIONS} and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], {int(POSITION_SECONDS)})
"""
_READ: Final = "return redis.call('TYPE', KEYS[1]).ok == 'hash' and redis.call('HVALS', KEYS[1]) or {}"


def has_usable_length(cursor: str) -> bool:
    """Whether a request line has room for the cursor."""
    return len(quote_plus(cursor)) <= _MAX_CURSOR_BYTES


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A position as JSON. `walked_at`: microseconds since the epoch."""

    format: int
    offset: int
    cursor: str
    page_size: int
    window: tuple[tuple[str, str], ...]
    statistics: frozenset[str]
    selects_statistics: bool
    walked_at: int


class KnownPositions:
    """Remembers positions for ten minutes.

    connection: None if this process remembers alone.
    clocks: monotonic seconds, and seconds since the epoch for what is shared.
    """

    def __init__(self, connection: RedisConnection | None, clocks: Clocks) -> None:
        self._connection = connection
        self._clocks = clocks
        self._lists: LruCache[str, dict[int, Position]] = LruCache(_MAX_BYTES)

    async def read(self, scope: str, query: PageQuery) -> list[Position]:
        """Positions of the query's list: of those at the same offset, the newest.

        Redis is asked although this process knows a position, because a client whose walk another process began later
        would lose the rows that have moved over an older one.
        """
        key = _key(scope, query)
        known = [*(self._lists.get(key) or {}).values()]
        if self._connection and query.offset:
            with contextlib.suppress(RedisUnavailableError):
                stored: Any = await self._connection.script(_READ, [KEY_PREFIX + key], [])
                known += self._decoded(stored, query)
        known.sort(key=lambda each: each.walked_at)
        return list({each.offset: each for each in known}.values())

    async def record(self, scope: str, query: PageQuery, position: Position) -> None:
        """Remember a position of the query's list, in place of an older one at the same offset."""
        key = _key(scope, query)
        known = {**(self._lists.get(key) or {}), position.offset: position}
        newest = sorted(known.values(), key=lambda each: each.walked_at)[-_MAX_POSITIONS:]
        self._lists.set(key, {each.offset: each for each in newest}, sum(map(_size_of, newest)))
        if self._connection and position.cursor is not None:
            with contextlib.suppress(RedisUnavailableError):
                record = self._encoded(position.cursor, position)
                await self._connection.script(_WRITE, [KEY_PREFIX + key], [position.offset, record])

    async def forget(self, scope: str, query: PageQuery) -> None:
        """Forget the positions of the query's list, because LangSmith no longer takes one of the cursors."""
        key = _key(scope, query)
        self._lists.remove(key)
        if self._connection:
            with contextlib.suppress(RedisUnavailableError):
                await self._connection.script("redis.call('DEL', KEYS[1])", [KEY_PREFIX + key], [])

    def _encoded(self, cursor: str, position: Position) -> bytes:
        walked = position.walk.query
        return msgspec.json.encode(
            _Record(
                _FORMAT,
                position.offset,
                cursor,
                walked.limit,
                walked.window.arguments,
                walked.statistics,
                position.walk.selects_statistics,
                self._clocks.as_micros(position.walked_at),
            )
        )

    def _decoded(self, stored: Any, query: PageQuery) -> Iterator[Position]:
        for text in stored if isinstance(stored, list) else ():
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                record = msgspec.json.decode(text, type=_Record)
                if _is_possible(record, query):
                    yield _position(record, query, self._clocks.from_micros(record.walked_at))


def _is_possible(record: _Record, query: PageQuery) -> bool:
    """Whether the gateway may have written the record for this list."""
    return (
        record.format == _FORMAT
        and record.offset > 0
        and bool(record.cursor)
        and has_usable_length(record.cursor)
        and 0 < record.page_size <= MAX_LIMIT
        and record.statistics <= STATS | FACETS
        and all(name.startswith("stats.") for name, _ in record.window)
        and (not query.sorted_by_stat or record.window == query.window.arguments)
    )


def _position(record: _Record, query: PageQuery, walked_at: float) -> Position:
    walk = PageQuery(
        arguments=query.arguments,
        sorted_by_stat=query.sorted_by_stat,
        limit=record.page_size,
        window=StatsWindow(record.window),
        statistics=record.statistics,
    )
    return Position(record.offset, record.cursor, Walk(walk, record.selects_statistics), walked_at)


def _key(scope: str, query: PageQuery) -> str:
    """Identifies a list of one scope: the same for all of its pages."""
    return f"positions:{scope}:{hashlib.blake2b(query.list_key.encode(), digest_size=16).hexdigest()}"


def _size_of(position: Position) -> int:
    """Estimate of the memory of a position, in bytes."""
    return 600 + len(position.cursor or "") + 80 * len(position.walk.query.statistics)

"""What processes have in common: pages and cells of sessions in a Redis, and one request to LangSmith for all of them.

A page is held there as the sessions it has, in order; a session as a hash of its columns and of the statistics that
were asked for together, so that every page that needs a cell finds it. Times are of the wall clock, which hosts are
supposed to keep; all keys of a credential carry its scope as their hash tag, and expire.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from app import cells
from app.cells import Cell
from app.demand import FEW
from app.errors import GatewayError
from app.flights import Flight, together
from app.freshness import EMPTY_SECONDS
from app.link import Away
from app.page import Known, Page, PageQuery, Window
from app.session import Row
from app.trace import Outcome
from app.turns import Claim, Scripts, Turn, Turns

T = TypeVar("T")

PREFIX: Final = "sessions-gateway:"
_COLUMNS: Final = b"columns"
_WANTED: Final = "wanted"
_ROUNDS: Final = 3
"""Turns of others that are waited for before one asks without one."""
_SLACK: Final = 0.001
"""Seconds within which two times are the same: they have passed through two clocks."""
_LONGEST: Final = 86_400.0

Ask = Callable[[Sequence[str]], Awaitable[Page]]
"""Asks LangSmith for what has these names."""
Look = Callable[[Collection[str], float], Awaitable[dict[str, Page]]]
"""What is there under these names that was asked for after that time (monotonic)."""


@dataclass(frozen=True)
class Seen:
    """`wanted`: statistics of the page that were wanted lately, wherever."""

    page: Page | None
    wanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SeenSessions:
    pages: Mapping[str, Page]
    wanted: frozenset[str] = frozenset()


@dataclass
class Settled:
    """What was found without asking, by name, and how it came about; and what LangSmith answered."""

    found: dict[str, Page] = field(default_factory=dict)
    outcome: Outcome | None = None
    answers: list[Page] = field(default_factory=list)

    def take(self, found: Mapping[str, Page], outcome: Outcome) -> None:
        self.found |= found
        if found:
            self.outcome = outcome


class Shared:
    """`lifetime`: seconds that what is put there is of use; `remembers`: that it is known what was wanted.

    `clock`: monotonic seconds; `wall`: those of the day. `forgets` is told that nothing of a scope counts that was
    asked for before that time (monotonic).
    """

    def __init__(
        self,
        redis: Scripts,
        *,
        lifetime: float,
        remembers: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        forgets: Callable[[str, float], Awaitable[None]],
    ) -> None:
        self._redis = redis
        self._prefix = f"{PREFIX}{cells.VERSION}:"
        self._turns = Turns(redis, self._prefix)
        self._lifetime = lifetime
        self._remembers = remembers
        self._clock = clock
        self._wall = wall
        self._forgets = forgets
        self._reading: dict[Hashable, Flight[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def page(self, scope: str, query: PageQuery, newer_than: float) -> "Seen":
        """That page with the statistics of the query's window, if one is there that was asked for after that time."""
        same = ("page", scope, query.key, query.window, newer_than)
        return await self._once(same, lambda: self._seen(scope, query, newer_than)) or Seen(None)

    async def sessions(self, scope: str, ids: Sequence[str], window: Window) -> "SeenSessions":
        """Those that are there, each as a page of its own, with the statistics over that window."""
        same = ("sessions", scope, tuple(ids), window)
        return await self._once(same, lambda: self._sessions(scope, ids, window)) or SeenSessions({})

    def want_page(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        """Lets others know that these were wanted of it."""
        self._later(self._want([self._wanted_key(scope, query)], "", statistics))

    def want_sessions(self, scope: str, ids: Iterable[str], window: Window, statistics: frozenset[str]) -> None:
        keys = [self._key(scope, f"session:{each}") for each in ids]
        self._later(self._want(keys, cells.window_key(window), statistics))

    async def settle_page(
        self, scope: str, query: PageQuery, ask: Ask, *, since: float, shares: Callable[[], bool]
    ) -> Settled:
        """Asks for a page, unless another process does, after `since` (monotonic) or now.

        `shares`: whether a failure of ours is one for others too. Raises what `ask` raises, and another's failure.
        """

        async def look(names: Collection[str], after: float) -> dict[str, Page]:
            page = (await self.page(scope, query, after)).page
            is_there = page and page.reaches(query.limit) and self._serves(page, query, after)
            return dict.fromkeys(names, page) if page and is_there else {}

        async def publish(page: Page, _: Sequence[str], token: int) -> None:
            await self._write(scope, page, query.window, token, page_key=self._page_key(scope, query))

        name = f"page:{query.digest}:{cells.window_key(query.window)}"
        return await self._settle(scope, [name], query, _Work(ask, look, publish, since, shares))

    async def settle_sessions(
        self, scope: str, ids: Sequence[str], query: PageQuery, ask: Ask, *, since: float, shares: Callable[[], bool]
    ) -> Settled:
        """Asks for sessions by id, but for those that another process asks for; the rest is as with a page."""
        prefix = f"session:{cells.window_key(query.window)}:"

        def ids_of(names: Iterable[str]) -> list[str]:
            return [name.removeprefix(prefix) for name in names]

        async def ask_by_id(names: Sequence[str]) -> Page:
            return await ask(ids_of(names))

        async def look(names: Collection[str], after: float) -> dict[str, Page]:
            pages = (await self.sessions(scope, ids_of(names), query.window)).pages
            return {f"{prefix}{each}": page for each, page in pages.items() if self._serves(page, query, after)}

        async def publish(page: Page, names: Sequence[str], token: int) -> None:
            await self._write(scope, page, query.window, token, asked_for=ids_of(names))

        names = [f"{prefix}{each}" for each in ids]
        work = _Work(ask_by_id, look, publish, since, shares)
        settled = await self._settle(scope, names, replace(query, limit=1), work)
        return replace(settled, found=dict(zip(ids_of(settled.found), settled.found.values(), strict=True)))

    async def forget(self, scope: str) -> None:
        """All that a credential has."""
        with contextlib.suppress(Away):
            at = self._micros(self._clock())
            await self._redis.script(_FORGET, [self._key(scope, "forgotten")], [at, self._milliseconds])

    async def aclose(self) -> None:
        """Ends when all that is being written is."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def _serves(self, page: Page, query: PageQuery, after: float) -> bool:
        if not page.rows:
            return page.fetched_at > max(after, self._clock() - EMPTY_SECONDS)
        return page.fetched_at > after and not page.missing(query.window, query.statistics, since=after)

    async def _settle(self, scope: str, names: Sequence[str], query: PageQuery, work: "_Work") -> Settled:
        settled = Settled()
        need = Claim(query.limit, cells.as_bits(query.statistics), self._micros(self._clock()))
        claim = replace(need, statistics=cells.as_bits(query.everything))
        rest = [*names]
        for _ in range(_ROUNDS):
            try:
                turn = await self._turns.take(scope, rest, claim, need)
            except Away:
                break
            if turn.ended:
                settled.take(await work.look(turn.ended, work.since), Outcome.HIT)
            mine = [name for name in turn.mine if name not in settled.found]
            if not mine and turn.mine:
                self._later(self._turns.end(turn))
            await together(
                *([self._ask(turn, mine, work, settled)] if mine else []),
                *([self._wait(turn, work, settled)] if turn.others else []),
            )
            rest = [name for name in turn.others if name not in settled.found]
            if not rest:
                return settled
        settled.answers.append(await work.ask(rest))
        return settled

    async def _ask(self, turn: Turn, names: Sequence[str], work: "_Work", settled: Settled) -> None:
        try:
            async with self._turns.held(turn):
                page = await work.ask(names)
        except GatewayError as exc:
            self._later(self._turns.end(turn, exc, known=work.shares()))
            raise
        except BaseException:
            self._later(self._turns.end(turn, known=False))
            raise
        settled.answers.append(page)
        self._later(self._publish(turn, work.publish(page, names, turn.token)))

    async def _publish(self, turn: Turn, writing: Awaitable[None]) -> None:
        with contextlib.suppress(Away):
            await writing
        await self._turns.end(turn)

    async def _wait(self, turn: Turn, work: "_Work", settled: Settled) -> None:
        # What its holder asked for after this began is as good as what would be asked for now.
        began = min(self._from_micros(holder.claim.began) for _, holder in turn.others.values())
        with contextlib.suppress(Away):
            await self._turns.ends(turn.others)
            settled.take(await work.look(turn.others.keys(), min(work.since, began - 2 * _SLACK)), Outcome.COALESCED)

    async def _want(self, keys: list[str], prefix: str, statistics: frozenset[str]) -> None:
        names = [f"{prefix}{_WANTED}{cells.STATISTICS.index(name)}" for name in sorted(statistics)]
        with contextlib.suppress(Away):
            now = self._micros(self._clock())
            await self._redis.script(_WANT, keys, [round(self._remembers * 1000), f"0 {now} ", *names])

    async def _seen(self, scope: str, query: PageQuery, newer_than: float) -> "Seen":
        keys = [self._key(scope, "forgotten"), self._page_key(scope, query), self._wanted_key(scope, query)]
        found: Any = await self._redis.script(_PAGE, keys, [])
        forgotten = await self._forgotten(scope, found[0])
        lately = dict(zip(found[2][::2], found[2][1::2], strict=True))
        return Seen(
            await self._page(scope, query, self._value(found[1], forgotten), newer_than),
            self._lately(lately.items()),
        )

    def _lately(self, noted: Iterable[tuple[bytes, bytes]]) -> frozenset[str]:
        """Which of them were noted, and not too long ago."""
        since = self._clock() - self._remembers
        ages = ((name.rpartition(_WANTED.encode())[2], self._value(value, since)) for name, value in noted)
        return cells.numbered(number for number, text in ages if text)

    async def _page(self, scope: str, query: PageQuery, text: "_Text | None", newer_than: float) -> Page | None:
        record = cells.page_from(text.body) if text else None
        if text is None or record is None or text.asked_at <= newer_than + _SLACK:
            return None
        singles = (await self._sessions(scope, [each for each in record.ids if each], query.window)).pages
        rows = [
            singles[each].rows[0] if each and each in singles and singles[each].rows else None for each in record.ids
        ]
        if rows.count(None) != record.ids.count(None):
            return None
        return _page_of(rows, [*singles.values()], record.limit, query.window, text.asked_at)

    async def _sessions(self, scope: str, ids: Sequence[str], window: Window) -> "SeenSessions":
        prefix = cells.window_key(window)
        keys = [self._key(scope, "forgotten"), *(self._key(scope, f"session:{each}") for each in ids)]
        found: Any = await self._redis.script(_READ, keys, [prefix])
        forgotten = await self._forgotten(scope, found[0])
        pages, lately = {}, frozenset[str]()
        for session_id, values in zip(ids, found[1:], strict=True):
            fields = dict(zip(values[::2], values[1::2], strict=True))
            if page := self._single(session_id, fields, window, forgotten):
                pages[session_id] = page
            if len(ids) <= FEW:
                lately |= self._lately(fields.items())
        return SeenSessions(pages, lately)

    def _single(
        self, session_id: str, values: Mapping[bytes, bytes], window: Window, forgotten: float | None
    ) -> Page | None:
        columns = self._value(values.get(_COLUMNS), forgotten)
        if columns is None:
            return None
        if not columns.body:  # LangSmith does not know it
            return Page(rows=(), limit=1, fetched_at=columns.asked_at)
        decoded = cells.cell_from(columns.body, cells.COLUMNS)
        if decoded is None:
            return None
        held: list[Cell] = []
        for name, value in values.items():
            text = self._value(value, forgotten) if name != _COLUMNS else None
            names = cells.names_from(name[cells.WINDOW_KEY_LENGTH :]) if text else None
            cell = cells.cell_from(text.body, names) if text and names else None
            if text and cell is not None:
                held.append(Cell(text.asked_at, cell))
        row, asked_at = cells.session_row(session_id, decoded, held)
        size = sum(map(len, values.values()))
        known = {window: Known((row,), asked_at)} if asked_at else {}
        return Page(rows=(row,), limit=1, fetched_at=columns.asked_at, known=known, body_bytes=size)

    async def _write(
        self,
        scope: str,
        page: Page,
        window: Window,
        token: int,
        *,
        page_key: str | None = None,
        asked_for: Sequence[str] = (),
    ) -> None:
        """What LangSmith answered. `asked_for`: ids, of which those that the page lacks do not exist."""
        known = page.known.get(window)
        names = tuple(name for name in cells.STATISTICS if known and name in known.asked_at)
        field = f"{cells.window_key(window)}{cells.as_bits(names):x}" if names else ""
        keys = [page_key or self._key(scope, "none")]
        args: list[bytes | str | int] = [
            token,
            self._milliseconds,
            self._micros(page.fetched_at),
            cells.page_text(page) if page_key else b"",
            field,
        ]
        try:
            for row in page.seen_through(window):
                if row is not None:
                    keys.append(self._key(scope, f"session:{row.id}"))
                    args += [cells.cell_text(row, cells.COLUMNS), cells.cell_text(row, names) if names else b""]
        except (ValueError, TypeError, OverflowError):
            return  # no value of which another process could read what it is
        if not page.dropped:
            for session_id in {*asked_for} - {row.id for row in page.rows if row}:
                keys.append(self._key(scope, f"session:{session_id}"))
                args += [b"", b""]
        await self._redis.script(_WRITE, keys, args)

    async def _once(self, same: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """What several want to read at a time is read once; None where there is no Redis."""
        flight = self._reading.get(same)
        if flight is None or not flight.is_open:
            flight = self._reading[same] = Flight(read(), on_end=lambda: self._read(same, flight))
        try:
            found: T = await flight.join(asyncio.get_running_loop().time() + _LONGEST)
        except Away:
            return None
        return found

    def _read(self, same: Hashable, flight: Flight[Any] | None) -> None:
        if self._reading.get(same) is flight:
            del self._reading[same]

    async def _forgotten(self, scope: str, value: bytes | None) -> float | None:
        if value is None or not value.isdigit():
            return None
        at = self._from_micros(int(value))
        await self._forgets(scope, at)
        return at

    def _value(self, value: bytes | None, forgotten: float | None) -> "_Text | None":
        """`<token> <asked at> <body>`, where it can be read and counts."""
        parts = value.split(b" ", 2) if value else []
        if len(parts) < 3 or not (parts[0].isdigit() and parts[1].isdigit()):
            return None
        asked_at = self._from_micros(int(parts[1]))
        return _Text(asked_at, parts[2]) if forgotten is None or asked_at > forgotten else None

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    @property
    def _milliseconds(self) -> int:
        return round(self._lifetime * 1000)

    def _micros(self, at: float) -> int:
        return round((at + self._wall() - self._clock()) * 1e6)

    def _from_micros(self, micros: int) -> float:
        """Not later than now, whatever another host's clock says."""
        return min(micros / 1e6 - self._wall() + self._clock(), self._clock())

    def _page_key(self, scope: str, query: PageQuery) -> str:
        return self._key(scope, f"page:{query.digest}")

    def _wanted_key(self, scope: str, query: PageQuery) -> str:
        return f"{self._page_key(scope, query)}:{_WANTED}:{cells.window_key(query.window)}"

    def _key(self, scope: str, name: str) -> str:
        return f"{self._prefix}{{{scope}}}:{name}"


@dataclass(frozen=True)
class _Work:
    """How something is settled."""

    ask: Ask
    look: Look
    publish: Callable[[Page, Sequence[str], int], Awaitable[None]]
    since: float
    shares: Callable[[], bool]


@dataclass(frozen=True)
class _Text:
    asked_at: float
    body: bytes


def _page_of(
    rows: Sequence[Row | None], singles: Sequence[Page], limit: int, window: Window, fetched_at: float
) -> Page:
    """It knows what is known of each of its rows, as of the one that was asked for first."""
    each_known = [known.asked_at if (known := single.known.get(window)) else {} for single in singles]
    names = set(each_known[0]).intersection(*each_known) if each_known else ()
    asked_at = {name: min(known[name] for known in each_known) for name in names}
    return Page(
        rows=tuple(rows),
        limit=limit,
        fetched_at=fetched_at,
        known={window: Known(tuple(rows), asked_at)} if asked_at else {},
        body_bytes=sum(single.body_bytes for single in singles),
    )


_PAGE: Final = """
local found = redis.call('MGET', KEYS[1], KEYS[2])
found[3] = redis.pcall('HGETALL', KEYS[3])
return found
"""
_FORGET: Final = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"
_WANT: Final = """
for i = 1, #KEYS do
  for j = 3, #ARGV do redis.pcall('HSET', KEYS[i], ARGV[j], ARGV[2]) end
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
"""
_READ: Final = """
local found = {redis.call('GET', KEYS[1])}
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

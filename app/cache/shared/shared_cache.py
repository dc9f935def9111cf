"""What processes have in common: pages and sessions in a Redis, and one request to LangSmith for all of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from app.cache.explain import Outcome
from app.cache.freshness import EMPTY_SECONDS
from app.cache.shared import codec
from app.cache.shared.leases import FetchClaim, Lease, Leases, ScriptRunner
from app.cache.shared.redis_records import RECORDS_PREFIX, SLACK, RedisRecords, SharedPage, SharedSessions
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError
from app.resilience.clock import Clocks
from app.resilience.singleflight import SharedTask, gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import PageQuery, StatsWindow

T = TypeVar("T")

_ROUNDS: Final = 3
"""Turns of others that are waited for before one asks without one."""
_LONGEST: Final = 86_400.0

Ask = Callable[[Sequence[str]], Awaitable[Page]]
"""Asks LangSmith for what has these names."""
Look = Callable[[Collection[str], float], Awaitable[dict[str, Page]]]
"""What is there under these names that was asked for after that time (monotonic)."""


@dataclass
class FetchOutcome:
    """What was found without asking, by name, and how it came about; and what LangSmith answered."""

    found: dict[str, Page] = field(default_factory=dict)
    outcome: Outcome | None = None
    answers: list[Page] = field(default_factory=list)

    def add(self, found: Mapping[str, Page], outcome: Outcome) -> None:
        self.found |= found
        if found:
            self.outcome = outcome


class SharedCache:
    """`records`, and whose turn it is to ask for what they lack. Where there is no Redis, nothing is raised."""

    def __init__(self, redis: ScriptRunner, clocks: Clocks, records: RedisRecords) -> None:
        self._clocks = clocks
        self._records = records
        self._turns = Leases(redis, RECORDS_PREFIX)
        self._reading: dict[Hashable, SharedTask[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def read_page(self, scope: str, query: PageQuery, newer_than: float) -> SharedPage:
        """That page with the statistics of the query's window, if one is there that was asked for after that time."""
        same = ("page", scope, query.key, query.window, newer_than)
        return await self._once(same, lambda: self._records.read_page(scope, query, newer_than)) or SharedPage(None)

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those that are there, each as a page of its own, with the statistics over that window."""
        same = ("sessions", scope, tuple(ids), window)
        return await self._once(same, lambda: self._records.read_sessions(scope, ids, window)) or SharedSessions({})

    def record_page_selection(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        """Lets others know that these were wanted of it."""
        self._later(self._records.record_page_selection(scope, query, statistics))

    def record_session_selections(
        self, scope: str, ids: Iterable[str], window: StatsWindow, statistics: frozenset[str]
    ) -> None:
        self._later(self._records.record_session_selections(scope, ids, window, statistics))

    async def fetch_page_once(
        self, scope: str, query: PageQuery, ask: Ask, *, since: float, shares: Callable[[], bool]
    ) -> FetchOutcome:
        """Asks for a page, unless another process does, after `since` (monotonic) or now.

        `shares`: whether a failure of ours is one for others too. Raises what `ask` raises, and another's failure.
        """

        async def look(names: Collection[str], after: float) -> dict[str, Page]:
            page = (await self.read_page(scope, query, after)).page
            is_there = page and page.holds_rows(query.limit) and self._serves(page, query, after)
            return dict.fromkeys(names, page) if page and is_there else {}

        async def publish(page: Page, _: Sequence[str], token: int) -> None:
            await self._records.write(scope, page, query.window, token, of=query)

        name = f"page:{query.digest}:{codec.window_key(query.window)}"
        return await self._settle(scope, [name], query, FetchJob(ask, look, publish, since, shares))

    async def fetch_sessions_once(
        self, scope: str, ids: Sequence[str], query: PageQuery, ask: Ask, *, since: float, shares: Callable[[], bool]
    ) -> FetchOutcome:
        """Asks for sessions by id, but for those that another process asks for; the rest is as with a page."""
        prefix = f"session:{codec.window_key(query.window)}:"

        def ids_of(names: Iterable[str]) -> list[str]:
            return [name.removeprefix(prefix) for name in names]

        async def ask_by_id(names: Sequence[str]) -> Page:
            return await ask(ids_of(names))

        async def look(names: Collection[str], after: float) -> dict[str, Page]:
            pages = (await self.read_sessions(scope, ids_of(names), query.window)).pages
            return {f"{prefix}{each}": page for each, page in pages.items() if self._serves(page, query, after)}

        async def publish(page: Page, names: Sequence[str], token: int) -> None:
            await self._records.write(scope, page, query.window, token, asked_for=ids_of(names))

        names = [f"{prefix}{each}" for each in ids]
        work = FetchJob(ask_by_id, look, publish, since, shares)
        settled = await self._settle(scope, names, replace(query, limit=1), work)
        return replace(settled, found=dict(zip(ids_of(settled.found), settled.found.values(), strict=True)))

    async def drop_scope(self, scope: str) -> None:
        """All that a credential has."""
        with contextlib.suppress(RedisUnavailableError):
            await self._records.drop_scope(scope)

    async def aclose(self) -> None:
        """Ends when all that is being written is."""
        await asyncio.gather(*self._background, return_exceptions=True)

    def _serves(self, page: Page, query: PageQuery, after: float) -> bool:
        if not page.rows:
            return page.fetched_at > max(after, self._clocks.monotonic() - EMPTY_SECONDS)
        return page.fetched_at > after and not page.missing_statistics(query.window, query.statistics, since=after)

    async def _settle(self, scope: str, names: Sequence[str], query: PageQuery, work: "FetchJob") -> FetchOutcome:
        settled = FetchOutcome()
        need = FetchClaim(query.limit, codec.as_bits(query.statistics), self._clocks.now_as_micros())
        claim = replace(need, statistics=codec.as_bits(query.requested))
        rest = [*names]
        for _ in range(_ROUNDS):
            try:
                turn = await self._turns.acquire(scope, rest, claim, need)
            except RedisUnavailableError:
                break
            if turn.just_released:
                settled.add(await work.look(turn.just_released, work.since), Outcome.HIT)
            mine = [name for name in turn.acquired if name not in settled.found]
            if not mine and turn.acquired:
                self._later(self._turns.release(turn))
            await gather_or_cancel(
                *([self._ask(turn, mine, work, settled)] if mine else []),
                *([self._wait(turn, work, settled)] if turn.held_by_others else []),
            )
            rest = [name for name in turn.held_by_others if name not in settled.found]
            if not rest:
                return settled
        settled.answers.append(await work.ask(rest))
        return settled

    async def _ask(self, turn: Lease, names: Sequence[str], work: "FetchJob", settled: FetchOutcome) -> None:
        try:
            async with self._turns.renewing(turn):
                page = await work.ask(names)
        except GatewayError as exc:
            self._later(self._turns.release(turn, exc, known=work.shares()))
            raise
        except BaseException:
            self._later(self._turns.release(turn, known=False))
            raise
        settled.answers.append(page)
        self._later(self._publish(turn, work.publish(page, names, turn.token)))

    async def _publish(self, turn: Lease, writing: Awaitable[None]) -> None:
        with contextlib.suppress(RedisUnavailableError):
            await writing
        await self._turns.release(turn)

    async def _wait(self, turn: Lease, work: "FetchJob", settled: FetchOutcome) -> None:
        # What its holder asked for after this began is as good as what would be asked for now.
        began = min(self._clocks.from_micros(holder.claim.began) for _, holder in turn.held_by_others.values())
        with contextlib.suppress(RedisUnavailableError):
            await self._turns.wait_released(turn.held_by_others)
            settled.add(
                await work.look(turn.held_by_others.keys(), min(work.since, began - 2 * SLACK)), Outcome.COALESCED
            )

    async def _once(self, same: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """What several want to read at a time is read once; None where there is no Redis."""
        flight = self._reading.get(same)
        if flight is None or not flight.is_joinable:
            flight = self._reading[same] = SharedTask(read(), on_end=lambda: self._forget_reading(same, flight))
        try:
            found: T = await flight.join(asyncio.get_running_loop().time() + _LONGEST)
        except RedisUnavailableError:
            return None
        return found

    def _forget_reading(self, same: Hashable, flight: SharedTask[Any] | None) -> None:
        if self._reading.get(same) is flight:
            del self._reading[same]

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_if_there(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _if_there(work: Coroutine[Any, Any, None]) -> None:
    """Where there is no Redis, it is left undone."""
    with contextlib.suppress(RedisUnavailableError):
        await work


@dataclass(frozen=True)
class FetchJob:
    """How something is settled."""

    ask: Ask
    look: Look
    publish: Callable[[Page, Sequence[str], int], Awaitable[None]]
    since: float
    shares: Callable[[], bool]

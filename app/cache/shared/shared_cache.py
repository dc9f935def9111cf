"""Second tier of the cache: reads what other processes fetched, and fetches at most once for all of them.

A fetch goes in rounds. Each round tries to acquire leases for the names that are still needed. Names whose lease was
acquired are fetched from LangSmith and written to Redis; for the others, the process waits until their holders have
released them, and reads the result from Redis. What is still not found is tried again. While Redis is unavailable, and
after three rounds, a process fetches without a lease.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeVar

from app.cache.explain import Outcome
from app.cache.freshness import EMPTY_SECONDS
from app.cache.shared import codec
from app.cache.shared.leases import FetchClaim, Lease, Leases, ScriptRunner
from app.cache.shared.redis_records import (
    CLOCK_TOLERANCE_SECONDS,
    RECORDS_PREFIX,
    RedisRecords,
    SharedPage,
    SharedSessions,
)
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError
from app.resilience.clock import Clocks
from app.resilience.singleflight import SharedTask, gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import PageQuery, StatsWindow

T = TypeVar("T")

_MAX_ROUNDS: Final = 3
_NO_DEADLINE: Final = 86_400.0
"""Seconds that a read may take. The connection's own timeout ends it long before."""

Fetch = Callable[[Sequence[str]], Awaitable[Page]]
"""Fetches what has these names from LangSmith."""


@dataclass(frozen=True)
class FetchOutcome:
    """What a fetch brought.

    - `found`: pages that other processes fetched, by name.
    - `outcome`: how they were found; None if none were.
    - `answers`: pages that LangSmith answered to this process.
    """

    found: Mapping[str, Page] = field(default_factory=dict)
    outcome: Outcome | None = None
    answers: tuple[Page, ...] = ()

    def merged_with(self, later: Self) -> Self:
        return replace(
            self,
            found={**self.found, **later.found},
            outcome=later.outcome if later.found else self.outcome,
            answers=self.answers + later.answers,
        )


@dataclass(frozen=True)
class FetchJob:
    """How to fetch what has certain names, at most once for all processes.

    - `fetch`: fetches names from LangSmith.
    - `read`: reads those of the names from Redis that were fetched after a time (monotonic seconds).
    - `publish`: writes a page, fetched for names, to Redis under a fencing token.
    - `newer_than`: what was fetched at this time or earlier is too old (monotonic seconds).
    - `shares_failure`: whether a failure of `fetch` is raised in waiting processes too, instead of letting them try.
    """

    fetch: Fetch
    read: Callable[[Collection[str], float], Awaitable[dict[str, Page]]]
    publish: Callable[[Page, Sequence[str], int], Awaitable[None]]
    newer_than: float
    shares_failure: Callable[[], bool]


class SharedCache:
    """Pages and sessions in Redis. While Redis is unavailable, nothing is found, and no error is raised."""

    def __init__(self, redis: ScriptRunner, clocks: Clocks, records: RedisRecords) -> None:
        self._clocks = clocks
        self._records = records
        self._leases = Leases(redis, RECORDS_PREFIX)
        self._reads: dict[Hashable, SharedTask[Any]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def read_page(self, scope: str, query: PageQuery, newer_than: float) -> SharedPage:
        """The page with the statistics of the query's window, if it was fetched after `newer_than` (monotonic)."""
        key = ("page", scope, query.key, query.window, newer_than)
        return await self._read_once(key, lambda: self._records.read_page(scope, query, newer_than)) or SharedPage(None)

    async def read_sessions(self, scope: str, ids: Sequence[str], window: StatsWindow) -> SharedSessions:
        """Those of the sessions that are in Redis, with their statistics over the window."""
        key = ("sessions", scope, tuple(ids), window)
        return await self._read_once(key, lambda: self._records.read_sessions(scope, ids, window)) or SharedSessions({})

    def record_page_selection(self, scope: str, query: PageQuery, statistics: frozenset[str]) -> None:
        """Tells other processes, in the background, which statistics of a page were selected lately."""
        self._run_in_background(self._records.record_page_selection(scope, query, statistics))

    def record_session_selections(
        self, scope: str, ids: Iterable[str], window: StatsWindow, statistics: frozenset[str]
    ) -> None:
        """Tells other processes, in the background, which statistics of some sessions were selected lately."""
        self._run_in_background(self._records.record_session_selections(scope, ids, window, statistics))

    async def fetch_page_once(
        self, scope: str, query: PageQuery, fetch: Fetch, *, newer_than: float, shares_failure: Callable[[], bool]
    ) -> FetchOutcome:
        """Fetches a page, unless another process does or just did. Raises what `fetch` or the other process raised.

        `newer_than`, `shares_failure`: see `FetchJob`. The outcome has one page, found or answered.
        """

        async def read(names: Collection[str], newer_than: float) -> dict[str, Page]:
            page = (await self.read_page(scope, query, newer_than)).page
            is_found = page and page.holds_rows(query.limit) and self._is_complete(page, query, newer_than)
            return dict.fromkeys(names, page) if page and is_found else {}

        async def publish(page: Page, _: Sequence[str], token: int) -> None:
            await self._records.write(scope, page, query.window, token, query=query)

        name = f"page:{query.digest}:{codec.window_key(query.window)}"
        return await self._fetch_once(scope, [name], query, FetchJob(fetch, read, publish, newer_than, shares_failure))

    async def fetch_sessions_once(
        self,
        scope: str,
        ids: Sequence[str],
        query: PageQuery,
        fetch: Fetch,
        *,
        newer_than: float,
        shares_failure: Callable[[], bool],
    ) -> FetchOutcome:
        """Fetches sessions by id, without those that another process fetches. Otherwise like `fetch_page_once`.

        Found sessions are by id, each as a page of its own.
        """
        prefix = f"session:{codec.window_key(query.window)}:"

        def ids_of(names: Iterable[str]) -> list[str]:
            return [name.removeprefix(prefix) for name in names]

        async def fetch_names(names: Sequence[str]) -> Page:
            return await fetch(ids_of(names))

        async def read(names: Collection[str], newer_than: float) -> dict[str, Page]:
            pages = (await self.read_sessions(scope, ids_of(names), query.window)).pages
            return {
                f"{prefix}{each}": page for each, page in pages.items() if self._is_complete(page, query, newer_than)
            }

        async def publish(page: Page, names: Sequence[str], token: int) -> None:
            await self._records.write(scope, page, query.window, token, requested_ids=ids_of(names))

        names = [f"{prefix}{each}" for each in ids]
        job = FetchJob(fetch_names, read, publish, newer_than, shares_failure)
        result = await self._fetch_once(scope, names, replace(query, limit=1), job)
        return replace(result, found={name.removeprefix(prefix): page for name, page in result.found.items()})

    async def drop_scope(self, scope: str) -> None:
        """Invalidates all that was fetched for a credential scope, in all processes."""
        with contextlib.suppress(RedisUnavailableError):
            await self._records.drop_scope(scope)

    async def aclose(self) -> None:
        """Waits until everything is written."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _fetch_once(self, scope: str, names: Sequence[str], query: PageQuery, job: FetchJob) -> FetchOutcome:
        result = FetchOutcome()
        need = FetchClaim(query.limit, codec.statistics_to_bits(query.statistics), self._clocks.now_as_micros())
        claim = replace(need, statistics=codec.statistics_to_bits(query.requested))
        rest = [*names]
        for _ in range(_MAX_ROUNDS):
            try:
                lease = await self._leases.acquire(scope, rest, claim, need)
            except RedisUnavailableError:
                break
            result = result.merged_with(await self._read_released(lease, job))
            to_fetch = [name for name in lease.acquired if name not in result.found]
            if lease.acquired and not to_fetch:
                self._run_in_background(self._leases.release(lease))
            parts = await gather_or_cancel(
                *([self._fetch_leased(lease, to_fetch, job)] if to_fetch else []),
                *([self._wait_for_others(lease, job)] if lease.held_by_others else []),
            )
            for part in parts:
                result = result.merged_with(part)
            rest = [name for name in lease.held_by_others if name not in result.found]
            if not rest:
                return result
        return result.merged_with(FetchOutcome(answers=(await job.fetch(rest),)))

    async def _read_released(self, lease: Lease, job: FetchJob) -> FetchOutcome:
        """What the previous holders of the acquired leases have just written."""
        found = await job.read(lease.just_released, job.newer_than) if lease.just_released else {}
        return FetchOutcome(found, Outcome.HIT)

    async def _fetch_leased(self, lease: Lease, names: Sequence[str], job: FetchJob) -> FetchOutcome:
        """Fetches names under a lease. The answer is written, and the lease released, in the background."""
        try:
            async with self._leases.renewing(lease):
                page = await job.fetch(names)
        except GatewayError as exc:
            self._run_in_background(self._leases.release(lease, exc, shares_outcome=job.shares_failure()))
            raise
        except BaseException:
            # Cancelled: the last client of this process has disconnected. Waiting processes fetch for themselves.
            self._run_in_background(self._leases.release(lease, shares_outcome=False))
            raise
        self._run_in_background(self._publish(lease, job.publish(page, names, lease.token)))
        return FetchOutcome(answers=(page,))

    async def _publish(self, lease: Lease, write: Awaitable[None]) -> None:
        # The lease is released last, so that waiting processes find the result.
        with contextlib.suppress(RedisUnavailableError):
            await write
        await self._leases.release(lease)

    async def _wait_for_others(self, lease: Lease, job: FetchJob) -> FetchOutcome:
        """Waits for the holders of the other leases, and reads what they have written."""
        holders = lease.held_by_others.values()
        # A holder may have begun before this request. Its answer is as young as one that would be fetched now, also for
        # a client that accepts nothing from the cache.
        began = min(self._clocks.from_micros(holder.claim.began) for holder in holders)
        newer_than = min(job.newer_than, began - 2 * CLOCK_TOLERANCE_SECONDS)
        try:
            await self._leases.wait_released(holders)
            found = await job.read(lease.held_by_others.keys(), newer_than)
        except RedisUnavailableError:
            return FetchOutcome()
        return FetchOutcome(found, Outcome.COALESCED)

    def _is_complete(self, page: Page, query: PageQuery, newer_than: float) -> bool:
        """Whether a page, and all statistics that the query needs, were fetched after that time."""
        if not page.rows:
            return page.fetched_at > max(newer_than, self._clocks.monotonic() - EMPTY_SECONDS)
        is_young = page.fetched_at > newer_than
        return is_young and not page.missing_statistics(query.window, query.statistics, since=newer_than)

    async def _read_once(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Reads from Redis once for all callers who read the same at a time; None while Redis is unavailable."""
        task = self._reads.get(key)
        if task is None or not task.is_joinable:
            task = self._reads[key] = SharedTask(read(), on_end=lambda: self._forget_read(key, task))
        try:
            found: T = await task.join(asyncio.get_running_loop().time() + _NO_DEADLINE)
        except RedisUnavailableError:
            return None
        return found

    def _forget_read(self, key: Hashable, task: SharedTask[Any] | None) -> None:
        # A task that was cancelled may have been replaced by the next one.
        if self._reads.get(key) is task:
            del self._reads[key]

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_ignore_unavailable(work))
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _ignore_unavailable(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(RedisUnavailableError):
        await work

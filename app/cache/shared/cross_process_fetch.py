"""Singleflight across processes: of several processes that need the same, one fetches it and the others wait.

A fetch goes in rounds. Each round tries to acquire leases for the names that are still needed. Names whose lease was
acquired are fetched from LangSmith and written to Redis; for the others, the process waits until their holders have
released them, and reads the result from Redis. What is still not found is tried again. While Redis is unavailable, and
after three rounds, a process fetches without a lease.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from app.cache.explain import Outcome
from app.cache.shared import codec
from app.cache.shared.leases import FetchClaim, Lease, Leases
from app.cache.shared.redis_records import CLOCK_TOLERANCE_SECONDS
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError
from app.resilience.clock import Clocks
from app.resilience.singleflight import gather_or_cancel
from app.sessions.page import Page
from app.sessions.query import PageQuery

_MAX_ROUNDS: Final = 3

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


class BackgroundWrites:
    """Writes to Redis that no caller waits for. They are left undone while Redis is unavailable."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, write: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_ignore_unavailable(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Waits until everything is written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class CrossProcessFetcher:
    """Runs fetch jobs under leases."""

    def __init__(self, leases: Leases, clocks: Clocks, background: BackgroundWrites) -> None:
        self._leases = leases
        self._clocks = clocks
        self._background = background

    async def fetch(self, scope: str, names: Sequence[str], query: PageQuery, job: FetchJob) -> FetchOutcome:
        """Finds or fetches all names. Raises what `job.fetch`, or another process's fetch, raised.

        `query`: what is needed of each name; its limit and statistics make up the claim.
        """
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
                self._background.start(self._leases.release(lease))
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
            self._background.start(self._leases.release(lease, exc, shares_outcome=job.shares_failure()))
            raise
        except BaseException:
            # Cancelled: the last client of this process has disconnected. Waiting processes fetch for themselves.
            self._background.start(self._leases.release(lease, shares_outcome=False))
            raise
        self._background.start(self._publish(lease, job.publish(page, names, lease.token)))
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


async def _ignore_unavailable(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(RedisUnavailableError):
        await work

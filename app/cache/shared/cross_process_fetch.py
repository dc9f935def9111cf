"""Singleflight across processes: of several processes that need the same, one fetches it and the others wait.

A fetch goes in rounds. Each round tries to acquire leases for the names that are still needed. Names whose lease was
acquired are fetched from LangSmith and written to Redis; for the others, the process waits until their holders have
released them, and reads the result from Redis. What is still not found is tried again. While Redis is unavailable, and
after three rounds, a process fetches without a lease.
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from app.cache.explain import Outcome
from app.cache.shared import codec
from app.cache.shared.lease_values import FetchClaim, Lease, ReleaseCall
from app.cache.shared.leases import Leases
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
    - `publish`: writes a page, fetched for names, to Redis under a fencing token, and releases the leases. It returns
      False if there is nothing to write.
    - `newer_than`: what was fetched at this time or earlier is too old (monotonic seconds).
    - `shares_failure`: called after a failure. True: waiting processes raise the same error. False: they fetch for
      themselves, because no request reached the network (this process's circuit is open, or its own limit reached).
    - `is_strict`: whether `newer_than` holds for other processes' fetches too: one that began before is not waited for.
    """

    fetch: Fetch
    read: Callable[[Collection[str], float], Awaitable[dict[str, Page]]]
    publish: Callable[[Page, Sequence[str], int, ReleaseCall], Coroutine[Any, Any, bool]]
    newer_than: float
    shares_failure: Callable[[], bool]
    is_strict: bool = False


class CrossProcessFetcher:
    """Runs fetch jobs under leases.

    A *name* stands for one item: `page:<digest>:<window>` or `session:<window>:<id>`, with `columns` as the window if
    no statistics are computed. Each name has a lease of its own.
    It is not the key of a record in `redis_records.py`.
    """

    def __init__(self, leases: Leases, clocks: Clocks) -> None:
        self._leases = leases
        self._clocks = clocks

    def claim(self, query: PageQuery) -> FetchClaim:
        """The claim of a lease under which this is fetched from now on: limit and statistics of each name."""
        statistics, required = (codec.statistics_to_bits(each) for each in (query.requested, query.statistics))
        return FetchClaim(query.limit, statistics, required, self._clocks.now_as_micros())

    async def fetch(
        self, scope: str, names: Sequence[str], query: PageQuery, job: FetchJob, held: Lease | None = None
    ) -> FetchOutcome:
        """Finds or fetches all names. Raises what `job.fetch`, or another process's fetch, raised.

        `query`: what is needed of each name. `held`: a lease of the names that was acquired before.
        """
        result = FetchOutcome()
        claim = self.claim(query)
        began_after = None
        if job.is_strict:
            began_after = self._clocks.as_micros(job.newer_than + CLOCK_TOLERANCE_SECONDS)
        rest = [*names]
        for _ in range(_MAX_ROUNDS):
            try:
                lease = await self._acquire(scope, rest, claim, began_after, held)
            except RedisUnavailableError:
                break
            held = None
            try:
                found = await self._run_round(lease, claim, job)
            finally:
                # Cancelled: the last client of this process has disconnected, perhaps before the fetch began. Or
                # another process's failure ended the round. Waiting processes fetch for themselves.
                self._leases.end(lease, shares_outcome=False)
            result = result.merged_with(found)
            rest = [name for name in lease.held_by_others if name not in result.found]
            if not rest:
                return result
        return result.merged_with(FetchOutcome(answers=(await job.fetch(rest),)))

    async def _acquire(
        self, scope: str, names: Sequence[str], claim: FetchClaim, began_after: int | None, held: Lease | None
    ) -> Lease:
        """The lease that is held already, or a new one. If more is fetched than it claims, its claim is replaced."""
        if held is None or held.is_ended:
            return await self._leases.acquire(scope, names, claim, began_after=began_after)
        if held.claim and held.claim.fetches_as(claim):
            return held
        return await self._leases.acquire(scope, names, claim, began_after=began_after, owner=held.owner)

    async def _run_round(self, lease: Lease, claim: FetchClaim, job: FetchJob) -> FetchOutcome:
        result = await self._read_released(lease, job)
        to_fetch = [name for name in (*lease.acquired, *lease.contended) if name not in result.found]
        if not to_fetch:
            self._leases.end(lease)
        parts = await gather_or_cancel(
            *([self._fetch_leased(lease, to_fetch, job)] if to_fetch else []),
            *([self._wait_for_others(lease, claim, job)] if lease.held_by_others else []),
        )
        for part in parts:
            result = result.merged_with(part)
        return result

    async def _read_released(self, lease: Lease, job: FetchJob) -> FetchOutcome:
        """What the previous holders of the acquired leases have just written."""
        found: Mapping[str, Page] = {}
        if lease.just_released:
            with contextlib.suppress(RedisUnavailableError):
                found = await job.read(lease.just_released, job.newer_than)
        return FetchOutcome(found, Outcome.HIT)

    async def _fetch_leased(self, lease: Lease, names: Sequence[str], job: FetchJob) -> FetchOutcome:
        """Fetches names under a lease. The answer is written, and the lease released, in the background."""
        try:
            async with self._leases.renewing(lease):
                page = await job.fetch(names)
        except GatewayError as exc:
            self._leases.end(lease, exc, shares_outcome=job.shares_failure())
            raise
        self._leases.end(lease, publish=lambda release: job.publish(page, names, lease.token, release))
        return FetchOutcome(answers=(page,))

    async def _wait_for_others(self, lease: Lease, claim: FetchClaim, job: FetchJob) -> FetchOutcome:
        """Waits for the holders of the other leases, and reads what they have written."""
        holders = lease.held_by_others.values()
        newer_than = job.newer_than
        if not job.is_strict:
            # A holder may have begun long ago, if LangSmith is slow. Its answer is as young as one that a caller of
            # this process would share. Each of the two times was rounded when it was converted between two clocks.
            began = min(self._clocks.from_micros(holder.claim.began) for holder in holders)
            newer_than = min(newer_than, began - 2 * CLOCK_TOLERANCE_SECONDS)
        try:
            await self._leases.wait_released(holders, claim)
            found = await job.read(lease.held_by_others.keys(), newer_than)
        except RedisUnavailableError:
            return FetchOutcome()
        return FetchOutcome(found, Outcome.COALESCED)

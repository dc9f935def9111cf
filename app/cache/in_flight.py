"""Requests to LangSmith in flight (singleflight), which later callers join instead of sending their own.

A request for a page can be joined by callers who need no more than it asks for. Lookups of single sessions are
collected in batches: for a moment before a batch is sent, further sessions and statistics are added to it.

LangSmith answers columns in milliseconds, and statistics in seconds. Who needs columns only therefore never shares a
request with who needs statistics, unless LangSmith computes them anyway, to sort by one.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from app.cache.decision import Need
from app.cache.explain import Outcome
from app.errors import GatewayError
from app.langsmith.call import UpstreamCall
from app.resilience.singleflight import SharedTask
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery, StatsWindow
from app.sessions.row import Row

T = TypeVar("T")

BATCH_WINDOW_SECONDS: Final = 0.002
"""Seconds for which a batch of lookups stays open before it is sent."""
_NO_DEADLINE: Final = 86_400.0
"""Seconds that a background refresh may take. The upstream client's own deadline ends it long before."""


@dataclass(frozen=True)
class LookupResult:
    """Sessions by id, with the requested statistics; None for an id that LangSmith does not know.

    - `fetched_at`: when the oldest value was fetched (monotonic seconds).
    - `dropped_rows`: number of rows that LangSmith sent without a valid id, which are left out.
    - `statistics`: the requested statistics.
    """

    by_id: Mapping[str, Row | None]
    fetched_at: float
    dropped_rows: int = 0
    statistics: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SessionPages:
    """The answer to a batch: each session as a page of its own, which has no row if LangSmith does not know the id.

    If rows were dropped because they lacked their id, sessions that may be among them are absent.
    """

    by_id: Mapping[str, Page]
    dropped_rows: int


@dataclass(frozen=True)
class Caller:
    """A caller who looks for a request to join.

    - `arrived_at`: when its own request arrived (monotonic seconds).
    - `max_age`: the oldest age in seconds that it accepts. It joins only what is sent within that time before its
      arrival; with 0, only what is sent after. None: it joins any request.
    - `is_exact`: it joins only requests that cannot do without the same statistics, so that their failure is its own.
    """

    arrived_at: float
    max_age: float | None = None
    is_exact: bool = False


@dataclass(kw_only=True)
class InFlight(Generic[T]):
    """A request that has not finished.

    - `max_age`: the oldest age in seconds of a page in Redis that may answer it; None means the TTL.
    - `calls`: the HTTP requests made for it, also while it is in flight.
    - `outcome`: HIT or COALESCED if Redis answered; None if LangSmith did, and until the request has finished.
    - `closed_at`: when it was closed for further queries, just before it is sent (monotonic seconds); None before.
    - `runs_in_background`: it goes on when no caller waits for it any more.
    """

    max_age: float | None = None
    calls: list[UpstreamCall] = field(default_factory=list)
    outcome: Outcome | None = None
    task: SharedTask[T] = field(init=False)
    runs_in_background: bool = False
    closed_at: float | None = None

    @property
    def was_sent(self) -> bool:
        """Whether a request reached the network."""
        return any(call.attempts for call in self.calls)

    def is_sent_after(self, caller: "Caller") -> bool:
        """Whether it is sent late enough for the age that the caller accepts. An open request is sent later."""
        return caller.max_age is None or self.closed_at is None or self.closed_at > caller.arrived_at - caller.max_age

    def adopt_max_age(self, max_age: float | None) -> None:
        """Accepts nothing from Redis that is older than a caller accepts who joined before it was closed."""
        if max_age is not None:
            self.max_age = max_age if self.max_age is None else min(self.max_age, max_age)


@dataclass(kw_only=True)
class InFlightPage(InFlight[Page]):
    """The request for one page."""

    key: str
    query: PageQuery

    def try_join(self, key: str, query: PageQuery, caller: Caller) -> bool:
        """Joins a query, if the answer should cover it. A request that is still open is widened to cover the query.

        What it is widened by is prefetched: if LangSmith fails the request, it is repeated without, so that no client
        fails because of what others selected. The answer may therefore lack it. A request without statistics is never
        widened by any.
        """
        if key != self.key or not (self.task.is_joinable and self.is_sent_after(caller)):
            return False
        if caller.is_exact and query.statistics != self.query.statistics:
            return False
        if query.computes_statistics != self.query.computes_statistics:
            return False
        is_compatible = self.query.window == query.window
        if self.closed_at is None and is_compatible:
            self.query = self.query.widened_by(query)
            self.adopt_max_age(caller.max_age)
        return self.query.covers(query)

    def close(self, now: float) -> PageQuery:
        """Closes the request for further queries, and returns the query to send."""
        self.closed_at = now
        return self.query


@dataclass(kw_only=True)
class LookupBatch(InFlight[SessionPages]):
    """One request for several sessions by id, possibly of several operations with the same credential scope."""

    scope: str
    window: StatsWindow
    ids: set[str] = field(default_factory=set)
    statistics: frozenset[str] = frozenset()
    prefetch: frozenset[str] = frozenset()

    def try_join(self, ids: Iterable[str], scope: str, need: Need, caller: Caller) -> set[str]:
        """Adds ids while the batch is open and has room. Returns the ids that the batch should answer.

        As with a page, further statistics are prefetched, and the answer may lack them. A batch of columns only gets
        none.
        """
        is_compatible = scope == self.scope and need.window == self.window and self.is_sent_after(caller)
        if not (is_compatible and self.task.is_joinable) or (caller.is_exact and need.statistics != self.statistics):
            return set()
        if bool(need.statistics) != bool(self.statistics):
            return set()
        joined = self.ids.intersection(ids)
        if self.closed_at is not None:
            return joined if need.statistics <= self.statistics | self.prefetch else set()
        joined.update(itertools.islice((each for each in ids if each not in joined), MAX_LIMIT - len(self.ids)))
        if joined:
            self.ids |= joined
            self.prefetch |= need.statistics - self.statistics
            self.adopt_max_age(caller.max_age)
        return joined

    def close(self, now: float) -> PageQuery:
        """Closes the batch for further sessions, and returns the query to send."""
        self.closed_at = now
        query = PageQuery.for_ids(tuple(sorted(self.ids)), window=self.window, statistics=self.statistics)
        return query.with_prefetch(self.prefetch)


F = TypeVar("F", bound=InFlight[Any])


class InFlightRequests(Generic[F]):
    """The requests that have not finished, the oldest first."""

    def __init__(self) -> None:
        self._requests: list[F] = []
        self._background: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[F]:
        return iter(self._requests)

    def start(self, request: F, work: Coroutine[Any, Any, Any]) -> None:
        """Starts a request. Its work begins in the next iteration of the event loop, so that callers can join first."""
        request.task = SharedTask(work, on_end=lambda: self._requests.remove(request))
        self._requests.append(request)

    def run_in_background(self, request: F) -> None:
        """Keeps a request running even if no caller waits for it."""
        if request.runs_in_background:
            return
        request.runs_in_background = True
        task = asyncio.create_task(self._wait_for(request))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def aclose(self) -> None:
        """Cancels the requests that run in the background only."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _wait_for(self, request: F) -> None:
        with contextlib.suppress(GatewayError):  # the upstream client has logged it
            await request.task.join(asyncio.get_running_loop().time() + _NO_DEADLINE)

"""Requests to LangSmith in flight (singleflight), which later callers join instead of sending their own.

A request for a page can be joined by callers who need no more than it asks for. Lookups of single sessions are
collected in batches: for a moment before a batch is sent, further sessions and statistics are added to it.
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
    """

    by_id: Mapping[str, Row | None]
    fetched_at: float
    dropped_rows: int = 0


@dataclass(frozen=True)
class SessionPages:
    """The answer to a batch: each session as a page of its own, which has no row if LangSmith does not know the id.

    If rows were dropped because they lacked their id, sessions that may be among them are absent.
    """

    by_id: Mapping[str, Page]
    dropped_rows: int


@dataclass(kw_only=True)
class InFlight(Generic[T]):
    """A request that has not finished.

    - `max_age`: it may be answered by what another process fetched this many seconds ago; None for the usual TTL.
    - `calls`: the HTTP requests made for it, also while it is in flight.
    - `outcome`: how it was answered, if not by LangSmith; None otherwise.
    - `runs_in_background`: it goes on when no caller waits for it any more.
    """

    max_age: float | None = None
    calls: list[UpstreamCall] = field(default_factory=list)
    outcome: Outcome | None = None
    task: SharedTask[T] = field(init=False)
    runs_in_background: bool = False

    @property
    def was_sent(self) -> bool:
        """Whether a request reached the network."""
        return any(call.attempts for call in self.calls)

    def satisfies_max_age(self, max_age: float | None) -> bool:
        """Whether its answer is young enough for a client that accepts this age in seconds."""
        return max_age is None or (self.max_age is not None and self.max_age <= max_age)


@dataclass(kw_only=True)
class InFlightPage(InFlight[Page]):
    """The request for one page."""

    key: str
    query: PageQuery
    is_sent: bool = False

    def try_join(self, key: str, query: PageQuery, max_age: float | None) -> bool:
        """Whether its answer will answer this query too. Before it is sent, it is widened so that it does."""
        if key != self.key or not self.task.is_joinable or not self.satisfies_max_age(max_age):
            return False
        if not self.is_sent and self.query.window == query.window:
            self.query = self.query.merged_with(query)
        return self.query.covers(query)


@dataclass(kw_only=True)
class LookupBatch(InFlight[SessionPages]):
    """One request for several sessions by id, possibly of several operations with the same credential scope."""

    scope: str
    window: StatsWindow
    ids: set[str] = field(default_factory=set)
    statistics: frozenset[str] = frozenset()
    prefetch: frozenset[str] = frozenset()
    is_sent: bool = False

    def try_join(self, ids: Iterable[str], scope: str, need: Need) -> set[str]:
        """The ids that the batch will answer with what is needed. Before it is sent, ids are added up to its limit."""
        is_compatible = scope == self.scope and need.window == self.window and self.satisfies_max_age(need.max_age)
        if not (is_compatible and self.task.is_joinable):
            return set()
        joined = self.ids.intersection(ids)
        if self.is_sent:
            return joined if need.statistics <= self.statistics | self.prefetch else set()
        joined.update(itertools.islice((each for each in ids if each not in joined), MAX_LIMIT - len(self.ids)))
        if joined:
            self.ids |= joined
            self.statistics |= need.statistics
        return joined

    def close(self) -> PageQuery:
        """Closes the batch for further sessions, and returns the query to send."""
        self.is_sent = True
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

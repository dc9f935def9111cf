"""Requests to LangSmith that are under way, for whoever wants the same: one is joined rather than sent again."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from app.cache.explain import Outcome
from app.errors import GatewayError
from app.langsmith.call import UpstreamCall
from app.resilience.singleflight import SharedTask
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery, StatsWindow
from app.sessions.row import Row

T = TypeVar("T")

BATCH_WINDOW_SECONDS: Final = 0.002
"""How long a lookup waits for others that may leave with it."""
_LONGEST: Final = 86_400.0
"""Seconds to wait in nobody's name; a request to LangSmith ends by itself long before."""


@dataclass(frozen=True)
class LookupResult:
    """Sessions by id; None for those that LangSmith does not know.

    `asked_at`: when the oldest of it was asked for. `dropped`: rows that LangSmith sent without their id.
    """

    by_id: Mapping[str, Row | None]
    fetched_at: float
    dropped_rows: int = 0


@dataclass(frozen=True)
class SessionPages:
    """Sessions that LangSmith was asked for, each as a page of its own; without a row where it knows none."""

    by_id: Mapping[str, Page]
    dropped_rows: int


@dataclass(kw_only=True)
class InFlight(Generic[T]):
    """A request under way, which several callers may wait for."""

    max_age: float | None = None
    """Seconds: whoever joins takes what another process asked for as long ago."""
    calls: list[UpstreamCall] = field(default_factory=list)
    outcome: Outcome | None = None
    """How it was found, where LangSmith was not asked."""
    task: SharedTask[T] = field(init=False)
    runs_in_background: bool = False
    """Whether it goes on without anybody who waits."""

    @property
    def was_sent(self) -> bool:
        """Whether LangSmith was asked at all."""
        return any(call.attempts for call in self.calls)

    def satisfies_max_age(self, max_age: float | None) -> bool:
        return max_age is None or (self.max_age is not None and self.max_age <= max_age)


@dataclass(kw_only=True)
class InFlightPage(InFlight[Page]):
    key: str
    query: PageQuery
    is_sent: bool = False

    def try_join(self, key: str, query: PageQuery, max_age: float | None) -> bool:
        """Whether its answer will serve that query too; until it is sent, it is widened so that it will."""
        if key != self.key or not self.task.is_joinable or not self.satisfies_max_age(max_age):
            return False
        if not self.is_sent and self.query.window == query.window:
            self.query = self.query.merged_with(query)
        return self.query.covers(query)


@dataclass(kw_only=True)
class LookupBatch(InFlight[SessionPages]):
    """Until it is sent, more sessions and statistics are added to it: those of other operations of that credential."""

    scope: str
    window: StatsWindow
    ids: set[str] = field(default_factory=set)
    statistics: frozenset[str] = frozenset()
    prefetch: frozenset[str] = frozenset()
    is_sent: bool = False

    def try_join(
        self, ids: Iterable[str], scope: str, window: StatsWindow, statistics: frozenset[str], max_age: float | None
    ) -> set[str]:
        """Those of the sessions whose statistics its answer will settle."""
        is_same = scope == self.scope and window == self.window and self.satisfies_max_age(max_age)
        if not (is_same and self.task.is_joinable):
            return set()
        if self.is_sent:
            return self.ids.intersection(ids) if statistics <= self.statistics | self.prefetch else set()
        taken = self.ids.intersection(ids)
        taken.update(itertools.islice((each for each in ids if each not in taken), MAX_LIMIT - len(self.ids)))
        if taken:
            self.ids |= taken
            self.statistics |= statistics
        return taken

    def close(self) -> PageQuery:
        """What to ask; from now on nothing is added."""
        self.is_sent = True
        query = PageQuery.for_ids(tuple(sorted(self.ids)), window=self.window, statistics=self.statistics)
        return query.with_prefetch(self.prefetch)


F = TypeVar("F", bound=InFlight[Any])


class InFlightRequests(Generic[F]):
    """Those that have not ended, the oldest first."""

    def __init__(self) -> None:
        self._open: list[F] = []
        self._background: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[F]:
        return iter(self._open)

    def start(self, shares: F, work: Coroutine[Any, Any, Any]) -> None:
        """The work begins with the next turn of the event loop."""
        shares.task = SharedTask(work, on_end=lambda: self._open.remove(shares))
        self._open.append(shares)

    def run_in_background(self, under_way: F) -> None:
        """Waits for it in the place of a client who does not."""
        if under_way.runs_in_background:
            return
        under_way.runs_in_background = True
        task = asyncio.create_task(self._wait_for(under_way))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def aclose(self) -> None:
        """Ends what nobody waits for."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _wait_for(self, under_way: F) -> None:
        with contextlib.suppress(GatewayError):  # upstream has logged it
            await under_way.task.join(asyncio.get_running_loop().time() + _LONGEST)

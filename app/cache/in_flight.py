"""Requests to LangSmith that are under way, for whoever wants the same: one is joined rather than sent again."""

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from app.cache.explain import Outcome
from app.errors import GatewayError
from app.langsmith.call import Call
from app.resilience.singleflight import Flight
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery, Window
from app.sessions.row import Row

T = TypeVar("T")

MEETING_SECONDS: Final = 0.002
"""How long a lookup waits for others that may leave with it."""
_LONGEST: Final = 86_400.0
"""Seconds to wait in nobody's name; a request to LangSmith ends by itself long before."""


@dataclass(frozen=True)
class Found:
    """Sessions by id; None for those that LangSmith does not know.

    `asked_at`: when the oldest of it was asked for. `dropped`: rows that LangSmith sent without their id.
    """

    by_id: Mapping[str, Row | None]
    asked_at: float
    dropped: int = 0


@dataclass(frozen=True)
class Singles:
    """Sessions that LangSmith was asked for, each as a page of its own; without a row where it knows none."""

    by_id: Mapping[str, Page]
    dropped: int


@dataclass(kw_only=True)
class Shares(Generic[T]):
    """A request under way, which several callers may wait for."""

    max_age: float | None = None
    """Seconds: whoever joins takes what another process asked for as long ago."""
    calls: list[Call] = field(default_factory=list)
    outcome: Outcome | None = None
    """How it was found, where LangSmith was not asked."""
    flight: Flight[T] = field(init=False)
    is_kept: bool = False
    """Whether it goes on without anybody who waits."""

    @property
    def was_sent(self) -> bool:
        """Whether LangSmith was asked at all."""
        return any(call.attempts for call in self.calls)

    def is_young_enough(self, max_age: float | None) -> bool:
        return max_age is None or (self.max_age is not None and self.max_age <= max_age)


@dataclass(kw_only=True)
class PageFlight(Shares[Page]):
    key: str
    query: PageQuery
    is_sent: bool = False

    def takes(self, key: str, query: PageQuery, max_age: float | None) -> bool:
        """Whether its answer will serve that query too; until it is sent, it is widened so that it will."""
        if key != self.key or not self.flight.is_open or not self.is_young_enough(max_age):
            return False
        if not self.is_sent and self.query.window == query.window:
            self.query = self.query.widened(query)
        return self.query.covers(query)


@dataclass(kw_only=True)
class LookupFlight(Shares[Singles]):
    """Until it is sent, more sessions and statistics are added to it: those of other operations of that credential."""

    scope: str
    window: Window
    ids: set[str] = field(default_factory=set)
    statistics: frozenset[str] = frozenset()
    beside: frozenset[str] = frozenset()
    is_sent: bool = False

    def take(
        self, ids: Iterable[str], scope: str, window: Window, statistics: frozenset[str], max_age: float | None
    ) -> set[str]:
        """Those of the sessions whose statistics its answer will settle."""
        is_same = scope == self.scope and window == self.window and self.is_young_enough(max_age)
        if not (is_same and self.flight.is_open):
            return set()
        if self.is_sent:
            return self.ids.intersection(ids) if statistics <= self.statistics | self.beside else set()
        taken = self.ids.intersection(ids)
        taken.update(itertools.islice((each for each in ids if each not in taken), MAX_LIMIT - len(self.ids)))
        if taken:
            self.ids |= taken
            self.statistics |= statistics
        return taken

    def send(self) -> PageQuery:
        """What to ask; from now on nothing is added."""
        self.is_sent = True
        query = PageQuery.of_ids(tuple(sorted(self.ids)), window=self.window, statistics=self.statistics)
        return query.also(self.beside)


F = TypeVar("F", bound=Shares[Any])


class UnderWay(Generic[F]):
    """Those that have not ended, the oldest first."""

    def __init__(self) -> None:
        self._open: list[F] = []
        self._background: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[F]:
        return iter(self._open)

    def start(self, shares: F, work: Coroutine[Any, Any, Any]) -> None:
        """The work begins with the next turn of the event loop."""
        shares.flight = Flight(work, on_end=lambda: self._open.remove(shares))
        self._open.append(shares)

    def keep(self, under_way: F) -> None:
        """Waits for it in the place of a client who does not."""
        if under_way.is_kept:
            return
        under_way.is_kept = True
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
            await under_way.flight.join(asyncio.get_running_loop().time() + _LONGEST)

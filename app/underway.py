"""Requests to LangSmith that are under way, for whoever wants the same: one is joined rather than sent again."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from app.credentials import Credential
from app.errors import GatewayError
from app.flights import Flight
from app.page import MAX_LIMIT, Page, PageQuery, Window
from app.session import Row
from app.trace import Call

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


@dataclass(kw_only=True)
class Shared(Generic[T]):
    """A request under way, which several callers may wait for."""

    calls: list[Call] = field(default_factory=list)
    flight: Flight[T] = field(init=False)
    is_kept: bool = False
    """Whether it goes on without anybody who waits."""


@dataclass(kw_only=True)
class PageFlight(Shared[Page]):
    key: str
    query: PageQuery
    is_sent: bool = False

    def takes(self, key: str, query: PageQuery) -> bool:
        """Whether its answer will serve that query too; until it is sent, it is widened so that it will."""
        if key != self.key or not self.flight.is_open:
            return False
        if not self.is_sent and self.query.window == query.window:
            self.query = self.query.widened(query)
        return self.query.covers(query)


@dataclass(kw_only=True)
class LookupFlight(Shared[Found]):
    """Until it is sent, more sessions and statistics are added to it: those of other operations of that credential."""

    scope: str
    window: Window
    ids: set[str] = field(default_factory=set)
    statistics: frozenset[str] = frozenset()
    is_sent: bool = False

    def take(self, ids: Iterable[str], scope: str, window: Window, statistics: frozenset[str]) -> set[str]:
        """Those of the sessions whose statistics its answer will settle."""
        if scope != self.scope or window != self.window or not self.flight.is_open:
            return set()
        if self.is_sent:
            return self.ids.intersection(ids) if statistics <= self.statistics else set()
        taken = self.ids.intersection(ids)
        taken.update(itertools.islice((each for each in ids if each not in taken), MAX_LIMIT - len(self.ids)))
        if taken:
            self.ids |= taken
            self.statistics |= statistics
        return taken

    def send(self) -> PageQuery:
        """What to ask; from now on nothing is added."""
        self.is_sent = True
        return PageQuery.of_ids(tuple(sorted(self.ids)), window=self.window, statistics=self.statistics)


class UnderWay:
    """`fetch_page` and `fetch_rows` are what a request does, and begin with the next turn of the event loop."""

    def __init__(
        self,
        fetch_page: Callable[[PageFlight, Credential], Coroutine[Any, Any, Page]],
        fetch_rows: Callable[[LookupFlight, Credential], Coroutine[Any, Any, Found]],
    ) -> None:
        self._fetch_page = fetch_page
        self._fetch_rows = fetch_rows
        self._pages: list[PageFlight] = []
        self._lookups: list[LookupFlight] = []
        self._background: set[asyncio.Task[None]] = set()

    def page(self, key: str, query: PageQuery, credential: Credential) -> tuple[PageFlight, bool]:
        """The request for that page, and whether it is a new one."""
        under_way = next((each for each in self._pages if each.takes(key, query)), None)
        if under_way:
            return under_way, False
        started = PageFlight(key=key, query=query)
        started.flight = Flight(self._fetch_page(started, credential), on_end=lambda: self._pages.remove(started))
        self._pages.append(started)
        return started, True

    def keep(self, under_way: Shared[T]) -> None:
        """Waits for it in the place of a client who does not."""
        if under_way.is_kept:
            return
        under_way.is_kept = True
        task = asyncio.create_task(self._wait_for(under_way))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _wait_for(self, under_way: Shared[T]) -> None:
        with contextlib.suppress(GatewayError):  # upstream has logged it
            await under_way.flight.join(asyncio.get_running_loop().time() + _LONGEST)

    def lookups(
        self, ids: Iterable[str], credential: Credential, window: Window, statistics: frozenset[str]
    ) -> tuple[list[LookupFlight], bool]:
        """Requests that settle these ids, 100 in each that is new, and whether one is."""
        flights: list[LookupFlight] = []
        rest = list(dict.fromkeys(ids))
        for each in self._lookups:
            if taken := each.take(rest, credential.scope, window, statistics):
                flights.append(each)
                rest = [session_id for session_id in rest if session_id not in taken]
        is_new = bool(rest)
        while rest:
            started = self._start_lookup(credential, window)
            taken = started.take(rest, credential.scope, window, statistics)
            flights.append(started)
            rest = [session_id for session_id in rest if session_id not in taken]
        return flights, is_new

    def _start_lookup(self, credential: Credential, window: Window) -> LookupFlight:
        started = LookupFlight(scope=credential.scope, window=window)
        started.flight = Flight(self._fetch_rows(started, credential), on_end=lambda: self._lookups.remove(started))
        self._lookups.append(started)
        return started

    async def aclose(self) -> None:
        """Ends what nobody waits for."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

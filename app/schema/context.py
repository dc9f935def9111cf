"""One operation: who asks, when, what it looks up by id, and what it has to report beside its data."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import strawberry
from graphql import GraphQLError, GraphQLResolveInfo
from graphql.pyutils import Path

from app import errors
from app.cache.explain import Trace, Use
from app.cache.fetcher import Caller
from app.cache.in_flight import Found
from app.cache.page_cache import PageCache
from app.credentials import Credential
from app.errors import GatewayError
from app.resilience.singleflight import Flight
from app.sessions.arguments import StatsOptions, stats_params
from app.sessions.fields import Row
from app.sessions.page import Window


@dataclass
class Operation:
    """The context of its resolvers. `deadline`: of the event loop's clock.

    `windows` holds, by root field and window, the statistics of its rows, or why they could not be had.
    `max_age`: seconds, of a client that takes nothing older. `beside` are errors that cost no field its value. `waits`
    is called before it waits for LangSmith. `lasts`: seconds from `now` in which its windows mean the same instants,
    since those of `last` go on with each minute.
    """

    cache: PageCache
    credential: Credential | None
    now: datetime
    deadline: float
    waits: Callable[[], None] = lambda: None
    max_age: float | None = None
    lasts: float = math.inf
    windows: dict[tuple[str, Window], "Found | Failure"] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    beside: list[GraphQLError] = field(default_factory=list)
    lookups: "Lookups" = field(init=False)
    _named: dict[tuple[object, ...], tuple[Window, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lookups = Lookups(self.cache)

    def caller(self, info: GraphQLResolveInfo[Any]) -> Caller:
        """Who waits for the root field. Raises Unauthenticated."""
        if self.credential is None:
            raise errors.Unauthenticated("Send a LangSmith credential: the header X-API-Key, or Authorization.")
        trace = self.traces.setdefault(str(info.path.key), Trace())
        return Caller(self.credential, self.deadline, trace, self.max_age, self.waits)

    @property
    def uses(self) -> list[Use]:
        """The held pages that its answer rests on."""
        return [use for trace in self.traces.values() for use in trace.uses]

    def window(self, options: StatsOptions) -> tuple[Window, str]:
        """The window, and a label for it that stays the same while time goes on. Raises BadUserInput."""
        given = (options.since, options.last, options.filter, options.approximate)
        named = tuple(None if each is strawberry.UNSET else each for each in given)
        if named not in self._named:
            label = hashlib.blake2b(repr(named).encode(), digest_size=8).hexdigest()
            self._named[named] = (stats_params(options, self.now), label)
            if options.last:
                self.lasts = 60 - self.now.second - self.now.microsecond / 1e6
        return self._named[named]

    def report_dropped(self, dropped: int, info: GraphQLResolveInfo[Any]) -> None:
        """One error for all the rows that LangSmith sent without what every session has."""
        if dropped:
            cause = errors.UpstreamMalformed(
                f"{dropped} of the sessions that LangSmith sent had no valid id or workspace and were left out."
            )
            self.beside.append(
                GraphQLError(str(cause), nodes=info.field_nodes, path=info.path.as_list(), original_error=cause)
            )


@dataclass
class Failure:
    """Why a window's statistics are missing; told at one place, not for each row."""

    error: GatewayError
    told_at: list[str | int] | None = None


class Lookups:
    """Sessions that one operation looks up by id, sent together: one request per window and 100 sessions.

    Statistics over another window wait until no page of the operation is under way, so that the rows of all its
    roots leave together; the answer needs all of them in any case.
    """

    def __init__(self, cache: PageCache) -> None:
        self._cache = cache
        self._open: dict[tuple[Window, bool], _Batch] = {}
        self.page_under_way = _UnderWay()
        self._failures: dict[int, Failure] = {}

    async def load(
        self,
        ids: Iterable[str],
        caller: Caller,
        *,
        window: Window,
        statistics: frozenset[str],
        after_pages: bool = False,
    ) -> Found:
        """Raises a GatewayError."""
        batch = self._open.get((window, after_pages))
        if batch is None:
            batch = self._open[window, after_pages] = _Batch(caller)
            batch.flight = Flight(self._send(batch, window, after_pages=after_pages))
        batch.ids |= dict.fromkeys(ids)
        batch.statistics |= statistics
        try:
            return await batch.flight.join(caller.deadline)
        finally:
            if (trace := batch.caller.trace).outcome is not None:
                caller.trace.note(trace.outcome, age=trace.age, calls=trace.calls, uses=trace.uses)

    async def load_window(
        self, ids: Iterable[str], caller: Caller, *, window: Window, statistics: frozenset[str]
    ) -> "Found | Failure":
        """Statistics over another window than the pages'; a failure is a value, for the fields that need them."""
        try:
            return await self.load(ids, caller, window=window, statistics=statistics, after_pages=True)
        except GatewayError as exc:
            return self._failures.setdefault(id(exc), Failure(exc))

    async def _send(self, batch: "_Batch", window: Window, *, after_pages: bool) -> Found:
        if after_pages:
            await self.page_under_way.none.wait()
        del self._open[window, after_pages]
        return await self._cache.lookup(tuple(batch.ids), batch.caller, window=window, statistics=batch.statistics)


class _UnderWay:
    """A context for each page that is under way; `none` is set while there is none."""

    def __init__(self) -> None:
        self._number = 0
        self.none = asyncio.Event()
        self.none.set()

    def __enter__(self) -> None:
        self._number += 1
        self.none.clear()

    def __exit__(self, *_: object) -> None:
        self._number -= 1
        if not self._number:
            self.none.set()


class _Batch:
    flight: Flight[Found]

    def __init__(self, first: Caller) -> None:
        self.caller = replace(first, trace=Trace())
        self.ids: dict[str, None] = {}
        self.statistics = frozenset[str]()


def row_of(found: Found | Failure, session_id: str, path: Path) -> Row | None:
    """One session's row among those found. A failure is raised at the first place that asks, and is null elsewhere."""
    if isinstance(found, Found):
        return found.by_id[session_id]
    # Asked again at that place, where an operation is completed a second time, it is raised again.
    found.told_at = found.told_at or path.as_list()
    if path.as_list() == found.told_at:
        raise found.error
    return None

"""One operation: who asks, when, what it looks up by id, and what it has to report beside its data."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import strawberry
from graphql import GraphQLError, GraphQLResolveInfo

from app import errors
from app.cache.explain import Trace, Use
from app.cache.fetcher import Caller
from app.cache.in_flight import Found
from app.cache.page_cache import PageCache
from app.credentials import Credential
from app.schema.loader import Failure, Lookups
from app.sessions.arguments import StatsOptions, stats_params
from app.sessions.query import Window


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

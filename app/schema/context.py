"""One operation: who asks, when, what it looks up by id, and what it has to report beside its data."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from graphql import GraphQLError, GraphQLResolveInfo

from app import errors
from app.cache.explain import Dependency, FieldTrace
from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.cache.page_cache import PageCache
from app.credentials import Credential
from app.schema.loader import FailedLookup, SessionLoader
from app.sessions.arguments import StatsOptions, given_options, stats_window
from app.sessions.query import Arguments, StatsWindow


@dataclass
class OperationContext:
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
    on_wait: Callable[[], None] = lambda: None
    max_age: float | None = None
    valid_seconds: float = math.inf
    results_by_window: dict[tuple[str, StatsWindow], "LookupResult | FailedLookup"] = field(default_factory=dict)
    traces: dict[str, FieldTrace] = field(default_factory=dict)
    extra_errors: list[GraphQLError] = field(default_factory=list)
    loader: "SessionLoader" = field(init=False)
    _named: dict[Arguments, tuple[StatsWindow, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lookups = SessionLoader(self.cache)

    def fetch_context(self, info: GraphQLResolveInfo[Any]) -> FetchContext:
        """Who waits for the root field. Raises Unauthenticated."""
        if self.credential is None:
            raise errors.UnauthenticatedError("Send a LangSmith credential: the header X-API-Key, or Authorization.")
        trace = self.traces.setdefault(str(info.path.key), FieldTrace())
        return FetchContext(self.credential, self.deadline, trace, self.max_age, self.on_wait)

    @property
    def dependencies(self) -> list[Dependency]:
        """The held pages that its answer rests on."""
        return [use for trace in self.traces.values() for use in trace.dependencies]

    def window(self, options: StatsOptions) -> tuple[StatsWindow, str]:
        """The window, and a label for it that stays the same while time goes on. Raises BadUserInput."""
        given = given_options(options)
        if given not in self._named:
            label = hashlib.blake2b(repr(given).encode(), digest_size=8).hexdigest()
            self._named[given] = (stats_window(options, self.now), label)
            if options.last:
                self.valid_seconds = 60 - self.now.second - self.now.microsecond / 1e6
        return self._named[given]

    def report_dropped(self, dropped: int, info: GraphQLResolveInfo[Any]) -> None:
        """One error for all the rows that LangSmith sent without what every session has."""
        if dropped:
            cause = errors.UpstreamMalformedError(
                f"{dropped} of the sessions that LangSmith sent had no valid id or workspace and were left out."
            )
            self.extra_errors.append(
                GraphQLError(str(cause), nodes=info.field_nodes, path=info.path.as_list(), original_error=cause)
            )

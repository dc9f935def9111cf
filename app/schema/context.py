"""The context of one operation: its credential and deadline, its batched lookups, and the errors beside its data."""

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self, TypeVar

from graphql import FieldNode, GraphQLError, GraphQLResolveInfo

from app import errors
from app.cache.explain import Dependency, FieldTrace
from app.cache.fetcher import FetchContext
from app.cache.in_flight import LookupResult
from app.cache.page_cache import PageCache
from app.credentials import Credential
from app.execution.deferral import DeferredFragment
from app.schema.first_answer import FirstAnswerGate
from app.schema.loader import FailedLookup, LaterLookup, SessionLoader, WindowLookup
from app.sessions.arguments import StatsOptions, check_encoded_length, given_options, stats_window
from app.sessions.query import Arguments, StatsWindow

T = TypeVar("T")

_WALK: Final = timedelta(minutes=10)
"""How long the windows of a walk stay as they were for its first page: its pages then belong together."""
_LONGEST_FROZEN: Final = timedelta(days=30)
"""Longest `last` whose window may stay: LangSmith takes starts of at most 31 days ago (Documented)."""


@dataclass
class OperationContext:
    """What all resolvers of one operation share.

    Args:
        cache: The cache that pages and sessions are read through.
        credential: The client's credential; None if the request has none.
        now: The time at which the operation began. Durations such as `last` count back from it.
        deadline: Time of the event loop's clock at which upstream work ends.
        on_wait: Called each time before the operation waits for LangSmith.
        max_age: Seconds; the client accepts no page that is older. None accepts any age.
        results_by_window: Statistics over further windows, by the response key of the root field and the window.
        traces: How the cache answered each root field, by response key.
        extra_errors: Errors that cost no field its value.
        deferred_fields: By response key, the root fields around the fragments that are delivered later.
        is_for_fragment: Whether the context is that of a deferred fragment.
        shown_windows: For the context of a fragment: by the response key of the root field, and the window, what the
            `stats` fields were made from that the client has already; None for the row of the session itself.
        shown: By response key of the root field, what the parts of an operation with deferred fragments have read
            together: all are about the same rows.
    """

    cache: PageCache
    credential: Credential | None
    now: datetime
    deadline: float
    on_wait: Callable[[], None] = lambda: None
    max_age: float | None = None
    results_by_window: dict[tuple[str, StatsWindow], WindowLookup] = field(default_factory=dict)
    traces: dict[str, FieldTrace] = field(default_factory=dict)
    extra_errors: list[GraphQLError] = field(default_factory=list)
    deferred_fields: Mapping[str, Sequence[FieldNode]] = field(default_factory=dict)
    is_for_fragment: bool = False
    shown_windows: Mapping[tuple[str, StatsWindow], LookupResult | FailedLookup | None] = field(default_factory=dict)
    shown: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    gate: FirstAnswerGate = field(init=False)
    loader: SessionLoader = field(init=False)
    _walk_starts: dict[str, datetime] = field(default_factory=dict)
    _windows: dict[tuple[datetime, Arguments], tuple[StatsWindow, str]] = field(default_factory=dict)
    _window_results: dict[tuple[str, tuple[tuple[str, Any], ...]], tuple[WindowLookup | None, str]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.gate = FirstAnswerGate(is_gateways_own=bool(self.credential and self.credential.is_gateways_own))
        self.loader = SessionLoader(self.cache, self.gate)

    def fetch_context(self, info: GraphQLResolveInfo[Any]) -> FetchContext:
        """The context in which a root field reads from the cache. Raises UnauthenticatedError without a credential."""
        if self.credential is None:
            raise errors.UnauthenticatedError("Send a LangSmith credential: the header X-API-Key, or Authorization.")
        trace = self.traces.setdefault(str(info.path.key), FieldTrace())
        return FetchContext(self.credential, self.deadline, trace, self.max_age, self.on_wait)

    @property
    def valid_seconds(self) -> float:
        """Seconds after `now` until a window of `last` resolves to another start time; infinite without such a window.

        Start times are rounded down to the minute, so the window is another one from the next minute on.
        """
        if not any(window.is_relative for window, _ in self._windows.values()):
            return math.inf
        return 60 - self.now.second - self.now.microsecond / 1e6

    def expect_fragments(self, fields: Mapping[str, Sequence[FieldNode]]) -> None:
        """Learn which root fields the deferred fragments of the operation have, before its initial part runs."""
        self.deferred_fields = fields

    def for_fragment(self, _fragment: DeferredFragment, /) -> Self:
        """The context of a deferred fragment: it shares the rows, lookups and windows, and has errors of its own."""
        shown = {
            (root_key, self.window(StatsOptions(**dict(options)), root_key)[0]): result
            for (root_key, options), (result, _) in self._window_results.items()
            if not isinstance(result, LaterLookup)
        }
        context = replace(
            self,
            is_for_fragment=True,
            shown_windows=shown,
            results_by_window={},
            extra_errors=[],
            _window_results={},
        )
        context.gate, context.loader = self.gate, self.loader
        return context

    async def read_together(self, root_key: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the root field of this response key reads: once, if several parts of the operation show it."""
        if root_key not in self.deferred_fields:
            return await read()
        if root_key not in self.shown:
            self.shown[root_key] = asyncio.ensure_future(read())
        found: T = await self.shown[root_key]
        return found

    @property
    def dependencies(self) -> list[Dependency]:
        """The cached pages that the answer was made from."""
        return [each for trace in self.traces.values() for each in trace.dependencies]

    def continue_walk(self, root_key: str, began: datetime) -> None:
        """Compute the windows below this root field as they were when the client began to page, unless long ago."""
        if timedelta() <= self.now - began <= _WALK:
            self._walk_starts[root_key] = began

    def window(self, options: StatsOptions, root_key: str) -> tuple[StatsWindow, str]:
        """The window of the options below this root field, and a label that depends on the options only.

        The label is part of `SessionStats.id`. Raises BadUserInputError for invalid options, and for options that are
        too long.
        """
        now = self._walk_starts.get(root_key, self.now)
        if options.last and options.last > _LONGEST_FROZEN:
            now = self.now
        given = given_options(options)
        if (now, given) not in self._windows:
            label = hashlib.blake2b(repr(given).encode(), digest_size=8).hexdigest()
            window = stats_window(options, now)
            check_encoded_length(window.arguments)
            self._windows[now, given] = (window, label)
        return self._windows[now, given]

    def window_result(self, root_key: str, options: tuple[tuple[str, Any], ...]) -> tuple[WindowLookup | None, str]:
        """What was loaded for the `stats` fields with these options, below the root field of this response key.

        None if nothing had to be loaded. With it comes the label of the window. The result is the same for all rows, so
        it is found once.
        """
        key = (root_key, options)
        if found := self._window_results.get(key):
            return found
        window, label = self.window(StatsOptions(**dict(options)), root_key)
        loaded = self.results_by_window.get((root_key, window))
        if loaded is None:  # a fragment selects no statistic of the window, of which the client may have null already
            shown = self.shown_windows.get((root_key, window))
            loaded = LookupResult(defaultdict(lambda: None), math.inf) if isinstance(shown, FailedLookup) else shown
        result = self._window_results[key] = (loaded, label)
        return result

    def has_window_in_rows(self, root_key: str, window: StatsWindow) -> bool:
        """Whether the statistics of the root field's own window are also those of `stats` fields below it.

        In a deferred fragment, they are if such a field was shown.
        """
        key = (root_key, window)
        return not self.is_for_fragment or (key in self.shown_windows and self.shown_windows[key] is None)

    def report_failed(self, failed: FailedLookup, path: list[str | int], info: GraphQLResolveInfo[Any]) -> None:
        """Add the error of a failed lookup, once below each root field. `path`: the first field without its value."""
        if failed.reported_at.setdefault(path[0], path) != path or any(each.path == path for each in self.extra_errors):
            return  # an operation can be completed a second time
        error = failed.error_of(path[0])
        self.extra_errors.append(GraphQLError(str(error), nodes=info.field_nodes, path=path, original_error=error))

    def report_dropped(self, dropped: int, info: GraphQLResolveInfo[Any]) -> None:
        """Add one error for all rows of a root field that were dropped because they lack an id or a workspace."""
        if dropped:
            cause = errors.UpstreamMalformedError(
                f"{dropped} of the sessions that LangSmith sent had no valid id or workspace and were left out."
            )
            self.extra_errors.append(
                GraphQLError(str(cause), nodes=info.field_nodes, path=info.path.as_list(), original_error=cause)
            )

"""What both caches need to fetch from LangSmith: the request itself, waiting for it, storing and reporting."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from app.cache.explain import Dependency, FieldTrace, Outcome
from app.cache.freshness import FreshnessPolicy, Use
from app.cache.in_flight import InFlight
from app.cache.merging import by_age, has_used_values, is_start_of, lost_windows, merged, with_versions_of
from app.cache.shared.shared_cache import SharedCache
from app.cache.store import Store, scope_of, session_key
from app.credentials import Credential
from app.errors import (
    BadUserInputError,
    ForbiddenError,
    GatewayError,
    UnauthenticatedError,
    UpstreamError,
    UpstreamMalformedError,
)
from app.langsmith.call import UpstreamCall
from app.langsmith.upstream import Upstream
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing
from app.resilience.clock import Clock
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.resilience.singleflight import TaskAbandonedError
from app.sessions.page import NEVER, Page
from app.sessions.query import IDS, PageQuery, StatsWindow

T = TypeVar("T")

_CAUSED_BY_STATISTICS: Final = (BadUserInputError, UpstreamError, UpstreamMalformedError)
"""Failures that a query for other statistics may not meet."""


@dataclass(frozen=True)
class FetchContext:
    """The caller of a cache read: its credential, deadline, recorder and accepted age.

    - `credential`: sent to LangSmith; its scope separates cached pages.
    - `deadline`: until when the caller waits (event loop time).
    - `trace`: recorder of the root field.
    - `max_age`: the oldest age in seconds that the client accepts. With it, nothing stale is served either.
    - `on_wait`: called before the caller starts to wait for a request.
    """

    credential: Credential
    deadline: float
    trace: FieldTrace
    max_age: float | None = None
    on_wait: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Fetcher:
    """The collaborators of both caches.

    - `upstream`: LangSmith.
    - `store`: memory of this process.
    - `policy`: how long pages are fresh and stale.
    - `metrics`, `tracing`: count and trace each lookup.
    - `clock`: monotonic seconds.
    - `shared`: the second tier in Redis; None without one.
    - `scheduler`: for work on a hundred sessions or more.
    """

    upstream: Upstream
    store: Store
    policy: FreshnessPolicy
    metrics: Metrics
    clock: Clock
    shared: SharedCache | None = None
    tracing: Tracing = NO_TRACING
    scheduler: CooperativeScheduler = field(default_factory=CooperativeScheduler)

    async def fetch(
        self, query: PageQuery, request: InFlight[Any], credential: Credential, keys: Sequence[str]
    ) -> Page:
        """Fetches a page from LangSmith. HTTP requests are listed in `request.calls`. Raises a GatewayError.

        `keys`: the cache keys of what is fetched, which are deleted if LangSmith refuses this alone.

        If LangSmith fails a query that prefetches statistics, the query is repeated without them, so that no client
        fails because of what others selected.
        """
        try:
            return await self.upstream.fetch(query, credential, request.calls)
        except (UnauthenticatedError, ForbiddenError) as refusal:
            # A credential that lost its access must not see cached pages either.
            if _is_refused_as_a_whole(refusal, query, credential, request.calls):
                self.store.delete_scope(credential.scope, self.clock())
                if self.shared:
                    await self.shared.drop_scope(credential.scope)
            else:
                for key in keys:
                    await self.store.delete(key)
                if self.shared:
                    await self.shared.delete(credential.scope, query)
            raise
        except _CAUSED_BY_STATISTICS:
            if not query.prefetch:
                raise
            return await self.upstream.fetch(replace(query, prefetch=frozenset()), credential, request.calls)

    async def join_other(
        self, request: InFlight[T], required: frozenset[str], context: FetchContext, statistics: frozenset[str]
    ) -> T | None:
        """Waits for a request of another caller. None if it failed, perhaps because of what this caller does not need.

        It is None too if the request was cancelled because its other callers have left.

        `required`: the statistics that the request cannot do without; `statistics`: those of this caller. Raises the
        other failures.
        """
        try:
            return await self.join(request, Outcome.COALESCED, context)
        except TaskAbandonedError:
            return None
        except _CAUSED_BY_STATISTICS:
            if required <= statistics:
                raise
            return None

    async def join(self, request: InFlight[T], outcome: Outcome, context: FetchContext) -> T:
        """Waits for a request, and records the outcome, also if it fails. Raises a GatewayError."""
        context.on_wait()
        began = time.time_ns()
        try:
            return await request.task.join(context.deadline)
        finally:
            self.record_lookup(
                context, outcome if request.outcome is None else request.outcome, calls=request.calls, began=began
            )

    async def store_page(self, key: str, page: Page, *, replaces_longer: bool = True) -> None:
        """Stores a page of a list, merged with what is cached of it, unless caching is switched off.

        Statistics that the merged page cannot have, because its rows are others, are stored with their sessions.

        `replaces_longer`: a shorter page replaces a longer one that has begun with the same rows. False if both were
        requested at about the same time.
        """
        if not self.policy.is_caching:
            return
        cached, now = self.store.get(key), self.clock()
        kept = self._merged_page(cached, page, now, replaces_longer=replaces_longer)
        await self.store.set(key, kept)
        # Nobody has used the new page yet, whatever its age. What is no longer fresh of the cached one was replaced.
        await self._store_sessions_of(page, key, lost_windows(page, kept, NEVER))
        if cached:
            await self._store_sessions_of(cached, key, lost_windows(cached, kept, self.policy.fresh_cutoff(now)))

    async def store_pages(self, pages: Mapping[str, Page]) -> Mapping[str, Page]:
        """Stores sessions by key, merged with what is cached of them, unless caching is switched off.

        Returns what is stored.
        """
        if not self.policy.is_caching:
            return pages
        cached = await self.store.get_many([*pages])
        kept = {key: self._merged(known, page) for (key, page), known in zip(pages.items(), cached, strict=True)}
        await self.store.set_many(kept)
        return kept

    async def dependencies(self, pages: Mapping[str, Page | None], fetched_at: float, use: Use) -> list[Dependency]:
        """The dependencies of an answer that was made from these pages, by key, as they came from LangSmith.

        It depends on what is stored by now. If that has other values, or is nothing, the answer is expired already.
        `fetched_at`: see `FreshnessPolicy.dependency`.
        """
        stored = await self.store.get_many([*pages])
        return [
            self.policy.dependency(
                key, kept if page and kept and has_used_values(kept, page, use) else None, fetched_at, use
            )
            for (key, page), kept in zip(pages.items(), stored, strict=True)
        ]

    def record_lookup(
        self,
        context: FetchContext,
        outcome: Outcome,
        *,
        age: float = 0.0,
        calls: Sequence[UpstreamCall] = (),
        dependencies: Sequence[Dependency] = (),
        began: int | None = None,
    ) -> None:
        """Reports one lookup to metrics, tracing and Explain.

        `age`: seconds since the oldest value was fetched. `began`: when the caller began to wait (nanoseconds since the
        epoch); None if it did not wait.
        """
        self.metrics.cache_lookups_by(outcome.name).inc()
        self.tracing.record_lookup(outcome.name, began=began, age=age, requests=[call.span for call in calls])
        context.trace.record(outcome, age=age, calls=calls, dependencies=dependencies)

    def _merged_page(self, cached: Page | None, page: Page, now: float, *, replaces_longer: bool) -> Page:
        if cached is None:
            return page
        older, newer = by_age(cached, page)
        is_older_fresh = older.fetched_at > self.policy.fresh_cutoff(now)
        if is_older_fresh and is_start_of(newer, older) and not (replaces_longer and newer is page):
            return with_versions_of(older, cached)
        return self._merged(cached, page)

    def _merged(self, cached: Page | None, page: Page) -> Page:
        """What is stored of a page, if another one is cached under its key."""
        kept = merged(cached, page, longest_spread=self.policy.ttl_seconds)
        return with_versions_of(kept, cached) if cached and kept is not cached else kept

    async def _store_sessions_of(self, page: Page, key: str, windows: Sequence[StatsWindow]) -> None:
        """Stores the sessions of a page on their own, each with its statistics over these windows."""
        if windows:
            await self.scheduler.wait_for_slot()
        for window in windows:
            await self.store_pages(
                {
                    session_key(scope_of(key), row.id): page.detached_row_page(position, window)
                    for position, row in enumerate(page.rows)
                    if row
                }
            )


def _is_refused_as_a_whole(
    refusal: GatewayError, query: PageQuery, credential: Credential, calls: Sequence[UpstreamCall]
) -> bool:
    """Whether LangSmith refused the credential, and not only what was asked for.

    All clients share the gateway's own credential. What one of them may have made up, such as the id of a dataset in
    another workspace, must not cost the others their pages. Nor must a firewall, which has not checked the credential.
    """
    if not (credential.is_gateways_own and isinstance(refusal, ForbiddenError)):
        return True
    is_by_firewall = any(call.reason == "edge" for call in calls)
    return not (is_by_firewall or query.has_clients_choice)


def may_depend_on_ids(refusal: BadUserInputError | ForbiddenError, credential: Credential) -> bool:
    """Whether LangSmith may have refused a batch because of some of its sessions, and not of its window or credential.

    Clients that share the gateway's own credential look sessions up together, and none may fail because of another.
    """
    names_others = isinstance(refusal, BadUserInputError) and refusal.argument not in {None, IDS}
    return credential.is_gateways_own and not names_others

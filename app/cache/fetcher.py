"""What it takes to ask LangSmith for something that is to be kept: who waits for it, and what becomes of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from app.cache.explain import Dependency, FieldTrace, Outcome
from app.cache.freshness import Freshness
from app.cache.in_flight import InFlight
from app.cache.shared.shared_cache import SharedCache
from app.cache.store import Store
from app.credentials import Credential
from app.errors import BadUserInputError, ForbiddenError, UnauthenticatedError, UpstreamError, UpstreamMalformedError
from app.langsmith.call import UpstreamCall
from app.langsmith.upstream import Upstream
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing
from app.resilience.clock import Clock
from app.sessions.page import Page
from app.sessions.query import PageQuery

T = TypeVar("T")


@dataclass(frozen=True)
class FetchContext:
    """Who waits for a page, and until when (of the event loop's clock). `waits` is called before it does.

    `max_age`: seconds, of one who takes nothing older, and nothing stale.
    """

    credential: Credential
    deadline: float
    trace: FieldTrace
    max_age: float | None = None
    on_wait: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Fetcher:
    """`shared`: what other processes know as well; None where there are none."""

    upstream: Upstream
    store: Store
    freshness: Freshness
    metrics: Metrics
    clock: Clock
    shared: SharedCache | None = None
    spans: Tracing = NO_TRACING

    async def fetch(self, query: PageQuery, under_way: InFlight[Any], credential: Credential) -> Page:
        try:
            return await self.upstream.fetch(query, credential, under_way.calls)
        except (UnauthenticatedError, ForbiddenError):
            # Whoever lost the right to see it is not to see it any longer.
            await self.store.delete_scope(credential.scope)
            if self.shared:
                await self.shared.drop_scope(credential.scope)
            raise
        except (BadUserInputError, UpstreamError, UpstreamMalformedError):
            if not query.prefetch:
                raise
            # Nobody is to fail for what others wanted.
            return await self.upstream.fetch(replace(query, prefetch=frozenset()), credential, under_way.calls)

    async def join(self, under_way: InFlight[T], outcome: Outcome, caller: FetchContext) -> T:
        caller.on_wait()
        began = time.time_ns()
        try:
            return await under_way.task.join(caller.deadline)
        finally:
            self.record_lookup(
                caller, outcome if under_way.outcome is None else under_way.outcome, calls=under_way.calls, began=began
            )

    async def store_page(self, key: str, page: Page) -> None:
        if self.freshness.is_caching:
            await self.store.set(key, page)

    def record_lookup(
        self,
        caller: FetchContext,
        outcome: Outcome,
        *,
        age: float = 0.0,
        calls: Sequence[UpstreamCall] = (),
        uses: Sequence[Dependency] = (),
        began: int | None = None,
    ) -> None:
        """`began`: the nanosecond of the day, where it was waited for."""
        self.metrics.cache_lookups.labels(outcome.name).inc()
        self.spans.record_lookup(outcome.name, began=began, age=age, requests=[call.sending for call in calls])
        caller.trace.record(outcome, age=age, calls=calls, uses=uses)

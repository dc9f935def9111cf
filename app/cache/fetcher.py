"""What it takes to ask LangSmith for something that is to be kept: who waits for it, and what becomes of it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from app.cache.explain import Outcome, Trace, Use
from app.cache.freshness import Freshness
from app.cache.in_flight import Shares
from app.cache.shared.shared_cache import Shared
from app.cache.store import Store
from app.credentials import Credential
from app.errors import BadUserInput, Forbidden, Unauthenticated, UpstreamError, UpstreamMalformed
from app.langsmith.call import Call
from app.langsmith.client import Upstream
from app.observability.metrics import Metrics
from app.observability.tracing import OFF, Spans
from app.resilience.clock import Clock
from app.sessions.page import Page
from app.sessions.query import PageQuery

T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who waits for a page, and until when (of the event loop's clock). `waits` is called before it does.

    `max_age`: seconds, of one who takes nothing older, and nothing stale.
    """

    credential: Credential
    deadline: float
    trace: Trace
    max_age: float | None = None
    waits: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Asking:
    """`shared`: what other processes know as well; None where there are none."""

    upstream: Upstream
    store: Store
    freshness: Freshness
    metrics: Metrics
    clock: Clock
    shared: Shared | None = None
    spans: Spans = OFF

    async def asked(self, query: PageQuery, under_way: Shares[Any], credential: Credential) -> Page:
        try:
            return await self.upstream.get(query, credential, under_way.calls)
        except (Unauthenticated, Forbidden):
            # Whoever lost the right to see it is not to see it any longer.
            await self.store.forget(credential.scope)
            if self.shared:
                await self.shared.forget(credential.scope)
            raise
        except (BadUserInput, UpstreamError, UpstreamMalformed):
            if not query.beside:
                raise
            # Nobody is to fail for what others wanted.
            return await self.upstream.get(replace(query, beside=frozenset()), credential, under_way.calls)

    async def joined(self, under_way: Shares[T], outcome: Outcome, caller: Caller) -> T:
        caller.waits()
        began = time.time_ns()
        try:
            return await under_way.flight.join(caller.deadline)
        finally:
            self.note(
                caller, outcome if under_way.outcome is None else under_way.outcome, calls=under_way.calls, began=began
            )

    async def keep(self, key: str, page: Page) -> None:
        if self.freshness.keeps:
            await self.store.put(key, page)

    def note(
        self,
        caller: Caller,
        outcome: Outcome,
        *,
        age: float = 0.0,
        calls: Sequence[Call] = (),
        uses: Sequence[Use] = (),
        began: int | None = None,
    ) -> None:
        """`began`: the nanosecond of the day, where it was waited for."""
        self.metrics.cache.labels(outcome.name).inc()
        self.spans.looked_up(outcome.name, began=began, age=age, requests=[call.sending for call in calls])
        caller.trace.note(outcome, age=age, calls=calls, uses=uses)

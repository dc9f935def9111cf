"""One GET of LangSmith's sessions: sent, retried where that is safe, bounded, its errors translated.

Retried are failed connections and the statuses 408, 425, 429 and 5xx; `Retry-After` is honoured while it fits into
the time that is left. Each try is counted, and waits for its turn, before it takes a slot.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final
from urllib.parse import urlencode

import aiohttp
import httpx
from structlog.typing import FilteringBoundLogger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from app import __version__, errors
from app.credentials import Credential
from app.langsmith.bounded_body import body_of
from app.langsmith.call import Call
from app.langsmith.concurrency_limit import Slots
from app.langsmith.error_mapping import Passing, StatsSelectRefused, failure_of, refusal_of
from app.langsmith.rate_limit import Budget
from app.observability.metrics import Metrics
from app.observability.tracing import OFF, Spans
from app.resilience.circuit_breaker import FAILURES, PAUSE, Admitted, Breaker
from app.resilience.clock import Clock
from app.sessions import decoding
from app.sessions.fields import FIELDS
from app.sessions.page import Page
from app.sessions.query import PageQuery
from app.sessions.row import rows

_CONNECT_SECONDS: Final = 5.0
_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)
_TICK: Final = 0.01
"""Seconds that a timer of the event loop may come too early."""
_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": f"sessions-gateway/{__version__}",
}


class Upstream:
    """`timeout`: seconds for one query, retries included. `retries`: tries beyond the first."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        base_url: str,
        *,
        timeout: float,
        retries: int,
        concurrency: int,
        budget: Budget,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Clock = time.monotonic,
        spans: Spans = OFF,
    ) -> None:
        self._transport = transport
        self._url = httpx.URL(sessions_url(base_url))
        self._timeout = timeout
        timeouts = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None)
        self._extensions = {"timeout": timeouts.as_dict()}
        self._tries = 1 + retries
        self._slots = Slots(concurrency)
        self._budget = budget
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._spans = spans
        metrics.watch_upstream(under_way=lambda: self._slots.under_way, waiting=lambda: self._slots.waiting)
        self._breaker = Breaker(clock, self._notice_breaker)
        self._selecting = True
        self._seen: set[str] = set()

    async def get(self, query: PageQuery, credential: Credential, calls: list[Call]) -> Page:
        """What LangSmith answers. Each request is put into `calls` as it is made. Raises a GatewayError."""
        try:
            return await self._in_time(query, credential, calls)
        except (errors.RateLimited, errors.UpstreamError, errors.UpstreamTimeout, errors.UpstreamMalformed) as exc:
            call = calls[-1]
            self._log.warning("upstream_failed", code=exc.code, status=call.status, attempts=call.attempts)
            raise

    def is_near_limit(self, scope: str) -> bool:
        """Whether little is left of how often LangSmith may be asked for that credential."""
        return self._budget.is_near(scope)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _in_time(self, query: PageQuery, credential: Credential, calls: list[Call]) -> Page:
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    return await self._request(query, credential, calls, deadline, selecting=self._selecting)
                except StatsSelectRefused:
                    page = await self._request(query, credential, calls, deadline, selecting=False)
                    # Remembered only now: a refusal that quotes a client's filter might read the same.
                    self._stop_selecting()
                    return page
        except TimeoutError as exc:
            raise errors.UpstreamTimeout("LangSmith took too long to answer.") from exc

    async def _request(
        self, query: PageQuery, credential: Credential, calls: list[Call], deadline: float, *, selecting: bool
    ) -> Page:
        call = Call(self._url.path, query.as_params(selecting=selecting))
        calls.append(call)
        started = self._clock()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Passing),
            stop=_stop_after(self._tries, deadline),
            wait=_wait,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    sent = self._clock()
                    body = await self._attempt(call, credential, deadline)
        except Passing as passing:
            raise passing.error from passing
        finally:
            call.milliseconds = (self._clock() - started) * 1000
        found = rows(body)[: query.limit]
        self._notice_unknown_fields(body)
        return Page.of(
            found,
            query,
            statistics=query.known_when_answered(selecting=selecting),
            at=sent,
            body_bytes=len(body),
        )

    async def _attempt(self, call: Call, credential: Credential, deadline: float) -> bytes:
        # While nothing is sent, nothing is counted.
        self._breaker.abandoned(self._admitted())
        await self._budget.admit(credential.scope, deadline)
        try:
            async with self._slots.one(credential.scope):
                with self._watched(self._admitted(), deadline):
                    return await self._sent(call, credential)
        except Passing as passing:
            if isinstance(passing.error, errors.RateLimited) and passing.retry_after is not None:
                await self._budget.stop(credential.scope, passing.retry_after)
            raise

    def _admitted(self) -> Admitted:
        if (admitted := self._breaker.admits()) is None:
            raise errors.UpstreamError("LangSmith keeps failing, and is left alone for a moment. Try again shortly.")
        return admitted

    async def _sent(self, call: Call, credential: Credential) -> bytes:
        call.attempts += 1
        if call.attempts > 1:
            self._metrics.retries.inc()
        started = self._clock()
        outcome = "cancelled"
        sending = call.sending = self._spans.request(
            str(self._url), attempts=call.attempts, statistics=sum(name == "stats_select" for name, _ in call.params)
        )
        try:
            async with self._answer(call, credential, sending.headers) as response:
                call.status = response.status_code
                outcome = str(response.status_code)
                self._notice_deprecation(response)
                body = await body_of(response)
        except httpx.InvalidURL as exc:
            outcome = "unsent"
            raise errors.BadUserInput("The arguments are too long for LangSmith: ask for less at once.") from exc
        except (httpx.HTTPError, aiohttp.ClientError) as exc:
            call.status = None
            outcome, failure = failure_of(exc)
            raise failure from exc
        finally:
            sending.end(outcome)
            self._metrics.upstream.labels(outcome).inc()
            self._metrics.upstream_seconds.observe(self._clock() - started)
        if response.status_code != 200:
            raise refusal_of(response, body, selected="stats_select" in dict(call.params))
        return body

    @contextlib.contextmanager
    def _watched(self, admitted: Admitted, deadline: float) -> Iterator[None]:
        """Tells the breaker how it went. What LangSmith says to one tenant, a 429 too, is an answer."""
        try:
            yield
        except asyncio.CancelledError:
            # By the deadline, which is LangSmith's fault, or because nobody waits any more.
            is_late = asyncio.get_running_loop().time() >= deadline - _TICK
            (self._breaker.failed if is_late else self._breaker.abandoned)(admitted)
            raise
        except Passing as passing:
            is_limit = isinstance(passing.error, errors.RateLimited)
            (self._breaker.answered if is_limit else self._breaker.failed)(admitted)
            raise
        except Exception:
            self._breaker.answered(admitted)
            raise
        self._breaker.answered(admitted)

    @contextlib.asynccontextmanager
    async def _answer(
        self, call: Call, credential: Credential, traced: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        request = httpx.Request(
            "GET",
            self._url.copy_with(raw_path=self._url.raw_path + b"?" + urlencode(call.params).encode()),
            headers={**_HEADERS, **traced, **credential.headers},
            extensions=self._extensions,
        )
        response = await self._transport.handle_async_request(request)
        try:
            yield response
        finally:
            await response.aclose()

    def _stop_selecting(self) -> None:
        if self._selecting:
            self._selecting = False
            self._log.warning("stats_select_refused", consequence="LangSmith is asked for all statistics from now on")

    def _notice_breaker(self, is_open: bool) -> None:
        self._metrics.breaker_open.set(is_open)
        if is_open:
            self._log.warning("upstream_left_alone", failures=FAILURES, seconds=PAUSE)
        else:
            self._log.info("upstream_recovered")

    def _notice_unknown_fields(self, body: bytes) -> None:
        for name in decoding.unknown_fields(body, FIELDS):
            self._metrics.unknown_fields.inc()
            self._notice(f"unknown field {name[:100]}", "upstream_unknown_field", field=name[:100])

    def _notice_deprecation(self, response: httpx.Response) -> None:
        if found := {name: response.headers[name] for name in ("deprecation", "sunset") if name in response.headers}:
            self._metrics.deprecations.inc()
            self._notice("deprecation", "upstream_deprecated", **found)

    def _notice(self, what: str, event: str, **values: str) -> None:
        """Logged once for each thing, and for a bounded number of things."""
        if what not in self._seen and len(self._seen) < 100:
            self._seen.add(what)
            self._log.info(event, **values)


def sessions_url(base_url: str) -> str:
    """Takes a vendor's host, a self-hosted `<host>/api`, and either with `/v1`, as their SDK's variable may have it."""
    base = base_url.rstrip("/")
    for ending in ("/api/v1", "/api"):
        if base.endswith(ending):
            base = base.removesuffix(ending)
            break
    return f"{base}/api/v1/sessions"


def _stop_after(tries: int, deadline: float) -> Callable[[RetryCallState], bool]:
    """A try that comes too late is not waited for: that would only turn what is known now into a time-out."""
    now = asyncio.get_running_loop().time
    return lambda state: state.attempt_number >= tries or now() + state.upcoming_sleep >= deadline


def _wait(state: RetryCallState) -> float:
    passing = state.outcome.exception() if state.outcome else None
    if isinstance(passing, Passing) and passing.retry_after is not None:
        return passing.retry_after
    return _BACKOFF(state)

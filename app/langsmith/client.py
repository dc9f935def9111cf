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
from app.langsmith import v1
from app.langsmith.bounded_body import read_bounded_body
from app.langsmith.call import UpstreamCall
from app.langsmith.concurrency_limit import ConcurrencyLimit
from app.langsmith.error_mapping import RetryableError, StatsSelectRefusedError, map_status, map_transport_error
from app.langsmith.rate_limit import UpstreamRateLimit
from app.observability.metrics import Metrics
from app.observability.tracing import NO_TRACING, Tracing
from app.resilience.circuit_breaker import FAILURES, PAUSE, CircuitBreaker, Permit
from app.resilience.clock import Clock
from app.sessions import decoding
from app.sessions.fields import FIELDS
from app.sessions.page import Page
from app.sessions.query import PageQuery

_CONNECT_SECONDS: Final = 5.0
_BACKOFF: Final = wait_random_exponential(multiplier=0.25, max=5)
_TICK: Final = 0.01
"""Seconds that a timer of the event loop may come too early."""
_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    "user-agent": f"sessions-gateway/{__version__}",
}


class LangSmithClient:
    """`timeout`: seconds for one query, retries included. `retries`: tries beyond the first."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        base_url: str,
        *,
        timeout: float,
        retries: int,
        concurrency: int,
        budget: UpstreamRateLimit,
        metrics: Metrics,
        log: FilteringBoundLogger,
        clock: Clock = time.monotonic,
        spans: Tracing = NO_TRACING,
    ) -> None:
        self._transport = transport
        self._url = httpx.URL(v1.sessions_url(base_url))
        self._timeout = timeout
        timeouts = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None)
        self._extensions = {"timeout": timeouts.as_dict()}
        self._tries = 1 + retries
        self._slots = ConcurrencyLimit(concurrency)
        self._budget = budget
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._spans = spans
        metrics.watch_upstream(in_flight=lambda: self._slots.in_flight, waiting=lambda: self._slots.waiting)
        self._breaker = CircuitBreaker(clock, self._notice_breaker)
        self._selecting = True
        self._seen: set[str] = set()

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        """What LangSmith answers. Each request is put into `calls` as it is made. Raises a GatewayError."""
        try:
            return await self._in_time(query, credential, calls)
        except (
            errors.RateLimitedError,
            errors.UpstreamError,
            errors.UpstreamTimeoutError,
            errors.UpstreamMalformedError,
        ) as exc:
            call = calls[-1]
            self._log.warning("upstream_failed", code=exc.code, status=call.status, attempts=call.attempts)
            raise

    def is_near_limit(self, scope: str) -> bool:
        """Whether little is left of how often LangSmith may be asked for that credential."""
        return self._budget.is_near_limit(scope)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _in_time(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                try:
                    return await self._request(query, credential, calls, deadline, selecting=self._selecting)
                except StatsSelectRefusedError:
                    page = await self._request(query, credential, calls, deadline, selecting=False)
                    # Remembered only now: a refusal that quotes a client's filter might read the same.
                    self._stop_selecting()
                    return page
        except TimeoutError as exc:
            raise errors.UpstreamTimeoutError("LangSmith took too long to answer.") from exc

    async def _request(
        self, query: PageQuery, credential: Credential, calls: list[UpstreamCall], deadline: float, *, selecting: bool
    ) -> Page:
        call = UpstreamCall(self._url.path, v1.params(query, select_statistics=selecting))
        calls.append(call)
        started = self._clock()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            stop=_stop_after(self._tries, deadline),
            wait=_wait,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    sent = self._clock()
                    body = await self._attempt(call, credential, deadline)
        except RetryableError as passing:
            raise passing.error from passing
        finally:
            call.milliseconds = (self._clock() - started) * 1000
        found = v1.parse_rows(body, query)
        self._notice_unknown_fields(body)
        return Page.from_rows(
            found,
            query,
            statistics=query.settled_statistics(select_statistics=selecting),
            at=sent,
            body_bytes=len(body),
        )

    async def _attempt(self, call: UpstreamCall, credential: Credential, deadline: float) -> bytes:
        # While nothing is sent, nothing is counted.
        self._breaker.release(self._admitted())
        await self._budget.acquire(credential.scope, deadline)
        try:
            async with self._slots.acquire(credential.scope):
                with self._watched(self._admitted(), deadline):
                    return await self._sent(call, credential)
        except RetryableError as passing:
            if isinstance(passing.error, errors.RateLimitedError) and passing.retry_after is not None:
                await self._budget.pause(credential.scope, passing.retry_after)
            raise

    def _admitted(self) -> Permit:
        if (admitted := self._breaker.acquire()) is None:
            raise errors.UpstreamError("LangSmith keeps failing, and is left alone for a moment. Try again shortly.")
        return admitted

    async def _sent(self, call: UpstreamCall, credential: Credential) -> bytes:
        call.attempts += 1
        if call.attempts > 1:
            self._metrics.retries.inc()
        started = self._clock()
        outcome = "cancelled"
        sending = call.sending = self._spans.start_request(
            str(self._url), attempts=call.attempts, statistics=sum(name == "stats_select" for name, _ in call.params)
        )
        try:
            async with self._answer(call, credential, sending.headers) as response:
                call.status = response.status_code
                outcome = str(response.status_code)
                self._notice_deprecation(response)
                body = await read_bounded_body(response)
        except httpx.InvalidURL as exc:
            outcome = "unsent"
            raise errors.BadUserInputError("The arguments are too long for LangSmith: ask for less at once.") from exc
        except (httpx.HTTPError, aiohttp.ClientError) as exc:
            call.status = None
            outcome, failure = map_transport_error(exc)
            raise failure from exc
        finally:
            sending.end(outcome)
            self._metrics.upstream_requests.labels(outcome).inc()
            self._metrics.upstream_request_seconds.observe(self._clock() - started)
        if response.status_code != 200:
            raise map_status(response, body, selected="stats_select" in dict(call.params))
        return body

    @contextlib.contextmanager
    def _watched(self, admitted: Permit, deadline: float) -> Iterator[None]:
        """Tells the breaker how it went. What LangSmith says to one tenant, a 429 too, is an answer."""
        try:
            yield
        except asyncio.CancelledError:
            # By the deadline, which is LangSmith's fault, or because nobody waits any more.
            is_late = asyncio.get_running_loop().time() >= deadline - _TICK
            (self._breaker.record_failure if is_late else self._breaker.release)(admitted)
            raise
        except RetryableError as passing:
            is_limit = isinstance(passing.error, errors.RateLimitedError)
            (self._breaker.record_success if is_limit else self._breaker.record_failure)(admitted)
            raise
        except Exception:
            self._breaker.record_success(admitted)
            raise
        self._breaker.record_success(admitted)

    @contextlib.asynccontextmanager
    async def _answer(
        self, call: UpstreamCall, credential: Credential, traced: Mapping[str, str]
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
        self._metrics.circuit_breaker_open.set(is_open)
        if is_open:
            self._log.warning("circuit_breaker_opened", failures=FAILURES, seconds=PAUSE)
        else:
            self._log.info("circuit_breaker_closed")

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


def _stop_after(tries: int, deadline: float) -> Callable[[RetryCallState], bool]:
    """A try that comes too late is not waited for: that would only turn what is known now into a time-out."""
    now = asyncio.get_running_loop().time
    return lambda state: state.attempt_number >= tries or now() + state.upcoming_sleep >= deadline


def _wait(state: RetryCallState) -> float:
    passing = state.outcome.exception() if state.outcome else None
    if isinstance(passing, RetryableError) and passing.retry_after is not None:
        return passing.retry_after
    return _BACKOFF(state)

"""The client of LangSmith: query → request → stack of transports → rows → page, within one deadline."""

import asyncio
import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import httpx
from structlog.typing import FilteringBoundLogger

from app import errors
from app.credentials import Credential
from app.langsmith import v1
from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.call import UpstreamCall
from app.langsmith.error_mapping import StatsSelectRefusedError
from app.langsmith.rate_limit import UpstreamRateLimit
from app.langsmith.request_line import split_to_fit
from app.langsmith.stats_select import StatsSelectSupport
from app.langsmith.transport import UpstreamRequest, UpstreamTransport
from app.langsmith.upstream import Upstream
from app.resilience.clock import Clock
from app.resilience.singleflight import gather_or_cancel
from app.resilience.turns import Turns
from app.sessions.fields import STATS
from app.sessions.page import Page
from app.sessions.query import PageQuery
from app.sessions.row import Row

_LOGGED_ERRORS: Final = (
    errors.RateLimitedError,
    errors.UpstreamError,
    errors.UpstreamTimeoutError,
    errors.UpstreamMalformedError,
)
"""Failures of LangSmith. The other errors are the client's own, such as a wrong key."""


class _Answer(NamedTuple):
    """The rows of one response. `tried_at`: start of the last try, in monotonic seconds."""

    rows: list[Row | None]
    tried_at: float
    body_bytes: int


class LangSmithClient(Upstream):
    """Fetches pages from version 1 of LangSmith's API.

    transport: the outermost layer of the stack, which raises no FailedAttemptError.
    url: the list of sessions, without a query string.
    timeout_seconds: time for one query, retries included.
    rate_limit: the rate limit inside the stack, asked by `is_near_limit`.
    api_changes: is told of unknown fields.
    connections: the pool, which is closed with the client.
    clock: monotonic seconds.
    """

    def __init__(
        self,
        transport: UpstreamTransport,
        *,
        url: str,
        timeout_seconds: float,
        rate_limit: UpstreamRateLimit,
        api_changes: ApiChangeReporter,
        connections: httpx.AsyncBaseTransport,
        log: FilteringBoundLogger,
        clock: Clock,
    ) -> None:
        self._transport = transport
        parsed = httpx.URL(url)
        self._path, self._host = parsed.path, parsed.host
        self._raw_path = parsed.raw_path.decode("ascii")
        self._timeout_seconds = timeout_seconds
        self._rate_limit = rate_limit
        self._api_changes = api_changes
        self._connections = connections
        self._log = log
        self._clock = clock
        self._stats_select = StatsSelectSupport(clock, log)
        self._turns = Turns()

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        parts = split_to_fit(query, self._raw_path)
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        fetch_parts = functools.partial(self._fetch_parts, query, parts, credential, calls, deadline)
        earlier_calls = len(calls)
        try:
            async with asyncio.timeout_at(deadline):
                with self._stats_select.asking(for_statistics=bool(query.requested & STATS)) as selects:
                    try:
                        return await fetch_parts(select_statistics=selects)
                    except StatsSelectRefusedError:
                        page = await fetch_parts(select_statistics=False)
                        # Only this success shows that `stats_select` was the reason: a refusal that quotes a client's
                        # filter might read the same.
                        self._stats_select.record_refusal()
                        return page
        except TimeoutError as exc:
            # If any of the requests was sent, LangSmith did not answer in time.
            call = max(calls[earlier_calls:], key=lambda each: each.attempts)
            error = _timeout_error(call)
            self._log_failure(error, call)
            raise error from exc

    def is_near_limit(self, scope: str) -> bool:
        return self._rate_limit.is_near_limit(scope)

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def _fetch_parts(
        self,
        query: PageQuery,
        parts: Sequence[PageQuery],
        credential: Credential,
        calls: list[UpstreamCall],
        deadline: float,
        *,
        select_statistics: bool,
    ) -> Page:
        answers = await gather_or_cancel(
            *(self._request(part, credential, calls, deadline, select_statistics=select_statistics) for part in parts)
        )
        return Page.from_rows(
            [row for answer in answers for row in answer.rows],
            query,
            statistics=query.settled_statistics(select_statistics=select_statistics),
            at=min(answer.tried_at for answer in answers),
            body_bytes=sum(answer.body_bytes for answer in answers),
        )

    async def _request(
        self,
        query: PageQuery,
        credential: Credential,
        calls: list[UpstreamCall],
        deadline: float,
        *,
        select_statistics: bool,
    ) -> _Answer:
        params = v1.params(query, select_statistics=select_statistics)
        call = UpstreamCall(self._path, params)
        calls.append(call)
        selected = len(query.requested & STATS) if select_statistics else 0
        started_at = self._clock()
        try:
            try:
                response = await self._transport.send(
                    UpstreamRequest(credential, query, params, selected, deadline, call)
                )
            finally:
                call.milliseconds = (self._clock() - started_at) * 1000
            await self._turns.wait()
            rows = v1.parse_rows(response.body, query, self._api_changes.record_unknown_value)
        except errors.GatewayError as exc:
            self._log_failure(exc, call)
            raise
        self._api_changes.record_unknown_fields(response.body)
        return _Answer(rows, call.tried_at, len(response.body))

    def _log_failure(self, error: errors.GatewayError, call: UpstreamCall) -> None:
        if isinstance(error, _LOGGED_ERRORS) or call.reason == "edge":
            self._log.warning(
                "upstream_failed",
                code=error.code,
                host=self._host,
                reason=call.reason or "answer",
                status=call.status,
                attempts=call.attempts,
            )


def _timeout_error(call: UpstreamCall) -> errors.UpstreamTimeoutError:
    """The error of a request whose deadline has passed. A request that was never sent waited for the gateway."""
    if call.attempts:
        call.reason = "timeout"
        return errors.UpstreamTimeoutError("LangSmith took too long to answer.")
    call.reason = "queue"
    return errors.UpstreamTimeoutError(
        "The gateway has too many requests to LangSmith in flight, so this one was not sent in time. Try again shortly."
    )

"""The client of LangSmith: query → requests → stack of transports → rows → page, within one deadline."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from app import errors
from app.credentials import Credential
from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.api_selection import ApiSelection
from app.langsmith.api_version import ApiVersion, Version
from app.langsmith.call import UpstreamCall
from app.langsmith.error_mapping import MISSING_STATUSES, StatsSelectRefusedError
from app.langsmith.http_message import Connections, HttpUrl
from app.langsmith.rate_limit import UpstreamRateLimit
from app.langsmith.request_line import check_length, split_to_fit
from app.langsmith.stats_select import StatsSelectSupport
from app.langsmith.transport import UpstreamRequest, UpstreamTransport
from app.langsmith.upstream import Upstream
from app.langsmith.walk import Walk
from app.langsmith.walker import Answer, Walker
from app.resilience.clock import Clock
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.resilience.singleflight import gather_or_cancel
from app.sessions.fields import STATS
from app.sessions.page import Page
from app.sessions.query import PageQuery

_LOGGED_ERRORS: Final = (
    errors.RateLimitedError,
    errors.UpstreamError,
    errors.UpstreamTimeoutError,
    errors.UpstreamMalformedError,
)
"""Failures of LangSmith. The other errors are the client's own, such as a wrong key."""

_PROBE: Final = PageQuery(limit=1)
"""Asks whether a version of the API is there."""


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One query that is being fetched: for whom, where its requests are recorded, and until when."""

    credential: Credential
    calls: list[UpstreamCall]
    deadline: float


class LangSmithClient(Upstream):
    """Fetches pages from LangSmith's API, in the version that the installation has.

    transport: the outermost layer of the stack, which raises no FailedAttemptError.
    endpoint: base URL of LangSmith, in any form that the vendor's SDK takes.
    versions: the versions of the API, by name.
    selection: which of them is asked.
    walker: reads pages of a version that has no offsets.
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
        endpoint: str,
        versions: dict[Version, ApiVersion],
        selection: ApiSelection,
        walker: Walker,
        timeout_seconds: float,
        rate_limit: UpstreamRateLimit,
        api_changes: ApiChangeReporter,
        connections: Connections,
        log: FilteringBoundLogger,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._versions = versions
        self._urls = {version: HttpUrl.of(api.url(endpoint)) for version, api in versions.items()}
        self._selection = selection
        self._walker = walker
        self._timeout_seconds = timeout_seconds
        self._rate_limit = rate_limit
        self._api_changes = api_changes
        self._connections = connections
        self._log = log
        self._clock = clock
        self._stats_select = StatsSelectSupport(clock, log)
        self._scheduler = CooperativeScheduler()

    @property
    def tells_whether_rows_follow(self) -> bool:
        return self._versions[self._selection.version].has_cursors

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        earlier_calls = len(calls)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._fetch_from_either(query, _Fetch(credential, calls, deadline))
        except TimeoutError as exc:
            # If any of the requests was sent, LangSmith did not answer in time.
            # A page of a walk may have waited for the page before it, without a request of its own.
            waiting = UpstreamCall("", ())
            call = max(calls[earlier_calls:], key=lambda each: each.attempts, default=waiting)
            error = _timeout_error(call)
            self._log_failure(error, call)
            raise error from exc

    def is_near_limit(self, scope: str) -> bool:
        return self._rate_limit.is_near_limit(scope)

    async def aclose(self) -> None:
        await self._connections.aclose()

    async def _fetch_from_either(self, query: PageQuery, fetch: _Fetch) -> Page:
        """The page from the version in use, or from the other one if the list of this one is missing."""
        version = self._selection.choose(can_be_v1=self._can_be_v1(query))
        earlier_calls = len(fetch.calls)
        try:
            page = await self._fetch_from(version, query, fetch)
        except errors.UpstreamError as exc:
            missing = [call for call in fetch.calls[earlier_calls:] if call.status in MISSING_STATUSES]
            if not missing:
                raise
            if not await self._should_ask_other(version, fetch):
                self._log_failure(exc, missing[0])
                raise
            return await self._fetch_from("v1" if version == "v2" else "v2", query, fetch)
        self._selection.record_answer(version)
        return page

    def _can_be_v1(self, query: PageQuery) -> bool:
        try:
            self._versions["v1"].check(query)
        except errors.BadUserInputError:
            return False
        return True

    async def _should_ask_other(self, missing: Version, fetch: _Fetch) -> bool:
        async def has_other(other: Version) -> bool | None:
            calls: list[UpstreamCall] = []
            try:
                await self._ask(
                    self._versions[other], Walk(_PROBE), None, _Fetch(fetch.credential, calls, fetch.deadline)
                )
            except errors.GatewayError:
                return False if calls and calls[-1].status in MISSING_STATUSES else None
            finally:
                fetch.calls.extend(calls)
            return True

        return await self._selection.should_ask_other(missing, has_other, fetch.deadline)

    async def _fetch_from(self, version: Version, query: PageQuery, fetch: _Fetch) -> Page:
        """The page from one version. If LangSmith refuses `stats_select`, all statistics are requested instead."""
        api = self._versions[version]
        api.check(query)
        parts = split_to_fit(query, self._urls[version].raw_path, api)
        with self._stats_select.asking(for_statistics=bool(query.requested & STATS)) as selects:
            try:
                return await self._fetch_parts(api, query, parts, fetch, selects_statistics=selects)
            except StatsSelectRefusedError:
                page = await self._fetch_parts(api, query, parts, fetch, selects_statistics=False)
                # Only this success shows that `stats_select` was the reason: a refusal that quotes a client's filter
                # might read the same.
                self._stats_select.record_refusal()
                return page

    async def _fetch_parts(
        self, api: ApiVersion, query: PageQuery, parts: Sequence[PageQuery], fetch: _Fetch, *, selects_statistics: bool
    ) -> Page:
        if api.has_cursors:
            pages = await gather_or_cancel(
                *(
                    self._walker.fetch(
                        part,
                        fetch.credential.scope,
                        lambda walk, cursor: self._ask(api, walk, cursor, fetch),
                        selects_statistics=selects_statistics,
                    )
                    for part in parts
                )
            )
            return pages[0] if len(pages) == 1 else _joined(pages, query)
        walks = [Walk(part, selects_statistics) for part in parts]
        answers = await gather_or_cancel(*(self._ask(api, walk, None, fetch) for walk in walks))
        return Page.from_rows(
            [row for part, answer in zip(parts, answers, strict=True) for row in answer.rows[: part.limit]],
            query,
            statistics=query.settled_statistics(select_statistics=selects_statistics),
            at=min(answer.requested_at for answer in answers),
            body_bytes=sum(answer.body_bytes for answer in answers),
        )

    async def _ask(self, api: ApiVersion, walk: Walk, cursor: str | None, fetch: _Fetch) -> Answer:
        """One request, and its answer."""
        query = walk.query
        url = self._urls[api.name]
        params = api.params(query, select_statistics=walk.selects_statistics)
        if cursor is not None:
            params = (*params, ("cursor", cursor))
            check_length(query, url.raw_path, params)
        call = UpstreamCall(url.path, params)
        fetch.calls.append(call)
        selected = len(query.requested & STATS) if walk.selects_statistics else 0
        started_at = self._clock()
        try:
            try:
                response = await self._transport.send(
                    UpstreamRequest(fetch.credential, query, api, url, params, selected, fetch.deadline, call)
                )
            finally:
                call.milliseconds = (self._clock() - started_at) * 1000
            await self._scheduler.wait_for_slot()
            rows = api.parse(response.body, self._api_changes.record_unknown_value)
        except errors.GatewayError as exc:
            # If the list is missing, the other version may answer, and nothing has failed.
            if call.status not in MISSING_STATUSES:
                self._log_failure(exc, call)
            raise
        self._api_changes.record_unknown_fields(rows.array)
        return Answer(rows.rows, rows.next_cursor, call.tried_at, len(response.body))

    def _log_failure(self, error: errors.GatewayError, call: UpstreamCall) -> None:
        if isinstance(error, _LOGGED_ERRORS) or call.reason == "edge":
            self._log.warning(
                "upstream_failed",
                code=error.code,
                host=self._urls["v1"].origin[1],
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


def _joined(pages: Sequence[Page], query: PageQuery) -> Page:
    """The page of a lookup whose ids were split over several requests with the same statistics."""
    window = query.window
    return Page.from_rows(
        [row for page in pages for row in page.rows],
        query,
        statistics=frozenset(pages[0].stats_by_window[window].fetched_at) if query.requested else frozenset(),
        at=min(page.fetched_at for page in pages),
        body_bytes=sum(page.body_bytes for page in pages),
    )

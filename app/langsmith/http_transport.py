"""The innermost layer: sends one GET over HTTP, maps its failure, and counts, times and traces it."""

from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from app import __version__
from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.api_version import query_string
from app.langsmith.bounded_body import read_bounded_body
from app.langsmith.error_mapping import check_body, map_status, map_transport_error
from app.langsmith.transport import UpstreamRequest, UpstreamResponse
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.resilience.clock import Clock

_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "gzip",
    # Observed: a CDN in front of one installation answers 403 to the default User-Agent of libraries.
    "user-agent": f"sessions-gateway/{__version__}",
}


class HttpTransport:
    """Sends requests.

    connections: a pool with the interface of an httpx transport, which obeys the extension `target`.
    timeout_seconds: bound of one read; the deadline of the request ends it earlier.
    metrics: counts requests by outcome, and observes how long they took.
    api_changes: is told of headers that announce the end of the endpoint.
    clock: monotonic seconds.
    tracing: opens a span for each request, whose headers are sent to LangSmith.
    """

    def __init__(
        self,
        connections: httpx.AsyncBaseTransport,
        *,
        timeout_seconds: float,
        metrics: Metrics,
        api_changes: ApiChangeReporter,
        clock: Clock,
        tracing: Tracing,
    ) -> None:
        self._connections = connections
        self._timeout = create_timeout(timeout_seconds)
        self._metrics = metrics
        self._api_changes = api_changes
        self._clock = clock
        self._tracing = tracing

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request once.

        Raises what `error_mapping.py` makes of a failure or of a status other than 200, and UpstreamMalformedError for
        a body that cannot be read.
        """
        call = request.call
        call.attempts += 1
        if call.attempts > 1:
            self._metrics.retries.inc()
        started_at = self._clock()
        outcome = "cancelled"
        span = call.span = self._tracing.start_request(
            str(request.url), attempts=call.attempts, statistics=request.selected_statistics_count
        )
        try:
            headers = {**span.headers, **request.credential.headers}
            response = await self._connections.handle_async_request(
                create_request(request.url, request.params, headers, self._timeout)
            )
            try:
                call.status = response.status_code
                outcome = str(response.status_code)
                self._api_changes.record_deprecation(response.headers)
                body = await read_bounded_body(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as exc:
            call.status = None
            failure = map_transport_error(exc)
            outcome = failure.reason
            raise failure from exc
        finally:
            span.end(outcome)
            self._metrics.upstream_requests.labels(outcome).inc()
            self._metrics.upstream_request_seconds.observe(self._clock() - started_at)
        if response.status_code != 200:
            raise map_status(response, body, request)
        check_body(body)
        return UpstreamResponse(body)


def create_timeout(timeout_seconds: float) -> dict[str, float | None]:
    """The time-outs of a request, as an httpx transport takes them."""
    # The pool itself does not bound the wait for a connection: the concurrency limit keeps one free.
    return httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, _CONNECT_TIMEOUT_SECONDS), pool=None).as_dict()


def create_request(
    url: httpx.URL, params: Sequence[tuple[str, str]], headers: Mapping[str, str], timeout: Mapping[str, float | None]
) -> httpx.Request:
    """A GET of the list. `headers`: the credential and those of tracing, beside the ones that every request has."""
    target = url.raw_path.decode("ascii") + "?" + query_string(params)
    return httpx.Request(
        "GET",
        url,
        headers={**_HEADERS, **headers},
        # The target, and not a URL of its own: httpx would parse and check every character of it again.
        extensions={"timeout": timeout, "target": target.encode()},
    )

"""The innermost layer: sends one GET over HTTP, maps its failure, and counts, times and traces it."""

from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from app import __version__
from app.langsmith.api_changes import ApiChangeReporter
from app.langsmith.api_version import query_string
from app.langsmith.bounded_body import read_bounded_body
from app.langsmith.error_mapping import check_body, map_status, map_transport_error
from app.langsmith.http_message import Connections, HttpRequest, HttpUrl, encode_head
from app.langsmith.transport import UpstreamRequest, UpstreamResponse
from app.observability.metrics import Metrics
from app.observability.tracing import Tracing
from app.resilience.clock import Clock

_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_HEADERS: Final = (
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip"),
    # Observed: a CDN in front of one installation answers 403 to the default User-Agent of libraries.
    (b"user-agent", f"sessions-gateway/{__version__}".encode()),
)


class HttpTransport:
    """Sends requests.

    connections: the pool.
    timeout_seconds: bound of one read; the deadline of the request ends it earlier.
    metrics: counts requests by outcome, and observes how long they took.
    api_changes: is told of headers that announce the end of the endpoint.
    clock: monotonic seconds.
    tracing: opens a span for each request, whose headers are sent to LangSmith.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        timeout_seconds: float,
        metrics: Metrics,
        api_changes: ApiChangeReporter,
        clock: Clock,
        tracing: Tracing,
    ) -> None:
        self._connections = connections
        self._timeout_seconds = timeout_seconds
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
            request.url.text, attempts=call.attempts, statistics=request.selected_statistics_count
        )
        try:
            headers = {**span.headers, **request.credential.headers}
            response = await self._connections.get(
                create_request(request.url, request.params, headers, self._timeout_seconds)
            )
            try:
                call.status = response.status
                outcome = str(response.status)
                self._api_changes.record_deprecation(response.headers)
                body = await read_bounded_body(response)
            finally:
                response.stream.close()
        except httpx.HTTPError as exc:
            call.status = None
            failure = map_transport_error(exc)
            outcome = failure.reason
            raise failure from exc
        finally:
            span.end(outcome)
            self._metrics.upstream_requests_by(outcome).inc()
            self._metrics.upstream_request_seconds.observe(self._clock() - started_at)
        if response.status != 200:
            raise map_status(response, body, request)
        check_body(body)
        return UpstreamResponse(body)


def create_request(
    url: HttpUrl, params: Sequence[tuple[str, str]], headers: Mapping[str, str], timeout_seconds: float
) -> HttpRequest:
    """A GET of the list.

    headers: the credential and those of tracing, beside the ones that every request has.
    timeout_seconds: bound of one read. A connection has to be made within five seconds too.
    """
    encoded = ((name.encode("ascii"), value.encode("ascii")) for name, value in headers.items())
    head = encode_head(f"{url.raw_path}?{query_string(params)}", ((b"host", url.host), *_HEADERS, *encoded))
    return HttpRequest(url.origin, head, min(timeout_seconds, _CONNECT_TIMEOUT_SECONDS), timeout_seconds)

"""OpenTelemetry spans; no-ops unless tracing is configured.

The span of an operation continues the trace of the client's `traceparent` header. It has a child span for each cache
lookup, with a link to the request of another operation that the lookup joined, and a child span for each request to
LangSmith, which sends a `traceparent` header. No span contains a document, a variable, a parameter or a credential.
The exporter is configured by OpenTelemetry's own environment variables. The SDK is imported only if they are set.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__, errors
from app.errors import SettingsError

_SERVICE: Final = "sessions-gateway"
_METHODS: Final = frozenset({"GET", "POST"})
_ROUTE: Final = "/graphql"
_INVALID_DOCUMENT: Final = frozenset({errors.PARSE_FAILED, errors.VALIDATION_FAILED})
_SERVER_ERRORS: Final = frozenset(
    {errors.INTERNAL, errors.UpstreamError.code, errors.UpstreamTimeoutError.code, errors.UpstreamMalformedError.code}
)
"""Outcomes that mark a span as failed. The other errors are mistakes of the client."""
_FLUSH_SECONDS: Final = 3.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class RequestSpan:
    """The span of one request to LangSmith. This one is a no-op.

    `headers` are trace headers to send with the request.
    """

    headers: Mapping[str, str] = {}

    def end(self, outcome: str) -> None:
        """End the span. `outcome` is the HTTP status, or the kind of failure such as `connection`."""


class Tracing:
    """The tracing interface, with methods that do nothing. `OtelTracing` records spans."""

    is_on: bool = False

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint, with a span around each operation."""
        return endpoint

    def record_operation(self, *, name: str | None, document: str | None, outcome: str, cost: int) -> str | None:
        """Describe the operation in its span. Returns the trace id in hexadecimal, or None without a trace.

        `document` is the digest of the document, or None if the request has none. It only tells whether there is one.
        """

    def record_lookup(self, outcome: str, *, began: int | None, age: float, requests: Sequence[RequestSpan]) -> None:
        """Record a span for a cache lookup that has just finished.

        Args:
            outcome: `HIT`, `MISS`, `REFILL`, `COALESCED` or `STALE`.
            began: When the lookup began, in nanoseconds since 1970; None for a lookup that did not wait.
            age: Age of the data in seconds.
            requests: Spans of the requests that the lookup waited for.
        """

    def start_request(self, url: str, *, attempts: int, statistics: int) -> RequestSpan:  # noqa: ARG002 - OtelTracing uses them
        """Start the span of a request to LangSmith.

        `attempts` counts the attempts with this one, so 1 is the first. `statistics` is how many statistics the
        request selects.
        """
        return NO_SPAN

    async def aclose(self) -> None:
        """Export the remaining spans."""


NO_SPAN: Final = RequestSpan()
"""The span of requests that are not traced."""
NO_TRACING: Final = Tracing()
"""Tracing that is switched off."""


class OtelTracing(Tracing):
    """Records spans with a tracer provider.

    `propagator` reads and writes trace headers; by default those of W3C Trace Context. `close` exports the remaining
    spans; it may block, so it is called in a thread.
    """

    is_on = True

    def __init__(
        self,
        provider: TracerProvider,
        propagator: TextMapPropagator | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._tracer = provider.get_tracer(_SERVICE, __version__)
        self._propagator = propagator or TraceContextTextMapPropagator()
        self._close = close

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            with self._operation_span(scope) as span:

                async def send_and_record_status(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                    await send(message)

                await endpoint(scope, receive, send_and_record_status)

        return traced

    def record_operation(self, *, name: str | None, document: str | None, outcome: str, cost: int) -> str | None:
        span = get_current_span()
        is_valid_document = document is not None and outcome not in _INVALID_DOCUMENT
        attributes: dict[str, str | int] = {"gateway.outcome": outcome, "gateway.cost": cost}
        if is_valid_document:
            attributes["graphql.operation.type"] = "query"
        if name:
            attributes["graphql.operation.name"] = name
        span.set_attributes(attributes)
        if is_valid_document:
            span.update_name(f"query {name}" if name else "query")
        if outcome in _SERVER_ERRORS:
            _mark_failed(span, outcome)
        context = span.get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else None

    def record_lookup(self, outcome: str, *, began: int | None, age: float, requests: Sequence[RequestSpan]) -> None:
        attributes: dict[str, str | float] = {"gateway.cache.outcome": outcome, "gateway.cache.age": age}
        attributes["gateway.cache.requests"] = len(requests)
        own_trace = get_current_span().get_span_context().trace_id
        contexts = [each.context for each in requests if isinstance(each, _OtelRequestSpan)]
        # A lookup that joins the request of another operation waits for a span of another trace.
        links = [Link(context) for context in contexts if context.trace_id != own_trace]
        self._tracer.start_span("cache", start_time=began, attributes=attributes, links=links).end()

    def start_request(self, url: str, *, attempts: int, statistics: int) -> RequestSpan:
        parts = urlsplit(url)
        attributes: dict[str, str | int] = {
            "http.request.method": "GET",
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
            "url.scheme": parts.scheme,
            "url.path": parts.path,
            "gateway.statistics": statistics,
        }
        if attempts > 1:
            attributes["http.request.resend_count"] = attempts - 1
        span = self._tracer.start_span(f"GET {parts.path}", kind=SpanKind.CLIENT, attributes=attributes)
        return _OtelRequestSpan(span, self._propagator)

    async def aclose(self) -> None:
        """Export the remaining spans, for at most three seconds: a missing collector must not delay the shutdown."""
        closed, loop = asyncio.Event(), asyncio.get_running_loop()

        def close() -> None:
            try:
                self._close()
            finally:
                with contextlib.suppress(RuntimeError):  # the event loop may be closed by now
                    loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await closed.wait()

    @contextlib.contextmanager
    def _operation_span(self, scope: Scope) -> Iterator[Span]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        # The text of an exception may quote the request, so the span records its type only.
        with self._tracer.start_as_current_span(
            "graphql",
            context=self._propagator.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": _ROUTE},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except Exception as exc:
                _mark_failed(span, type(exc).__name__)
                raise


class _OtelRequestSpan(RequestSpan):
    def __init__(self, span: Span, propagator: TextMapPropagator) -> None:
        self._span = span
        self.headers = carrier = dict[str, str]()
        propagator.inject(carrier, set_span_in_context(span))

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    def end(self, outcome: str) -> None:
        if outcome.isdecimal():
            self._span.set_attribute("http.response.status_code", int(outcome))
        if not outcome.isdecimal() or int(outcome) >= 400:
            _mark_failed(self._span, outcome)
        self._span.end()


def _mark_failed(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


def create_tracing(environment: Mapping[str, str]) -> Tracing:
    """Tracing as OpenTelemetry's environment variables configure it; `NO_TRACING` without an exporter or an endpoint.

    Raises SettingsError for an unknown exporter, and if OpenTelemetry's SDK is not installed.
    """
    names = _exporter_names(environment)
    if not names:
        return NO_TRACING
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - an optional dependency
        from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415 - an optional dependency
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an optional dependency

        exporters = [_create_exporter(name, environment) for name in names]
    except ImportError:
        raise SettingsError(
            "OTEL_…: tracing is configured, but OpenTelemetry's SDK is not installed. Run pip install '.[otel]' in a "
            "checkout of the gateway, or set OTEL_SDK_DISABLED=true."
        ) from None
    except ValueError as exc:
        raise SettingsError(f"OTEL_…: {exc}") from exc
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _SERVICE}))
    provider = Provider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    # OpenTelemetry's default propagator would also forward the client's baggage header to LangSmith.
    propagator = propagate.get_global_textmap() if environment.get("OTEL_PROPAGATORS") else None
    return OtelTracing(provider, propagator, provider.shutdown)


def _exporter_names(environment: Mapping[str, str]) -> list[str]:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if _first_set(environment, _ENDPOINTS) else ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip() or default
    return [name for each in named.split(",") if (name := each.strip().lower()) not in {"", "none"}]


def _create_exporter(name: str, environment: Mapping[str, str]) -> Any:
    """The exporter that is registered under a name.

    Raises ImportError if the default exporter is not installed, and ValueError for a name that no package registers.
    """
    if name == "otlp":
        name = "otlp_proto_grpc" if _first_set(environment, _PROTOCOLS) == "grpc" else "otlp_proto_http"
    found = [*entry_points(group="opentelemetry_traces_exporter", name=name)]
    if not found and name == "otlp_proto_http":
        raise ImportError(name)
    if not found:
        raise ValueError(f"no exporter named {name} is installed.")
    return found[0].load()()


def _first_set(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name, "").strip())), "")

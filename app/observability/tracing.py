"""Spans for who traces; nothing where nobody does.

An operation's span goes on what the client's `traceparent` began; below it are one for each lookup in the cache, with
a link where it joined another operation's request, and one for each request to LangSmith, which is sent its
`traceparent`. No span has a document, a variable, a parameter or a credential. Where spans go is said by
OpenTelemetry's own variables; its SDK is imported only then.
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

SERVICE: Final = "sessions-gateway"
_METHODS: Final = frozenset({"GET", "POST"})
_ROUTE: Final = "/graphql"
_UNREAD: Final = frozenset({errors.PARSE_FAILED, errors.VALIDATION_FAILED})
_FAILURES: Final = frozenset(
    {errors.INTERNAL, errors.UpstreamError.code, errors.UpstreamTimeoutError.code, errors.UpstreamMalformedError.code}
)
"""The others are the client's own doing, and no failure of who serves it."""
_FLUSH_SECONDS: Final = 3.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class RequestSpan:
    """A request to LangSmith. `headers`: what is sent along."""

    headers: Mapping[str, str] = {}

    def end(self, outcome: str) -> None:
        """`outcome`: the status, or how it failed."""


class Tracing:
    """Those of nobody: what is called does nothing."""

    is_on: bool = False

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        """The endpoint with a span for each operation."""
        return endpoint

    def record_operation(self, *, name: str | None, document: str | None, outcome: str, cost: int) -> str | None:
        """Says of the operation's span what it was. The id of its trace."""

    def record_lookup(self, outcome: str, *, began: int | None, age: float, requests: Sequence[RequestSpan]) -> None:
        """A lookup in the cache. `began`: in nanoseconds, where it waited. `age`: seconds."""

    def start_request(self, url: str, *, attempts: int, statistics: int) -> RequestSpan:  # noqa: ARG002 - `Recorded` uses them
        """`attempts`: which one it is. `statistics`: how many are asked for."""
        return NO_SPAN

    async def aclose(self) -> None:
        """Sends what has not been sent."""


NO_SPAN: Final = RequestSpan()
NO_TRACING: Final = Tracing()


class OtelTracing(Tracing):
    """Spans of that provider. `close` sends, and may block."""

    is_on = True

    def __init__(
        self,
        provider: TracerProvider,
        propagator: TextMapPropagator | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._tracer = provider.get_tracer(SERVICE, __version__)
        self._propagator = propagator or TraceContextTextMapPropagator()
        self._close = close

    def wrap(self, endpoint: ASGIApp) -> ASGIApp:
        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            with self._operation(scope) as span:

                async def send_noting(message: Message) -> None:
                    if message["type"] == "http.response.start":
                        span.set_attribute("http.response.status_code", message["status"])
                    await send(message)

                await endpoint(scope, receive, send_noting)

        return traced

    def record_operation(self, *, name: str | None, document: str | None, outcome: str, cost: int) -> str | None:
        span = get_current_span()
        is_read = document is not None and outcome not in _UNREAD
        values: dict[str, str | int] = {"gateway.outcome": outcome, "gateway.cost": cost}
        if is_read:
            values["graphql.operation.type"] = "query"
        if name:
            values["graphql.operation.name"] = name
        span.set_attributes(values)
        if is_read:
            span.update_name(f"query {name}" if name else "query")
        if outcome in _FAILURES:
            _fail(span, outcome)
        context = span.get_span_context()
        return format_trace_id(context.trace_id) if context.is_valid else None

    def record_lookup(self, outcome: str, *, began: int | None, age: float, requests: Sequence[RequestSpan]) -> None:
        values: dict[str, str | float] = {"gateway.cache.outcome": outcome, "gateway.cache.age": age}
        values["gateway.cache.requests"] = len(requests)
        own = get_current_span().get_span_context().trace_id
        contexts = [each.context for each in requests if isinstance(each, _OtelRequestSpan)]
        links = [Link(context) for context in contexts if context.trace_id != own]
        self._tracer.start_span("cache", start_time=began, attributes=values, links=links).end()

    def start_request(self, url: str, *, attempts: int, statistics: int) -> RequestSpan:
        parts = urlsplit(url)
        values: dict[str, str | int] = {
            "http.request.method": "GET",
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
            "url.scheme": parts.scheme,
            "url.path": parts.path,
            "gateway.statistics": statistics,
        }
        if attempts > 1:
            values["http.request.resend_count"] = attempts - 1
        span = self._tracer.start_span(f"GET {parts.path}", kind=SpanKind.CLIENT, attributes=values)
        return _OtelRequestSpan(span, self._propagator)

    async def aclose(self) -> None:
        """Not for long: a collector that is not there keeps nobody from ending."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def close() -> None:
            try:
                self._close()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                    loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=close, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await ended.wait()

    @contextlib.contextmanager
    def _operation(self, scope: Scope) -> Iterator[Span]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        # What is raised may quote what it was about.
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
                _fail(span, type(exc).__name__)
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
            _fail(self._span, outcome)
        self._span.end()


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def create_tracing(environment: Mapping[str, str]) -> Tracing:
    """As OpenTelemetry's variables say: off, unless they name an exporter or where to send. Raises SettingsError."""
    names = _exporters(environment)
    if not names:
        return NO_TRACING
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - an extra: not there for all
        from opentelemetry.sdk.trace import TracerProvider as Provider  # noqa: PLC0415 - an extra: not there for all
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra: not there for all

        exporters = [_exporter(name, environment) for name in names]
    except ImportError:
        raise SettingsError(
            "OTEL_…: tracing is configured, but its packages are not installed: pip install 'sessions-gateway[otel]', "
            "or OTEL_SDK_DISABLED=true."
        ) from None
    except ValueError as exc:
        raise SettingsError(f"OTEL_…: {exc}") from exc
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
    provider = Provider(resource=resource, shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    # The default would pass on baggage too, from whoever sends it to LangSmith.
    propagator = propagate.get_global_textmap() if environment.get("OTEL_PROPAGATORS") else None
    return OtelTracing(provider, propagator, provider.shutdown)


def _exporters(environment: Mapping[str, str]) -> list[str]:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if _first(environment, _ENDPOINTS) else ""
    named = environment.get("OTEL_TRACES_EXPORTER", "").strip() or default
    return [name for each in named.split(",") if (name := each.strip().lower()) not in {"", "none"}]


def _exporter(name: str, environment: Mapping[str, str]) -> Any:
    """As it is named to OpenTelemetry. Raises ImportError where it is known, and ValueError where it is not."""
    if name == "otlp":
        name = "otlp_proto_grpc" if _first(environment, _PROTOCOLS) == "grpc" else "otlp_proto_http"
    found = [*entry_points(group="opentelemetry_traces_exporter", name=name)]
    if not found and name == "otlp_proto_http":
        raise ImportError(name)
    if not found:
        raise ValueError(f"no exporter is installed that is called {name}.")
    return found[0].load()()


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := environment.get(name, "").strip())), "")

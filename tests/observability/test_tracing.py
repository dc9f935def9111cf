"""Spans: one for each operation, with a child for each cache lookup and each request, and no secret in any."""

import asyncio
import contextlib
import http.server
import io
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from app.emulator import Emulator, Fault
from app.emulator.server import serving_app
from app.errors import SettingsError
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.observability.tracing import NO_TRACING, OtelTracing, create_tracing
from app.settings import Settings
from tests.conftest import TIMEOUT_SECONDS, Gateway, create_http_client
from tests.observability.test_log import lines
from tests.test_command_line import DEMO, SERVE, UVICORN, ended, is_clean, running

NAMES = "query Names { sessions(first: 1) { nodes { name runCount } } }"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Traced:
    """A gateway with an exporter that collects its spans."""

    def __init__(self, gateway: Gateway, exporter: InMemorySpanExporter) -> None:
        self.gateway = gateway
        self.exporter = exporter

    def spans(self) -> list[ReadableSpan]:
        """Spans that have ended since the last call."""
        found = self.exporter.get_finished_spans()
        self.exporter.clear()
        return list(found)

    async def run(self, query: str, **options: Any) -> dict[str, list[ReadableSpan]]:
        """Run an operation, and return its spans by the first word of their names."""
        self.spans()
        await self.gateway.run(query, **options)
        return by_first_word(self.spans())


def by_first_word(spans: list[ReadableSpan]) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans:
        found.setdefault(span.name.split()[0], []).append(span)
    return found


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context
    return context


def id_of(span: ReadableSpan) -> int:
    return context_of(span).span_id


@contextlib.asynccontextmanager
async def tracing(upstream_url: str, **settings: Any) -> AsyncIterator[Traced]:
    exporter, log = InMemorySpanExporter(), io.StringIO()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(
        Settings(langsmith_endpoint=upstream_url, **settings),
        log=create_log("json", "debug", log),
        tracing=OtelTracing(provider),
    )
    async with (
        app.router.lifespan_context(app) as state,
        serving_app(app, state, http=GatewayProtocol, ws="none") as url,
        create_http_client(url) as client,
    ):
        yield Traced(Gateway(client, app, log), exporter)


@pytest.fixture
async def traced(upstream_url: str) -> AsyncIterator[Traced]:
    async with tracing(upstream_url) as traced:
        yield traced


async def test_an_operation_span_has_child_spans_for_its_lookup_and_its_request(
    traced: Traced, upstream_url: str
) -> None:
    found = await traced.run(NAMES)
    (operation,), (lookup,), (request,) = found["query"], found["cache"], found["GET"]
    assert operation.name == "query Names"
    assert (operation.kind, lookup.kind, request.kind) == (SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT)
    assert attributes_of(operation) == {
        "http.request.method": "POST",
        "http.route": "/graphql",
        "http.response.status_code": 200,
        "graphql.operation.type": "query",
        "graphql.operation.name": "Names",
        "gateway.outcome": "ok",
        "gateway.cost": 3,
    }
    assert attributes_of(lookup) == {
        "gateway.cache.outcome": "MISS",
        "gateway.cache.age": 0.0,
        "gateway.cache.requests": 1,
    }
    assert attributes_of(request) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": httpx.URL(upstream_url).port,
        "url.scheme": "http",
        "url.path": "/api/v1/sessions",
        "gateway.statistics": 1,
    }
    assert parent_of(operation) is None
    assert parent_of(lookup) == parent_of(request) == id_of(operation)
    assert {span.status.status_code for spans in found.values() for span in spans} == {StatusCode.UNSET}
    # The span of a lookup covers the time that the operation waits for the request.
    assert lookup.start_time is not None
    assert request.end_time is not None
    assert lookup.start_time < request.end_time


async def test_a_cache_hit_has_a_lookup_span_and_no_request_span(traced: Traced) -> None:
    await traced.run(NAMES)
    found = await traced.run("{ sessions(first: 1) { nodes { name } } }")
    assert [attributes_of(span)["gateway.cache.outcome"] for span in found["cache"]] == ["HIT"]
    assert parent_of(found["cache"][0]) == id_of(found["query"][0])
    assert "GET" not in found


async def test_every_cached_response_has_an_operation_span(traced: Traced) -> None:
    for _ in range(3):
        found = await traced.run(NAMES)
    assert list(found) == ["query"]
    assert found["query"][0].name == "query Names"


async def test_an_operation_that_joins_a_request_has_a_lookup_span_with_a_link_to_it(
    traced: Traced, langsmith: Emulator
) -> None:
    release = langsmith.pause()
    first = asyncio.create_task(traced.gateway.run(NAMES))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not langsmith.requests:
            await traced.gateway.client.get("/healthz")
        second = asyncio.create_task(traced.gateway.run(NAMES.replace("Names", "Others")))
        metrics = ""
        while "gateway_operations_under_way 2.0" not in metrics:
            metrics = (await traced.gateway.client.get("/metrics")).text
    release.set()
    await asyncio.gather(first, second)
    found = by_first_word(traced.spans())
    by_id = {id_of(span): span.name for span in found["query"]}
    assert sorted(by_id.values()) == ["query Names", "query Others"]
    assert {by_id[parent_of(span) or 0]: attributes_of(span)["gateway.cache.outcome"] for span in found["cache"]} == {
        "query Names": "MISS",
        "query Others": "COALESCED",
    }
    assert [by_id[parent_of(span) or 0] for span in found["GET"]] == ["query Names"]
    assert len({context_of(span).trace_id for span in found["query"]}) == 2
    (request,) = found["GET"]
    assert {
        attributes_of(span)["gateway.cache.outcome"]: [link.context.span_id for link in span.links]
        for span in found["cache"]
    } == {"MISS": [], "COALESCED": [id_of(request)]}


async def test_the_trace_of_the_client_continues_to_langsmith_without_baggage(
    traced: Traced, langsmith: Emulator
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "baggage": "who=somebody"}
    await traced.gateway.post(NAMES, None, **headers)
    found = by_first_word(traced.spans())
    assert {format_trace_id(context_of(span).trace_id) for spans in found.values() for span in spans} == {TRACE}
    assert format_span_id(parent_of(found["query"][0]) or 0) == PARENT
    (request,) = langsmith.requests
    assert request.headers["traceparent"] == f"00-{TRACE}-{format_span_id(id_of(found['GET'][0]))}-01"
    assert "baggage" not in request.headers


async def test_an_unsampled_trace_is_not_recorded_and_stays_unsampled_upstream(
    traced: Traced, langsmith: Emulator
) -> None:
    await traced.gateway.post(NAMES, None, traceparent=f"00-{TRACE}-{PARENT}-00")
    assert traced.spans() == []
    assert langsmith.requests[0].headers["traceparent"].endswith("-00")


async def test_the_log_line_has_the_trace_id(traced: Traced) -> None:
    for query in (NAMES, NAMES, "{"):
        await traced.gateway.run(query)
    spans = [span for span in traced.spans() if span.kind is SpanKind.SERVER]
    assert [line["trace_id"] for line in lines(traced.gateway)] == [
        format_trace_id(context_of(span).trace_id) for span in spans
    ]
    assert len(spans) == 3


async def test_each_attempt_is_a_span_that_is_marked_if_it_failed(upstream_url: str, langsmith: Emulator) -> None:
    async with tracing(upstream_url, upstream_retries=1) as traced:
        langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}, times=None))
        found = await traced.run(NAMES)
        assert [attributes_of(span).get("http.request.resend_count") for span in found["GET"]] == [None, 1]
        for span in found["GET"]:
            assert attributes_of(span)["http.response.status_code"] == 503
            assert attributes_of(span)["error.type"] == "503"
            assert span.status.status_code is StatusCode.ERROR
        (operation,) = found["query"]
        assert attributes_of(operation)["error.type"] == "UPSTREAM_ERROR"
        assert operation.status.status_code is StatusCode.ERROR

        langsmith.faults[:] = [Fault(hang_up=True, times=None)]
        found = await traced.run(NAMES)
        assert {attributes_of(span)["error.type"] for span in found["GET"]} == {"reset"}
        assert not any(span.events for spans in found.values() for span in spans)


async def test_a_mistake_of_the_client_does_not_mark_the_span_as_failed(traced: Traced) -> None:
    for query, name in (
        ("{", "graphql"),
        ("{ nope }", "graphql"),
        ("{ sessions(first: 0) { nodes { id } } }", "query"),
    ):
        (operation,) = [span for spans in (await traced.run(query)).values() for span in spans]
        assert operation.name == name
        assert operation.status.status_code is StatusCode.UNSET
    await traced.gateway.run(NAMES, key=None)
    await traced.gateway.client.request("LOCK", "/graphql")
    methods = [
        (attributes_of(span)["http.request.method"], attributes_of(span)["gateway.outcome"]) for span in traced.spans()
    ]
    assert methods == [("POST", "UNAUTHENTICATED"), ("_OTHER", "BAD_USER_INPUT")]


async def test_other_endpoints_are_not_traced(traced: Traced) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/schema.graphql", "/nope"):
        await traced.gateway.client.get(path, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert traced.spans() == []


async def test_spans_contain_no_credentials_documents_or_variables(upstream_url: str, langsmith: Emulator) -> None:
    query = (
        'query Q($s: String) { a: sessions(first: 7, filter: { nameContains: "hidden-a" }) { nodes { id runCount } }'
    )
    query += " b: sessions(filter: { name: $s }) { nodes { latencyP50 } } }"
    async with tracing(upstream_url, upstream_retries=0) as traced:
        for fault in (None, Fault(status=422, body=b'{"detail": "hidden-c"}'), Fault(hang_up=True)):
            langsmith.faults[:] = [fault] if fault else []
            headers = {"cookie": "hidden-d=1", "x-tenant-id": "hidden-e", "x-gateway-explain": "1"}
            await traced.gateway.post(query, {"s": "hidden-b"}, key="hidden-key", **headers)
            await traced.gateway.post(query, {"s": "hidden-b"}, **headers)
        spans = traced.spans()
    assert len(spans) > 8
    shown = " ".join(f"{span.to_json()} {span.status.description}" for span in spans)
    assert not re.search("hidden|demo|nameContains|first|latency", shown)


async def test_without_tracing_no_trace_header_is_forwarded_and_no_trace_id_is_logged(
    gateway: Gateway, langsmith: Emulator
) -> None:
    await gateway.post(NAMES, None, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert "traceparent" not in langsmith.requests[0].headers
    assert "trace_id" not in lines(gateway)[0]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SERVICE_NAME": "x"},
    ],
)
def test_tracing_is_off_unless_configured(variables: dict[str, str]) -> None:
    assert create_tracing(variables) is NO_TRACING


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "pigeon"}, "no exporter named pigeon is installed"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "named otlp_proto_grpc"),
    ],
)
def test_an_unknown_exporter_is_a_settings_error(variables: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_tracing(variables)


def test_the_tracing_sdk_is_not_imported_unless_configured() -> None:
    # redis-py imports the SDK's metrics if it is installed, so only the trace modules count.
    program = "import sys, app.main; app.main.app; print([name for name in sys.modules if 'ry.sdk.trace' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_configured_tracing_without_the_sdk_stops_the_start_with_one_line(tmp_path: Path) -> None:
    # Python imports this module at the start. It makes every later import of the SDK fail.
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys; sys.modules['opentelemetry.sdk'] = None\n")
    variables = {"PYTHONPATH": str(tmp_path), "OTEL_TRACES_EXPORTER": "otlp"}
    for command in ((*SERVE, "--workers", "2"), (*DEMO,), UVICORN):
        code, out, err = ended(*command, cwd=tmp_path, **variables)
        assert (code, out) == (2, "")
        assert re.fullmatch(r"OTEL_.*pip install '\.\[otel\]'.*\n", err)


class Collector(http.server.ThreadingHTTPServer):
    """Receives spans over OTLP/HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _CollectorHandler)
        self.received: list[tuple[str, dict[str, str], ExportTraceServiceRequest]] = []


class _CollectorHandler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, dict(self.headers), ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_spans_are_exported_to_the_endpoint_in_the_environment(
    tmp_path: Path, collector: Collector, options: tuple[str, ...]
) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hidden",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "GATEWAY_LOG_FORMAT": "json",
    }
    with running(*DEMO, *options, cwd=tmp_path, **variables) as server:
        for _ in range(2):
            assert "errors" not in server.post(NAMES).json()
        # The exporter sends the last spans at shutdown.
        code, printed = server.stopped(by=signal.SIGTERM)
    assert code == 0
    assert is_clean(printed)
    assert "hidden" not in printed
    assert {path for path, _, _ in collector.received} == {"/v1/traces"}
    assert {headers.get("authorization") for _, headers, _ in collector.received} == {"hidden"}
    resources = [each for _, _, sent in collector.received for each in sent.resource_spans]
    described = {each.key: each.value.string_value for each in resources[0].resource.attributes}
    assert described["service.name"] == "sessions-gateway"
    assert described["deployment.environment.name"] == "test"
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    assert sum(span.name == "query Names" for span in spans) == 2
    assert {span.name for span in spans} == {"query Names", "cache", "GET /api/v1/sessions"}
    logged = set(re.findall('"trace_id":"(\\w+)"', printed))
    assert logged == {span.trace_id.hex() for span in spans if span.name == "query Names"}


def test_a_missing_collector_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SERVICE_NAME": "mine"}
    with running(*DEMO, cwd=tmp_path, **variables) as server:
        assert "errors" not in server.post(NAMES).json()
        began = time.monotonic()
        code, _ = server.stopped(by=signal.SIGTERM)
    assert code == 0
    assert time.monotonic() - began < 9

"""The log: one line for each operation, and lines for failures, as JSON or for a console."""

import asyncio
import hashlib
import io
import json
import re
import secrets
import subprocess
import sys
from typing import Any, Literal, TextIO, cast

import pytest
from structlog.typing import FilteringBoundLogger

from app.emulator import Emulator, Fault
from app.observability.log import BufferedLines, create_log, operation_log
from app.observability.metrics import Metrics
from tests.conftest import TIMEOUT_SECONDS, Gateway

NAMED = "query Names { sessions(first: 1) { nodes { name runCount } } }"


def lines(gateway: Gateway, event: str = "operation") -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    return [line for line in parsed if line["event"] == event]


async def test_an_operation_is_logged_as_one_line_of_json(gateway: Gateway) -> None:
    await gateway.post(NAMED, None, **{"x-request-id": "r1"})
    (line,) = lines(gateway)
    assert line.pop("ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "operation",
        "level": "info",
        "name": "Names",
        "document": hashlib.sha256(NAMED.encode()).hexdigest()[:12],
        "cost": 3,
        "outcome": "ok",
        "request_id": "r1",
    }


async def test_the_log_line_has_the_name_of_the_executed_operation(gateway: Gateway) -> None:
    body = {"query": "query A { __typename } query B { __typename }", "operationName": "B"}
    await gateway.client.post("/graphql", json=body)
    assert [line["name"] for line in lines(gateway)] == ["B"]


async def test_an_operation_name_cannot_forge_a_log_line(gateway: Gateway) -> None:
    for name in ("x\n{}", "x outcome=ok"):
        await gateway.client.post("/graphql", json={"query": "{ __typename }", "operationName": name})
    assert [(line["name"], line["outcome"]) for line in lines(gateway)] == [(None, "BAD_USER_INPUT")] * 2


@pytest.mark.parametrize(
    ("query", "outcome"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ sessions(first: 0) { nodes { id } } }", "BAD_USER_INPUT"),
        ("{ sessions(first: 500) { nodes { stats { runCount } errorRate } } }", "ok"),
    ],
)
async def test_the_logged_outcome_is_the_code_of_the_first_error(gateway: Gateway, query: str, outcome: str) -> None:
    await gateway.run(query)
    assert [line["outcome"] for line in lines(gateway)] == [outcome]


async def test_a_request_without_an_operation_is_logged(gateway: Gateway) -> None:
    await gateway.client.post("/graphql", content=b"[]", headers={"content-type": "application/json"})
    (line,) = lines(gateway)
    assert (line["outcome"], line["document"], line["name"]) == ("BAD_USER_INPUT", None, None)


async def test_a_failed_request_to_langsmith_is_logged_as_a_warning(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, times=None))
    await gateway.run(NAMED)
    (line,) = lines(gateway, "upstream_failed")
    assert (line["level"], line["status"]) == ("warning", 503)
    assert line["request_id"] == lines(gateway)[0]["request_id"]
    assert [line["outcome"] for line in lines(gateway)] == ["UPSTREAM_ERROR"]


async def test_all_lines_of_a_request_have_its_id(gateway: Gateway, langsmith: Emulator) -> None:
    for number in range(12):
        langsmith.faults.append(Fault(status=503, times=None))
        await gateway.run(
            f"{{ sessions(first: {number + 1}) {{ nodes {{ name }} }} }}", **{"x-request-id": f"r{number}"}
        )
    ids = [line["request_id"] for line in map(json.loads, gateway.log.getvalue().splitlines())]
    events = {json.loads(line)["event"] for line in gateway.log.getvalue().splitlines()}
    assert events >= {"operation", "upstream_failed"}
    assert list(dict.fromkeys(ids)) == [f"r{number}" for number in range(12)]


async def test_a_request_that_fails_outside_of_graphql_is_logged_with_its_id_and_a_traceback(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Metrics, "as_text", lambda _: 1 / 0)
    response = await gateway.client.get("/metrics", headers={"x-request-id": "r1"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "r1")
    assert "Zero" not in response.text
    (line,) = lines(gateway, "internal_error")
    assert line["request_id"] == "r1"
    assert "ZeroDivisionError" in line["exception"]


def test_lines_below_the_level_are_not_logged() -> None:
    out = io.StringIO()
    log = create_log("json", "warning", out)
    log.info("operation")
    log.warning("upstream_failed")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["upstream_failed"]


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("further", [{}, {"trace_id": "4bf9"}])
def test_the_line_of_an_operation_is_the_one_that_structlog_writes(
    log_format: Literal["console", "json"], further: dict[str, str], *, is_terminal: bool
) -> None:
    out = io.StringIO()
    out.isatty = lambda: is_terminal  # type: ignore[method-assign]
    log = create_log(log_format, "info", out)
    for name, milliseconds in (("Names", 0.1), (None, 12345678.0), (None, 3)):
        record = {"name": name, "document": "ab", "outcome": "ok", "cost": 2, "ms": milliseconds, "request_id": "r1"}
        log.info("operation", **record, **further)
        operation_log(log)(record | further)
    first = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line) for line in out.getvalue().splitlines()]
    assert len(first) == 6
    assert first[::2] == first[1::2]
    assert all("TIME" in line for line in first)


def test_lines_of_operations_are_not_written_below_the_level() -> None:
    out = io.StringIO()
    operation_log(create_log("json", "warning", out))({"name": "Names"})
    assert out.getvalue() == ""


def log_internal_error(log: FilteringBoundLogger, key: str) -> None:
    def fail(key: str) -> None:
        raise LookupError(len(key))

    try:
        fail(key)
    except LookupError:
        log.exception("internal_error")


def test_the_console_format_has_no_colours_and_no_variables_in_tracebacks() -> None:
    out = io.StringIO()
    log = create_log("console", "info", out)
    log.info("operation", outcome="ok", cost=2)
    key = secrets.token_hex()
    log_internal_error(log, key)
    text = out.getvalue()
    assert "operation" in text.splitlines()[0]
    assert "outcome=ok" in text.splitlines()[0]
    assert "LookupError: 64" in text
    assert key not in text
    assert "\x1b" not in text


def test_an_internal_error_in_json_is_one_line_with_its_traceback() -> None:
    out = io.StringIO()
    log_internal_error(create_log("json", "info", out), "")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert line["exception"].startswith("Traceback")


class CountingStream(io.StringIO):
    """Counts how often it is flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0
        self.flushed = asyncio.Event()

    def flush(self) -> None:
        self.flushes += 1
        self.flushed.set()


async def test_lines_logged_at_one_time_are_written_together_in_order() -> None:
    out = CountingStream()
    log = create_log("json", "info", cast("TextIO", BufferedLines(out)))
    for number in range(50):
        log.info("event", number=number)
    assert out.getvalue() == ""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await out.flushed.wait()
    assert [json.loads(line)["number"] for line in out.getvalue().splitlines()] == list(range(50))
    assert out.flushes == 1


async def test_a_full_buffer_is_written_at_once() -> None:
    out = CountingStream()
    log = create_log("json", "info", cast("TextIO", BufferedLines(out)))
    for number in range(5000):
        log.info("event", number=number)
    assert len(out.getvalue().splitlines()) > 4000


def test_a_line_is_written_at_once_without_an_event_loop() -> None:
    out = CountingStream()
    create_log("json", "info", cast("TextIO", BufferedLines(out))).info("event_without_loop")
    assert json.loads(out.getvalue())["event"] == "event_without_loop"


def test_buffered_lines_are_written_at_exit() -> None:
    program = """
import asyncio
from app.observability.log import create_log
async def main():
    create_log("json", "info").info("the last words")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "the last words" in done.stderr

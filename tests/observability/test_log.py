"""One line for each operation, which says what it was and how it went."""

import asyncio
import hashlib
import io
import json
import secrets
import subprocess
import sys
from typing import Any, TextIO, cast

import pytest
from structlog.typing import FilteringBoundLogger

from app.emulator import Emulator, Fault
from app.observability.log import BufferedLines, create_log
from tests.conftest import PATIENCE, Gateway

NAMED = "query Names { sessions(first: 1) { nodes { name runCount } } }"


def lines(gateway: Gateway, event: str = "operation") -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    return [line for line in parsed if line["event"] == event]


async def test_an_operation_is_one_line_of_json(gateway: Gateway) -> None:
    await gateway.post(NAMED, None, **{"x-request-id": "r1"})
    (line,) = lines(gateway)
    assert line.pop("ms") >= 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "operation",
        "level": "info",
        "name": "Names",
        "document": hashlib.sha256(NAMED.encode()).hexdigest()[:12],
        "cost": 2,
        "outcome": "ok",
        "request_id": "r1",
    }


async def test_it_names_the_operation_that_was_picked(gateway: Gateway) -> None:
    body = {"query": "query A { __typename } query B { __typename }", "operationName": "B"}
    await gateway.client.post("/graphql", json=body)
    assert [line["name"] for line in lines(gateway)] == ["B"]


async def test_what_a_client_makes_up_forges_no_line(gateway: Gateway) -> None:
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
async def test_the_outcome_is_the_first_errors_code(gateway: Gateway, query: str, outcome: str) -> None:
    await gateway.run(query)
    assert [line["outcome"] for line in lines(gateway)] == [outcome]


async def test_a_request_that_is_no_operation_is_logged_too(gateway: Gateway) -> None:
    await gateway.client.post("/graphql", content=b"[]", headers={"content-type": "application/json"})
    (line,) = lines(gateway)
    assert (line["outcome"], line["document"], line["name"]) == ("BAD_USER_INPUT", None, None)


async def test_what_langsmith_gets_wrong_is_logged(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, times=None))
    await gateway.run(NAMED)
    (line,) = lines(gateway, "upstream_failed")
    assert (line["level"], line["status"]) == ("warning", 503)
    assert [line["outcome"] for line in lines(gateway)] == ["UPSTREAM_ERROR"]


def test_a_level_keeps_what_is_below_it_out() -> None:
    out = io.StringIO()
    log = create_log("json", "warning", out)
    log.info("operation")
    log.warning("upstream_failed")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["upstream_failed"]


def told_of_a_bug(log: FilteringBoundLogger, key: str) -> None:
    def broken(key: str) -> None:
        raise LookupError(len(key))

    try:
        broken(key)
    except LookupError:
        log.exception("bug")


def test_a_console_gets_plain_lines_and_tracebacks_without_values() -> None:
    out = io.StringIO()
    log = create_log("console", "info", out)
    log.info("operation", outcome="ok", cost=2)
    key = secrets.token_hex()
    told_of_a_bug(log, key)
    text = out.getvalue()
    assert "operation" in text.splitlines()[0]
    assert "outcome=ok" in text.splitlines()[0]
    assert "LookupError: 64" in text
    assert key not in text
    assert "\x1b" not in text


def test_a_bug_in_json_is_one_line_with_its_traceback() -> None:
    out = io.StringIO()
    told_of_a_bug(create_log("json", "info", out), "")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert line["exception"].startswith("Traceback")


class Writes(io.StringIO):
    """How often it was written to, for good."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.written = asyncio.Event()

    def flush(self) -> None:
        self.count += 1
        self.written.set()


async def test_lines_of_one_moment_are_written_together_and_in_their_order() -> None:
    out = Writes()
    log = create_log("json", "info", cast("TextIO", BufferedLines(out)))
    for number in range(50):
        log.info("said", number=number)
    assert out.getvalue() == ""
    async with asyncio.timeout(PATIENCE):
        await out.written.wait()
    assert [json.loads(line)["number"] for line in out.getvalue().splitlines()] == list(range(50))
    assert out.count == 1


async def test_of_very_many_none_is_held_back_for_long() -> None:
    out = Writes()
    log = create_log("json", "info", cast("TextIO", BufferedLines(out)))
    for number in range(5000):
        log.info("said", number=number)
    assert len(out.getvalue().splitlines()) > 4000


def test_where_nothing_will_come_later_a_line_is_written_at_once() -> None:
    out = Writes()
    create_log("json", "info", cast("TextIO", BufferedLines(out))).info("said")
    assert json.loads(out.getvalue())["event"] == "said"


def test_what_is_held_is_written_when_the_process_ends() -> None:
    program = """
import asyncio
from app.observability.log import create_log
async def main():
    create_log("json", "info").info("the last words")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "the last words" in done.stderr

"""Every way in which LangSmith fails: its error code, its tries, what the client and the log may see, and recovery."""

import asyncio
import contextlib
import gzip
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.raw_upstream import (
    Act,
    Connection,
    black_hole,
    closes,
    listed,
    raw_upstream,
    resets,
    response,
    row,
    says,
)

SECONDS = 1.0
"""Time for the upstream work of one operation."""
RETRIES = 1
ALL_TRIES = 1 + RETRIES
MARK = "QUOTED"
"""Text in everything that LangSmith sends. Neither a client nor the log may see it."""
QUERY = "{ sessions(first: 1) { nodes { id name runCount } } }"


async def drips(connection: Connection) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in listed(row(name=MARK)):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.05)


async def waits_before_headers(connection: Connection) -> None:
    await asyncio.sleep(0.1)
    await connection.send(listed(row()))


def cut_body(then: Any) -> Act:
    complete = listed(row(name=MARK))
    return says(complete[:-30], then=then)


def refuse(status: int, body: object = None, **headers: str) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(response(json.dumps(body or {"detail": MARK}).encode(), status=status, headers=named))


@dataclass(frozen=True)
class Case:
    """What LangSmith does, and what has to become of it.

    code: the error code; None if the operation succeeds.
    tries: number of tries that the gateway counts.
    keeps_rows: the page is cached, and only the malformed values or rows are reported.
    """

    acts: list[Act]
    code: str | None
    tries: int
    keeps_rows: bool = False


def fail(code: str, tries: int, *acts: Act | bytes, keeps_rows: bool = False) -> Case:
    return Case([says(act) if isinstance(act, bytes) else act for act in acts], code, tries, keeps_rows)


def recover(tries: int, *acts: Act | bytes) -> Case:
    return Case([says(act) if isinstance(act, bytes) else act for act in acts], None, tries)


BOMB = gzip.compress(gzip.compress(b" " * (64 << 20)))
GOOD = listed(row())
NOT_A_NUMBER = json.dumps([row(run_count=float("nan"))]).encode()
CASES = {
    "a delay before the headers": recover(1, waits_before_headers),
    "a slow drip": fail("UPSTREAM_TIMEOUT", 1, drips),
    "a black hole": fail("UPSTREAM_TIMEOUT", 1, black_hole),
    "a cut body": fail("UPSTREAM_ERROR", ALL_TRIES, cut_body(Connection.close)),
    "a cut body once": recover(ALL_TRIES, cut_body(Connection.close), GOOD),
    "a reset in the body": fail("UPSTREAM_ERROR", ALL_TRIES, cut_body(Connection.reset)),
    "a length that is too long": fail("UPSTREAM_TIMEOUT", 1, response(b"[]", length=100)),
    "a length that is too short": fail("UPSTREAM_MALFORMED", 1, response(b"[]  ", length=1)),
    "a page of HTML with 502": fail("UPSTREAM_ERROR", ALL_TRIES, response(b"<h1>QUOTED</h1>", status=502)),
    "a page of HTML with 200": fail("UPSTREAM_MALFORMED", 1, response(b"<h1>QUOTED</h1>")),
    "nothing with 200": fail("UPSTREAM_MALFORMED", 1, response(b"")),
    "500 once": recover(ALL_TRIES, refuse(500, retry_after="0"), GOOD),
    "500 for ever": fail("UPSTREAM_ERROR", ALL_TRIES, refuse(500, retry_after="0")),
    "503 once": recover(ALL_TRIES, refuse(503, retry_after="0"), GOOD),
    "503 for ever": fail("UPSTREAM_ERROR", ALL_TRIES, refuse(503, retry_after="0")),
    "429": fail("RATE_LIMITED", ALL_TRIES, refuse(429)),
    "429 for no time": recover(ALL_TRIES, refuse(429, retry_after="0"), GOOD),
    "429 for longer than there is": fail("RATE_LIMITED", 1, refuse(429, retry_after="60")),
    "429 until a date": fail("RATE_LIMITED", 1, refuse(429, retry_after="Fri, 31 Dec 2100 23:59:59 GMT")),
    "429 for an absurd time": fail("RATE_LIMITED", 1, refuse(429, retry_after="9" * 30)),
    "429 for QUOTED": fail("RATE_LIMITED", ALL_TRIES, refuse(429, retry_after=MARK)),
    "401": fail("UNAUTHENTICATED", 1, refuse(401)),
    "403": fail("FORBIDDEN", 1, refuse(403, {"error": MARK})),
    "404": fail("UPSTREAM_ERROR", 1, refuse(404)),
    "422": fail("BAD_USER_INPUT", 1, refuse(422, {"detail": [{"loc": ["query", "limit"], "msg": MARK}]})),
    "422 in words": fail("BAD_USER_INPUT", 1, refuse(422)),
    "a redirect": fail("UPSTREAM_ERROR", 1, refuse(302, location=f"http://{MARK}.example/")),
    "a reset": fail("UPSTREAM_ERROR", ALL_TRIES, resets),
    "a reset once": recover(ALL_TRIES, resets, GOOD),
    "a hang-up": fail("UPSTREAM_ERROR", ALL_TRIES, closes),
    "no list": fail("UPSTREAM_MALFORMED", 1, response(b'{"QUOTED": 1}')),
    "a list of something else": fail("UPSTREAM_MALFORMED", 1, response(b'["QUOTED"]')),
    "a field of another type": fail("UPSTREAM_MALFORMED", 1, listed(row(run_count=MARK)), keeps_rows=True),
    "a row without its workspace": fail(
        "UPSTREAM_MALFORMED", 1, listed(row(tenant_id=None, name=MARK)), keeps_rows=True
    ),
    "NaN": fail("UPSTREAM_MALFORMED", 1, response(NOT_A_NUMBER), keeps_rows=True),
    "a huge integer": recover(1, listed(row(run_count=10**30))),
    "bad UTF-8": fail("UPSTREAM_MALFORMED", 1, response(b'[{"id": \xff\xfe}]'), keeps_rows=True),
    "an id in bad UTF-8": fail("UPSTREAM_MALFORMED", 1, response(b'[{"id": "\xff\xfe"}]'), keeps_rows=True),
    "deep JSON": fail("UPSTREAM_MALFORMED", 1, response(b"[" * 200_000)),
    "bad gzip": fail("UPSTREAM_MALFORMED", 1, response(b"QUOTED", headers={"content-encoding": "gzip"})),
    "a gzip bomb": fail(
        "UPSTREAM_MALFORMED", 1, response(gzip.compress(b" " * (64 << 20)), headers={"content-encoding": "gzip"})
    ),
    "a bomb in gzip": fail("UPSTREAM_MALFORMED", 1, response(BOMB, headers={"content-encoding": "gzip, gzip"})),
    "400 MB": fail("UPSTREAM_MALFORMED", 1, response(b" " * (40 << 20), length=400 << 20)),
    "huge headers": fail("UPSTREAM_MALFORMED", 1, response(headers={"x-quoted": MARK * 10_000})),
    "cookies": recover(1, says(response(json.dumps([row()]).encode(), headers={"set-cookie": f"a={MARK}; Path=/"}))),
    "not HTTP": fail("UPSTREAM_MALFORMED", 1, b"SSH-2.0-QUOTED\r\n\r\n"),
}


async def run_and_check(gateway: Any, case_code: str | None) -> list[dict[str, Any]]:
    """Run the query and check everything but the requests that Explain shows, which are returned."""
    async with asyncio.timeout(5 * SECONDS):
        response = await gateway.post(QUERY, None, **{"x-gateway-explain": "1"})
    body = response.json()
    errors = body.get("errors", [])
    assert [error["extensions"]["code"] for error in errors] == ([case_code] if case_code else [])
    for error in errors:
        assert error["path"][0] == "sessions"
    for quoted in (MARK, "Traceback", "api/v1/sessions?", "httpx"):
        visible = json.dumps(errors) + gateway.log.getvalue()
        assert quoted not in visible, visible
    assert "127.0.0.1" not in json.dumps(errors)
    failed = [line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line["event"] != "operation"]
    assert [line["event"] for line in failed if line["event"] != "upstream_rate_limit_paused"] in (
        [],
        ["upstream_failed"],
    )
    requests: list[dict[str, Any]] = body["extensions"]["gateway"]["fields"]["sessions"]["requests"]
    return requests


@pytest.mark.parametrize("name", CASES)
async def test_fault_is_reported_in_time_and_leaves_nothing_behind(serve: Serve, name: str) -> None:
    case = CASES[name]
    async with (
        raw_upstream(*case.acts) as upstream,
        serve(
            langsmith_endpoint=upstream.url, upstream_timeout=SECONDS, upstream_retries=RETRIES, upstream_api="v1"
        ) as gateway,
    ):
        (request,) = await run_and_check(gateway, case.code)
        assert request["attempts"] == case.tries
        upstream.acts = [says(GOOD)]
        # A failure is not cached. Rows with a malformed value are, and report it each time.
        again = QUERY.replace("first: 1", "first: 1, offset: 1") if case.keeps_rows else QUERY
        # Only the credential that LangSmith told to wait does so.
        key = "other" if "upstream_rate_limit_paused" in gateway.log.getvalue() else "demo"
        assert (await gateway.data(again, key=key))["sessions"]["nodes"][0]["name"].startswith("session")


@contextlib.asynccontextmanager
async def refusing_port() -> AsyncIterator[str]:
    """The URL of a port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_refused_connection_is_reported_in_time(serve: Serve) -> None:
    async with refusing_port() as url, serve(langsmith_endpoint=url, upstream_timeout=SECONDS) as gateway:
        await run_and_check(gateway, "UPSTREAM_ERROR")


async def test_unknown_host_is_reported_in_time(serve: Serve) -> None:
    async with serve(langsmith_endpoint="http://nowhere.invalid", upstream_timeout=SECONDS) as gateway:
        await run_and_check(gateway, "UPSTREAM_ERROR")


async def test_tls_to_a_plain_port_is_reported_in_time(serve: Serve, upstream_url: str) -> None:
    url = upstream_url.replace("http:", "https:")
    async with serve(langsmith_endpoint=url, upstream_timeout=SECONDS) as gateway:
        (request,) = await run_and_check(gateway, "UPSTREAM_ERROR")
        assert request["status"] is None

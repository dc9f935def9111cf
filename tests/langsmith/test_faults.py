"""However LangSmith fails: the code, the time, the tries, what is told to whom, and that it goes on after."""

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
"""For one operation's upstream work."""
RETRIES = 1
TWICE = 1 + RETRIES
MARK = "QUOTED"
"""Stands wherever LangSmith says something; no client and no log is to read it."""
QUERY = "{ sessions(first: 1) { nodes { id name runCount } } }"


async def drips(connection: Connection) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in listed(row(name=MARK)):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.05)


async def waits_before_headers(connection: Connection) -> None:
    await asyncio.sleep(0.1)
    await connection.send(listed(row()))


def cut(then: Any) -> Act:
    whole = listed(row(name=MARK))
    return says(whole[:-30], then=then)


def refuses(status: int, body: object = None, **headers: str) -> Act:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(response(json.dumps(body or {"detail": MARK}).encode(), status=status, headers=named))


@dataclass(frozen=True)
class Case:
    """`code`: of the error, None for an answer. `tries`: as the gateway counts them. `keeps_rows`: all but odd ones."""

    acts: list[Act]
    code: str | None
    tries: int
    keeps_rows: bool = False


def fails(code: str, tries: int, *acts: Act | bytes, keeps_rows: bool = False) -> Case:
    return Case([says(act) if isinstance(act, bytes) else act for act in acts], code, tries, keeps_rows)


def recovers(tries: int, *acts: Act | bytes) -> Case:
    return Case([says(act) if isinstance(act, bytes) else act for act in acts], None, tries)


BOMB = gzip.compress(gzip.compress(b" " * (64 << 20)))
GOOD = listed(row())
NOT_A_NUMBER = json.dumps([row(run_count=float("nan"))]).encode()
CASES = {
    "a delay before the headers": recovers(1, waits_before_headers),
    "a slow drip": fails("UPSTREAM_TIMEOUT", 1, drips),
    "a black hole": fails("UPSTREAM_TIMEOUT", 1, black_hole),
    "a cut body": fails("UPSTREAM_ERROR", TWICE, cut(Connection.close)),
    "a cut body once": recovers(TWICE, cut(Connection.close), GOOD),
    "a reset in the body": fails("UPSTREAM_ERROR", TWICE, cut(Connection.reset)),
    "a length that is too long": fails("UPSTREAM_TIMEOUT", 1, response(b"[]", length=100)),
    "a length that is too short": fails("UPSTREAM_MALFORMED", 1, response(b"[]  ", length=1)),
    "a page of HTML with 502": fails("UPSTREAM_ERROR", TWICE, response(b"<h1>QUOTED</h1>", status=502)),
    "a page of HTML with 200": fails("UPSTREAM_MALFORMED", 1, response(b"<h1>QUOTED</h1>")),
    "nothing with 200": fails("UPSTREAM_MALFORMED", 1, response(b"")),
    "500 once": recovers(TWICE, refuses(500, retry_after="0"), GOOD),
    "500 for ever": fails("UPSTREAM_ERROR", TWICE, refuses(500, retry_after="0")),
    "503 once": recovers(TWICE, refuses(503, retry_after="0"), GOOD),
    "503 for ever": fails("UPSTREAM_ERROR", TWICE, refuses(503, retry_after="0")),
    "429": fails("RATE_LIMITED", TWICE, refuses(429)),
    "429 for no time": recovers(TWICE, refuses(429, retry_after="0"), GOOD),
    "429 for longer than there is": fails("RATE_LIMITED", 1, refuses(429, retry_after="60")),
    "429 until a date": fails("RATE_LIMITED", 1, refuses(429, retry_after="Fri, 31 Dec 2100 23:59:59 GMT")),
    "429 for an absurd time": fails("RATE_LIMITED", 1, refuses(429, retry_after="9" * 30)),
    "429 for QUOTED": fails("RATE_LIMITED", TWICE, refuses(429, retry_after=MARK)),
    "401": fails("UNAUTHENTICATED", 1, refuses(401)),
    "403": fails("FORBIDDEN", 1, refuses(403, {"error": MARK})),
    "404": fails("UPSTREAM_ERROR", 1, refuses(404)),
    "422": fails("BAD_USER_INPUT", 1, refuses(422, {"detail": [{"loc": ["query", "limit"], "msg": MARK}]})),
    "422 in words": fails("BAD_USER_INPUT", 1, refuses(422)),
    "a redirect": fails("UPSTREAM_ERROR", 1, refuses(302, location=f"http://{MARK}.example/")),
    "a reset": fails("UPSTREAM_ERROR", TWICE, resets),
    "a reset once": recovers(1, resets, GOOD),
    "a hang-up": fails("UPSTREAM_ERROR", TWICE, closes),
    "no list": fails("UPSTREAM_MALFORMED", 1, response(b'{"QUOTED": 1}')),
    "a list of something else": fails("UPSTREAM_MALFORMED", 1, response(b'["QUOTED"]')),
    "a field of another type": fails("UPSTREAM_MALFORMED", 1, listed(row(run_count=MARK)), keeps_rows=True),
    "a row without its workspace": fails(
        "UPSTREAM_MALFORMED", 1, listed(row(tenant_id=None, name=MARK)), keeps_rows=True
    ),
    "NaN": fails("UPSTREAM_MALFORMED", 1, response(NOT_A_NUMBER), keeps_rows=True),
    "a huge integer": recovers(1, listed(row(run_count=10**30))),
    "bad UTF-8": fails("UPSTREAM_MALFORMED", 1, response(b'[{"id": "\xff\xfe"}]')),
    "deep JSON": fails("UPSTREAM_MALFORMED", 1, response(b"[" * 200_000)),
    "bad gzip": fails("UPSTREAM_MALFORMED", 1, response(b"QUOTED", headers={"content-encoding": "gzip"})),
    "a gzip bomb": fails(
        "UPSTREAM_MALFORMED", 1, response(gzip.compress(b" " * (64 << 20)), headers={"content-encoding": "gzip"})
    ),
    "a bomb in gzip": fails("UPSTREAM_MALFORMED", 1, response(BOMB, headers={"content-encoding": "gzip, gzip"})),
    "400 MB": fails("UPSTREAM_MALFORMED", 1, response(b" " * (40 << 20), length=400 << 20)),
    "huge headers": fails("UPSTREAM_MALFORMED", 1, response(headers={"x-quoted": MARK * 10_000})),
    "cookies": recovers(1, says(response(json.dumps([row()]).encode(), headers={"set-cookie": f"a={MARK}; Path=/"}))),
    "no HTTP": fails("UPSTREAM_MALFORMED", 1, b"SSH-2.0-QUOTED\r\n\r\n"),
}


async def _is_told_well(gateway: Any, case_code: str | None) -> list[dict[str, Any]]:
    """The requests that Explain tells of; everything else about the answer is checked here."""
    async with asyncio.timeout(5 * SECONDS):
        response = await gateway.post(QUERY, None, **{"x-gateway-explain": "1"})
    body = response.json()
    errors = body.get("errors", [])
    assert [error["extensions"]["code"] for error in errors] == ([case_code] if case_code else [])
    for error in errors:
        assert error["path"][0] == "sessions"
    for quoted in (MARK, "127.0.0.1", "Traceback", "api/v1/sessions?", "aiohttp", "httpx"):
        told = json.dumps(errors) + gateway.log.getvalue()
        assert quoted not in told, told
    failed = [line for line in map(json.loads, gateway.log.getvalue().splitlines()) if line["event"] != "operation"]
    assert [line["event"] for line in failed if line["event"] != "upstream_rate_limit_paused"] in (
        [],
        ["upstream_failed"],
    )
    requests: list[dict[str, Any]] = body["extensions"]["gateway"]["fields"]["sessions"]["requests"]
    return requests


@pytest.mark.parametrize("name", CASES)
async def test_each_fault_is_told_in_time_and_leaves_nothing_behind(serve: Serve, name: str) -> None:
    case = CASES[name]
    async with (
        raw_upstream(*case.acts) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=SECONDS, upstream_retries=RETRIES) as gateway,
    ):
        (request,) = await _is_told_well(gateway, case.code)
        assert request["attempts"] == case.tries
        upstream.acts = [says(GOOD)]
        # A failure is not kept; rows with an odd value are, and tell of it each time.
        again = QUERY.replace("first: 1", "first: 1, offset: 1") if case.keeps_rows else QUERY
        # The credential that was told to wait does so; nobody else does.
        key = "other" if "upstream_rate_limit_paused" in gateway.log.getvalue() else "demo"
        assert (await gateway.data(again, key=key))["sessions"]["nodes"][0]["name"].startswith("session")


@contextlib.asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """The address of a port that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_refused_connection_is_told_in_time(serve: Serve) -> None:
    async with nobody() as url, serve(langsmith_endpoint=url, upstream_timeout=SECONDS) as gateway:
        await _is_told_well(gateway, "UPSTREAM_ERROR")


async def test_a_name_that_leads_nowhere_is_told_in_time(serve: Serve) -> None:
    async with serve(langsmith_endpoint="http://nowhere.invalid", upstream_timeout=SECONDS) as gateway:
        await _is_told_well(gateway, "UPSTREAM_ERROR")


async def test_tls_to_a_plain_port_is_told_in_time(serve: Serve, upstream_url: str) -> None:
    url = upstream_url.replace("http:", "https:")
    async with serve(langsmith_endpoint=url, upstream_timeout=SECONDS) as gateway:
        (request,) = await _is_told_well(gateway, "UPSTREAM_ERROR")
        assert request["status"] is None

"""One GET of LangSmith, whatever becomes of it: retried, bounded, cancelled, and each failure told by its code."""

import asyncio
import contextlib
import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.emulator import Emulator, Fault
from app.langsmith.v1 import sessions_url
from app.resilience.circuit_breaker import LONGEST_PAUSE
from tests.conftest import PATIENCE, Clock, Gateway, Serve, asked
from tests.support.raw_upstream import (
    JSON_HEADERS,
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

SECRET = "lsv2_pt_SECRET"
NOW = {"retry-after": "0"}
"""Makes the next try come at once."""


def page(number: int = 0, fields: str = "id") -> str:
    """An operation; each number is another page, so that none is answered from the cache."""
    return f"{{ sessions(first: 1, offset: {number}) {{ nodes {{ {fields} }} }} }}"


async def code_of(gateway: Gateway, query: str) -> str | None:
    """The code of the operation's one error; None where it has none."""
    errors = await gateway.errors(query)
    assert len(errors) <= 1
    return errors[0]["extensions"]["code"] if errors else None


async def attempts_at(gateway: Gateway, query: str) -> tuple[int, int | None]:
    """How often LangSmith was asked, and with which status it ended."""
    requests = (await gateway.explain(query))["fields"]["sessions"]["requests"]
    assert len(requests) == 1
    return requests[0]["attempts"], requests[0]["status"]


def logged(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    """A small one, which starts faster: here it is the answers that matter, not what is in them."""
    return Emulator(clock=clock.now, workspaces={"demo": 20, "demo-2": 20})


@pytest.fixture(autouse=True)
def _nothing_is_left_open(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio and aiohttp tell the loop, not the test, about what they find unclosed or unretrieved."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.name == "asyncio"] == []


WAVES = pytest.mark.xdist_group("waves")
"""Groups begin first: nobody is to wait for the longest tests in the end."""


async def wave_of(count: int, gateway: Gateway, start: int) -> list[dict[str, Any]]:
    """Operations at the same time, each for a page of its own."""
    query = "query ($number: Int!) { sessions(first: 1, offset: $number) { nodes { id } } }"
    return await asyncio.gather(*(gateway.run(query, {"number": start + number}) for number in range(count)))


def successes(bodies: list[dict[str, Any]]) -> int:
    return sum("errors" not in body and body["data"]["sessions"]["nodes"] != [] for body in bodies)


@WAVES
async def test_an_upstream_that_heals_serves_again_after_each_wave_that_a_deadline_cut(
    serve: Serve, clock: Clock
) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url, upstream_timeout=3) as gw:
        for wave in range(4):
            upstream.acts = [black_hole]
            bodies = await wave_of(250, gw, wave * 1000)
            codes = {body["errors"][0]["extensions"]["code"] for body in bodies}
            assert "UPSTREAM_TIMEOUT" in codes <= {"UPSTREAM_TIMEOUT", "RATE_LIMITED", "UPSTREAM_ERROR"}
            await upstream.idle()
            upstream.acts = [says(listed(row()))]
            clock.forward(LONGEST_PAUSE)
            assert successes(await wave_of(1, gw, wave * 1000 + 600)) == 1
            assert successes(await wave_of(20, gw, wave * 1000 + 500)) == 20, f"after wave {wave + 1}"
        assert upstream.most_busy <= 32


@WAVES
async def test_an_upstream_that_heals_serves_again_after_each_wave_of_clients_that_hung_up(serve: Serve) -> None:
    async with raw_upstream(black_hole) as upstream, serve(langsmith_endpoint=upstream.url) as gw:
        for wave in range(4):
            upstream.acts = [black_hole]
            clients = asyncio.create_task(wave_of(250, gw, wave * 1000))
            await upstream.until(lambda: upstream.busy == 32)
            clients.cancel()
            await asyncio.wait([clients])
            await upstream.idle()
            upstream.acts = [says(listed(row()))]
            assert successes(await wave_of(20, gw, wave * 1000 + 500)) == 20, f"after wave {wave + 1}"


async def test_a_black_hole_is_told_as_a_time_out(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=0.3) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        await upstream.idle()


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\ncontent-le", response(b'[{"id":', length=5000)])
async def test_an_answer_that_stops_half_way_is_told_as_a_time_out(serve: Serve, sent: bytes) -> None:
    async def stops(connection: Connection) -> None:
        await connection.send(sent)
        await connection.until_closed()

    async with raw_upstream(stops) as upstream, serve(langsmith_endpoint=upstream.url, upstream_timeout=0.3) as gateway:
        assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        await upstream.idle()


async def test_one_deadline_holds_for_all_the_tries_together(serve: Serve) -> None:
    failing = response(b"", status=503, headers={"retry-after": "1"})
    async with (
        raw_upstream(failing, failing, black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=3) as gateway,
    ):
        # The third try alone would have as long again.
        async with asyncio.timeout(4.8):
            assert await code_of(gateway, page()) == "UPSTREAM_TIMEOUT"
        assert len(upstream.requests) == 3


async def test_a_refused_connection_is_told_as_an_upstream_error(serve: Serve) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        async with serve(langsmith_endpoint=endpoint, upstream_retries=1) as gateway:
            assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
            assert await attempts_at(gateway, page(1)) == (2, None)


async def test_a_host_that_does_not_exist_is_told_as_an_upstream_error(serve: Serve) -> None:
    async with serve(langsmith_endpoint="http://no-such-host.invalid", upstream_retries=0) as gateway:
        assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert "no-such-host" not in gateway.log.getvalue()


async def test_a_host_that_speaks_no_tls_is_told_as_an_upstream_error(serve: Serve, upstream_url: str) -> None:
    async with serve(langsmith_endpoint=upstream_url.replace("http:", "https:"), upstream_retries=0) as gateway:
        assert await code_of(gateway, page()) == "UPSTREAM_ERROR"


async def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(serve: Serve) -> None:
    answer = listed(row())
    async with (
        raw_upstream(says(answer, then=Connection.close), answer) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        await gateway.data(page())
        assert await attempts_at(gateway, page(1)) == (1, 200)
        assert upstream.connections == 2


async def test_a_connection_that_is_closed_just_as_it_is_used_again_is_replaced_unseen(serve: Serve) -> None:
    answer = listed(row())
    async with (
        raw_upstream(answer, closes, answer) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        await gateway.data(page())
        assert await attempts_at(gateway, page(1)) == (1, 200)
        assert upstream.connections == 2


async def test_a_connection_is_used_again(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(5):
            await gateway.data(page(number))
        assert upstream.connections == 1


async def test_no_more_requests_are_under_way_than_the_setting_says(serve: Serve) -> None:
    gate = asyncio.Event()

    async def held(connection: Connection) -> None:
        await gate.wait()
        await connection.send(listed(row()))

    async with (
        raw_upstream(held) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_concurrency=3) as gateway,
        serve(langsmith_endpoint=upstream.url) as another,
    ):
        clients = asyncio.create_task(wave_of(15, gateway, 0))
        await upstream.wait_for_requests(3)
        # Whatever else the gateway had sent would have arrived before this one, which sets out later.
        later = asyncio.create_task(another.data(page()))
        await upstream.wait_for_requests(4)
        assert upstream.busy == 4
        gate.set()
        assert successes(await clients) == 15
        await later
        assert upstream.most_busy <= 4
        assert len(upstream.requests) == 16


async def test_a_request_ends_when_its_only_client_hangs_up(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.pause()
    client = asyncio.create_task(gateway.run(page()))
    await langsmith.wait_for_requests(1)
    client.cancel()
    await langsmith.wait_for_disconnects(1)
    assert langsmith.disconnects == 1
    assert logged(gateway, "upstream_failed") == []


async def test_a_client_that_hangs_up_ends_nothing_for_another(gateway: Gateway, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    leaving, staying = (asyncio.create_task(gateway.data(page())) for _ in range(2))
    await langsmith.wait_for_requests(1)
    # Both have been waiting for it since before this one set out.
    late = asyncio.create_task(gateway.data(page(1)))
    await langsmith.wait_for_requests(2)
    leaving.cancel()
    await asyncio.wait([leaving])
    gate.set()
    assert (await staying)["sessions"]["nodes"] != []
    await late
    assert leaving.cancelled()
    assert langsmith.disconnects == 0
    assert len(langsmith.requests) == 2


async def test_passing_failures_are_tried_again(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults += [Fault(status=status) for status in (408, 425, 429, 500, 502, 503, 504)]
    async with serve() as gateway:
        answers = await asyncio.gather(*(attempts_at(gateway, page(number)) for number in range(7)))
        assert answers == [(2, 200)] * 7
        assert logged(gateway, "upstream_failed") == []


async def test_lasting_failures_are_not_tried_again(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=5) as gateway:
        for number, status in enumerate((400, 401, 403, 404, 409, 413, 422, 301)):
            langsmith.faults.append(Fault(status=status, headers=NOW))
            assert await attempts_at(gateway, page(number)) == (1, status)


# aiohttp itself asks once more, unseen, where the connection was lost before the answer began.
BROKEN: dict[str, tuple[Act, ...]] = {
    "closed before the answer": (closes, closes, closes),
    "reset before the answer": (resets, resets, resets),
    "closed in the headers": (says(b"HTTP/1.1 200 OK\r\nx-a", then=Connection.close),) * 3,
    "closed in the body": (says(response(b'[{"id', length=500), then=Connection.close),),
    "reset in the body": (says(response(b'[{"id', length=500), then=Connection.reset),),
    "closed in a chunk": (
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\n[{", then=Connection.close),
    ),
    "closed between chunks": (
        says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[]\r\n", then=Connection.close),
    ),
    "shorter than its length": (says(response(b"[]", length=3), then=Connection.close),),
}


async def test_a_connection_that_breaks_is_tried_again(serve: Serve) -> None:
    async def attempts_after(*broken: Act) -> tuple[int, int | None]:
        async with (
            raw_upstream(*broken, listed(row())) as upstream,
            serve(langsmith_endpoint=upstream.url) as gateway,
        ):
            return await attempts_at(gateway, page())

    attempts = await asyncio.gather(*(attempts_after(*broken) for broken in BROKEN.values()))
    assert dict(zip(BROKEN, attempts, strict=True)) == dict.fromkeys(BROKEN, (2, 200))


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_connection_that_always_breaks_is_told_as_an_upstream_error(serve: Serve, broken: str) -> None:
    async with (
        raw_upstream(BROKEN[broken][0]) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert await attempts_at(gateway, page(1)) == (1, None)


async def test_tries_end_with_the_last_one_that_is_allowed(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, headers=NOW, times=None))
    async with serve(upstream_retries=4) as gateway:
        assert await attempts_at(gateway, page()) == (5, 503)
        assert len(langsmith.requests) == 5
    async with serve(upstream_retries=0) as gateway:
        assert await attempts_at(gateway, page()) == (1, 503)


async def test_a_final_failure_is_one_line_in_the_log(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503, body=b"SECRET", headers=NOW, times=None))
    async with serve() as gateway:
        await gateway.run(page(), key=SECRET)
        (line,) = logged(gateway, "upstream_failed")
        assert (line["level"], line["code"], line["status"], line["attempts"]) == ("warning", "UPSTREAM_ERROR", 503, 3)
        assert len(gateway.log.getvalue().splitlines()) == 2  # the other is the operation's
        assert "Traceback" not in gateway.log.getvalue()
        assert "SECRET" not in gateway.log.getvalue()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (response(b"", status=429), "RATE_LIMITED"),
        (response(b"", status=404), "UPSTREAM_ERROR"),
        (response(b"<html>"), "UPSTREAM_MALFORMED"),
        (b"no HTTP at all\r\n\r\n", "UPSTREAM_MALFORMED"),
    ],
)
async def test_whatever_is_langsmiths_fault_is_logged(serve: Serve, answer: bytes, code: str) -> None:
    async with (
        raw_upstream(says(answer, then=Connection.close)) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        assert await code_of(gateway, page()) == code
        assert [line["code"] for line in logged(gateway, "upstream_failed")] == [code]
        assert "Traceback" not in gateway.log.getvalue()


@pytest.mark.parametrize("status", [401, 403, 422])
async def test_what_is_the_clients_fault_is_not_logged_as_a_failure(
    gateway: Gateway, langsmith: Emulator, status: int
) -> None:
    langsmith.faults.append(Fault(status=status))
    await gateway.run(page())
    assert logged(gateway, "upstream_failed") == []


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


async def test_a_retry_after_that_fits_is_waited_for(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults += [
        Fault(status=status, headers={"retry-after": value}) for status in (429, 503) for value in ("1", in_seconds(1))
    ]
    async with serve(upstream_timeout=5) as gateway:
        started = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(attempts_at(gateway, page(number)) for number in range(4)))
        assert answers == [(2, 200)] * 4
        assert asyncio.get_running_loop().time() - started >= 1


@pytest.mark.parametrize("value", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00"])
async def test_a_retry_after_that_has_passed_is_not_waited_for(serve: Serve, langsmith: Emulator, value: str) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": value}, times=10))
    async with serve(upstream_timeout=5, upstream_retries=10) as gateway:
        assert await attempts_at(gateway, page()) == (11, 200)


@pytest.mark.parametrize("value", ["60", "an hour", "9" * 30, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_retry_after_that_does_not_fit_fails_at_once(serve: Serve, langsmith: Emulator, value: str) -> None:
    value = in_seconds(3600) if value == "an hour" else value
    langsmith.faults.append(Fault(status=429, headers={"retry-after": value}, times=None))
    async with serve(upstream_timeout=30, upstream_retries=5) as gateway:
        async with asyncio.timeout(PATIENCE):
            (error,) = await gateway.errors(page())
        assert error["extensions"]["code"] == "RATE_LIMITED"
        assert 30 < error["extensions"]["retryAfter"] <= 86_400
        assert len(langsmith.requests) == 1


async def test_another_failure_with_a_retry_after_that_does_not_fit_fails_at_once(
    serve: Serve, langsmith: Emulator
) -> None:
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "60"}, times=None))
    async with serve() as gateway:
        async with asyncio.timeout(PATIENCE):
            assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        assert len(langsmith.requests) == 1


UNREADABLE = [
    "-5",
    "1.5",
    "1e3",
    "",
    " ",
    "soon",
    "\xe9\xff",
    "\xb2",
    "Wed, 21 Oct 99999999999 07:28:00 GMT",
    "Wed, 21 Oct 99999 07:28:00 GMT",
    "Wed, 31 Feb 2026 07:28:00 GMT",
    "Wed, 21 Oct 2026 07:28:00 -9999",
    "Wed, 21 Oct 2026 07:28:00 +99999999999999999999",
]


async def test_a_retry_after_that_cannot_be_read_counts_as_none(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number, value in enumerate(UNREADABLE):
            langsmith.faults.append(Fault(status=429, headers={"retry-after": value}))
            (error,) = await gateway.errors(page(number))
            assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": None}, value


async def test_a_try_without_a_readable_retry_after_comes_after_a_short_while(
    serve: Serve, langsmith: Emulator
) -> None:
    langsmith.faults.append(Fault(status=429, headers={"retry-after": "-5"}))
    async with serve() as gateway:
        assert await attempts_at(gateway, page()) == (2, 200)


CODES = {
    400: "BAD_USER_INPUT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "UPSTREAM_ERROR",
    409: "UPSTREAM_ERROR",
    413: "BAD_USER_INPUT",
    422: "BAD_USER_INPUT",
    429: "RATE_LIMITED",
    500: "UPSTREAM_ERROR",
    502: "UPSTREAM_ERROR",
    204: "UPSTREAM_ERROR",
    301: "UPSTREAM_ERROR",
    302: "UPSTREAM_ERROR",
    307: "UPSTREAM_ERROR",
}

BODIES = [
    b'{"detail": "Invalid SECRET token"}',
    b'{"detail": [{"type": "value_error", "loc": ["query", "SECRET"], "msg": "SECRET", "input": "SECRET"}]}',
    b'{"detail": [{"loc": [null, 1, {"limit": "SECRET"}, ["limit"]]}, 7, null, {"loc": "limit"}, {"loc": {}}]}',
    b'{"error": "Forbidden SECRET"}',
    b'{"type": "SECRET", "title": "SECRET", "status": 400, "detail": {"SECRET": 1}}',
    b"<html><body><h1>SECRET Bad Gateway</h1></body></html>",
    b"",
    b"null",
    b'["SECRET"]',
    b"7",
    b"\xff\xfeSECRET",
    b'{"detail": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("status", CODES)
async def test_each_status_has_its_code_whatever_the_body(serve: Serve, langsmith: Emulator, status: int) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number, body in enumerate(BODIES if status != 204 else [b""]):
            headers = {"x-secret": "SECRET", "www-authenticate": "SECRET"}
            langsmith.faults.append(Fault(status=status, body=body, headers=headers))
            answer = await gateway.post(page(number), key=SECRET)
            (error,) = answer.json()["errors"]
            assert error["extensions"]["code"] == CODES[status], body
            assert error["path"] == ["sessions"]
            for quoted in ("SECRET", "127.0.0.1", "/api/v1", "Traceback"):
                assert quoted not in answer.text, body
        assert "SECRET" not in gateway.log.getvalue()
        assert not logged(gateway, "internal_error")


@pytest.mark.parametrize("encoded", [b"no gzip", gzip.compress(b'{"detail": "x"}')[:-12]], ids=["no gzip", "cut"])
async def test_a_refusal_whose_body_cannot_be_read_has_its_code_still(serve: Serve, encoded: bytes) -> None:
    answer = response(encoded, status=401, headers={"content-encoding": "gzip"})
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert await code_of(gateway, page()) == "UNAUTHENTICATED"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(serve: Serve, status: int) -> None:
    async with (
        raw_upstream(listed(row())) as elsewhere,
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        for number, location in enumerate(("/elsewhere", elsewhere.url, "http://[::", "")):
            upstream.acts = [says(response(b"", status=status, headers={"location": location}))]
            assert await code_of(gateway, page(number)) in {"UPSTREAM_ERROR", "UPSTREAM_MALFORMED"}
            assert len(upstream.requests) == number + 1
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("parameter", "argument"),
    [
        ("limit", "first"),
        ("offset", "offset"),
        ("name_contains", "filter.nameContains"),
        ("filter", "filter.expression"),
        ("metadata", "filter.metadata"),
        ("reference_dataset", "filter.referenceDatasets"),
        ("sort_by", "orderBy.field"),
        ("sort_by_feedback_key", "orderBy.feedbackKey"),
        ("stats_start_time", "stats.since"),
        ("stats_filter", "stats.filter"),
    ],
)
async def test_a_refused_parameter_is_named_as_graphql_has_it(
    gateway: Gateway, langsmith: Emulator, parameter: str, argument: str
) -> None:
    detail = [{"type": "value_error", "loc": ["query", parameter, 0], "msg": "SECRET", "input": "SECRET"}]
    langsmith.faults.append(Fault(status=422, body=json.dumps({"detail": detail}).encode()))
    (error,) = await gateway.errors(page())
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert error["message"].startswith(f"{argument}: ")


async def test_an_argument_that_langsmith_really_refuses_is_named(gateway: Gateway) -> None:
    (error,) = await gateway.errors(
        '{ sessions(stats: {since: "2001-01-01T00:00:00Z"}) { nodes { runCount } } }',
    )
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "stats.since"}


async def test_arguments_that_no_url_can_hold_are_refused_unsent(gateway: Gateway, langsmith: Emulator) -> None:
    query = "query ($part: String) { sessions(filter: {nameContains: $part}) { nodes { id } } }"
    (error,) = await gateway.errors(query, {"part": "a" * 70_000})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert langsmith.requests == []


async def test_where_stats_select_is_refused_all_statistics_are_asked_for(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        expected = await gateway.data(page(0, "id runCount latencyP50"))
        other = await gateway.data(page(1, "id runCount errorRate"))
        asked(langsmith)
    langsmith.refuses_stats_select = True
    async with serve() as gateway:
        assert await gateway.data(page(0, "id runCount latencyP50")) == expected
        first, second = asked(langsmith)
        assert ("stats_select", "run_count") in first
        assert [each for each in first if each[0] != "stats_select"] == second

        assert await gateway.data(page(1, "id runCount errorRate")) == other
        (third,) = asked(langsmith)
        assert ("include_stats", "true") in third
        assert "stats_select" not in dict(third)

        await gateway.data(page(1, "totalTokens promptCost feedbackStats { key n }"))
        assert asked(langsmith) == []
        assert len(logged(gateway, "stats_select_refused")) == 1


async def test_operations_that_learn_of_the_refusal_together_log_it_once(serve: Serve, langsmith: Emulator) -> None:
    langsmith.refuses_stats_select = True
    async with serve() as gateway:
        await asyncio.gather(*(gateway.data(page(number, "runCount")) for number in range(5)))
        assert len(logged(gateway, "stats_select_refused")) == 1


async def test_a_refusal_that_only_mentions_stats_select_changes_nothing(gateway: Gateway, langsmith: Emulator) -> None:
    body = b'{"detail": "Invalid filter: what is stats_select?"}'
    langsmith.faults.append(Fault(status=422, body=body, times=2))
    assert await code_of(gateway, page(0, "runCount")) == "BAD_USER_INPUT"
    asked(langsmith)
    await gateway.data(page(1, "runCount"))
    (params,) = asked(langsmith)
    assert ("stats_select", "run_count") in params
    assert logged(gateway, "stats_select_refused") == []


async def test_what_was_not_sent_is_not_blamed(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=422, body=b'{"detail": "stats_select"}', times=None))
    assert await code_of(gateway, page()) == "BAD_USER_INPUT"
    assert len(langsmith.requests) == 1


async def test_the_second_request_has_what_is_left_of_the_first_ones_time(serve: Serve) -> None:
    refusal = response(b'{"detail": [{"loc": ["query", "stats_select"]}]}', status=422)
    async with (
        raw_upstream(refusal, black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=2) as gateway,
    ):
        assert await code_of(gateway, page(0, "runCount")) == "UPSTREAM_TIMEOUT"
        assert len(upstream.requests) == 2


async def test_a_request_says_what_it_takes_who_it_is_and_who_asks(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        headers = {"x-tenant-id": "a-workspace", "cookie": "a=b", "x-other": "c"}
        await gateway.run(page(), None, key=SECRET, **headers)
        (request,) = upstream.requests
        assert sorted(request.headers) == [
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
            ("host", f"127.0.0.1:{upstream.port}"),
            ("user-agent", f"sessions-gateway/{__version__}"),
            ("x-api-key", SECRET),
            ("x-tenant-id", "a-workspace"),
        ]
        assert request.path == "/api/v1/sessions"


async def test_a_bearer_token_and_its_organization_are_sent_as_they_came(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        headers = {"authorization": "Bearer a.b-c==", "x-organization-id": "an-org"}
        await gateway.run(page(), None, key=None, **headers)
        (request,) = upstream.requests
        assert request.header("authorization") == ["Bearer a.b-c=="]
        assert request.header("x-organization-id") == ["an-org"]
        assert request.header("x-api-key") == []


@pytest.mark.parametrize(
    "value",
    [
        'a+b&c=d é% "',
        "%2B%20%zz%",
        "#fragment?x;y/z\\",
        "\0\x01\x7f\t\r\n",
        "\u2028\U0001f600\u0130",
        "[]{}|^`<>'~*!()@:,",
        " ",
        "é" * 3000,
    ],
)
async def test_a_parameter_arrives_exactly(gateway: Gateway, langsmith: Emulator, value: str) -> None:
    query = "query ($part: String) { sessions(filter: {nameContains: $part}) { nodes { id } } }"
    await gateway.data(query, {"part": value})
    (params,) = asked(langsmith)
    assert params == [("name_contains", value), ("limit", "20")]


async def test_a_cookie_is_never_sent_back(gateway: Gateway, langsmith: Emulator) -> None:
    for number, cookie in enumerate(("a=1", "b=2; Path=/", "c=3; Domain=127.0.0.1; Max-Age=900", "d=\xff; Expires=x")):
        langsmith.faults.append(Fault(rewrite=lambda _: None, headers={"set-cookie": cookie}))
        await gateway.data(page(number), key="demo")
        await gateway.data(page(number + 10), key="demo")
        await gateway.data(page(number + 10), key="demo-2")
    assert len(langsmith.requests) == 12
    assert [request.headers.get("cookie") for request in langsmith.requests] == [None] * 12


async def test_neither_a_proxy_nor_a_password_of_the_environment_is_used(
    serve: Serve, langsmith: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with raw_upstream(response(b"", status=502)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with serve() as gateway:
            await gateway.data(page())
        assert proxy.requests == []
    assert "authorization" not in langsmith.requests[0].headers


@pytest.mark.parametrize(
    "base_url",
    ["https://langsmith", "https://langsmith/", "https://langsmith/api", "https://langsmith/api/v1/"],
)
def test_the_path_follows_from_whatever_the_vendors_variable_holds(base_url: str) -> None:
    assert sessions_url(base_url) == "https://langsmith/api/v1/sessions"


def test_a_path_in_front_of_the_api_stays() -> None:
    assert sessions_url("https://host/tools/langsmith/api") == "https://host/tools/langsmith/api/v1/sessions"


@pytest.mark.parametrize("ending", ["", "/", "/api", "/api/", "/api/v1", "/api/v1/"])
async def test_each_form_of_the_endpoint_is_served(
    serve: Serve, langsmith: Emulator, upstream_url: str, ending: str
) -> None:
    async with serve(langsmith_endpoint=upstream_url + ending) as gateway:
        await gateway.data(page())
        assert langsmith.requests[0].path == "/api/v1/sessions"


GZIP = {**JSON_HEADERS, "content-encoding": "gzip"}
MALFORMED = {
    "empty": response(b""),
    "null": response(b"null"),
    "an object": response(b'{"items": [], "next_cursor": null}'),
    "a string": response(b'"SECRET"'),
    "no objects in it": response(b'[1, "SECRET", null]'),
    "objects and others": response(json.dumps([row(), 1]).encode()),
    "HTML": response(b"<html>SECRET</html>", headers={"content-type": "text/html"}),
    "cut JSON": response(b'[{"id": "SECRET'),
    "two documents": response(b"[][]"),
    "no UTF-8": response(b'[{"id": "\xff"}]'),
    "UTF-16": response("[]".encode("utf-16")),
    "a byte order mark": response(b"\xef\xbb\xbf[]"),
    "NUL bytes": response(b"\0" * 1000),
    "deep": response(b"[" * 200_000),
    "deep and whole": response(b"[" * 200_000 + b"]" * 200_000),
    "deep in a value": response(json.dumps([row()]).encode()[:-2] + b', "extra": ' + b"[" * 9**5 + b"]" * 9**5 + b"}]"),
    "longer than its length": response(listed(row()), length=7),
    "no gzip": response(b"[]", headers=GZIP),
    "cut gzip": response(gzip.compress(json.dumps([row()]).encode() * 100)[:-60], headers=GZIP),
    "gzip of an empty body": response(gzip.compress(b""), headers=GZIP),
    "twice gzip": response(gzip.compress(gzip.compress(b"[]")), headers={"content-encoding": "gzip, gzip"}),
    "a compression not asked for": response(zlib.compress(b"[]"), headers={"content-encoding": "deflate"}),
    "an unknown compression": response(b"[]", headers={"content-encoding": "SECRET"}),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "a status that is none": response(status="abc"),
    "a status of four digits": response(status=1000),
    "a header line without a colon": b"HTTP/1.1 200 OK\r\nSECRET\r\ncontent-length: 2\r\n\r\n[]",
    "a header name of other bytes": b"HTTP/1.1 200 OK\r\n\xff\xfe: SECRET\r\ncontent-length: 2\r\n\r\n[]",
    "a header value with a NUL": b"HTTP/1.1 200 OK\r\nx-a: SECRET\0\r\ncontent-length: 2\r\n\r\n[]",
    "a huge header": response(headers={"x-a": "SECRET" * 20_000}),
    "a thousand headers": response(headers={f"x-{number}": "SECRET" for number in range(5000)}),
    "a length below zero": response(length=-1),
    "a length without bounds": response(length=10**40),
    "two lengths": response(headers={"content-length": "5"}),
    "a length and chunks": response(headers={"transfer-encoding": "chunked"}),
    "a chunk of no size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nSECRET\r\n[]\r\n0\r\n\r\n",
}


async def test_an_answer_that_cannot_be_read_is_told_as_malformed(serve: Serve) -> None:
    async with (
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_timeout=5) as gateway,
    ):
        for number, (name, answer) in enumerate(MALFORMED.items()):
            upstream.acts = [says(answer, then=Connection.close)]
            upstream.requests.clear()
            told = await gateway.post(page(number))
            assert "errors" in told.json(), name
            (error,) = told.json()["errors"]
            assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}, name
            assert error["path"] == ["sessions"]
            assert "SECRET" not in told.text, name
            assert len(upstream.requests) == 1, name
            upstream.acts = [says(listed(row()))]
            assert len((await gateway.data(page(number)))["sessions"]["nodes"]) == 1, name
        assert "SECRET" not in gateway.log.getvalue()
        assert logged(gateway, "internal_error") == []


READABLE = {
    "words behind the status that are no UTF-8": b"HTTP/1.1 200 Tr\xe8s bien\r\ncontent-length: %d\r\n\r\n",
    "no words behind the status": b"HTTP/1.1 200\r\ncontent-length: %d\r\n\r\n",
    "a header value that is no UTF-8": b"HTTP/1.1 200 OK\r\nx-a: \xff\xfe\r\ncontent-length: %d\r\n\r\n",
    "another content type": b"HTTP/1.1 200 OK\r\ncontent-type: text/x; charset=klingon\r\ncontent-length: %d\r\n\r\n",
    "a cookie that is none": b"HTTP/1.1 200 OK\r\nset-cookie: \xff=;;domain=[::\r\ncontent-length: %d\r\n\r\n",
    "an interim answer before it": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n",
}


@pytest.mark.parametrize("name", READABLE)
async def test_an_answer_that_is_merely_odd_is_read(serve: Serve, name: str) -> None:
    body = json.dumps([row()]).encode()
    async with (
        raw_upstream(READABLE[name] % len(body) + body) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1


async def test_a_failure_whose_words_are_no_utf_8_keeps_its_status(serve: Serve) -> None:
    answer = b"HTTP/1.1 403 Acc\xe8s refus\xe9\r\ncontent-length: 0\r\n\r\n"
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert await code_of(gateway, page()) == "FORBIDDEN"


async def test_an_answer_without_a_length_ends_with_its_connection(serve: Serve) -> None:
    answer = says(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps([row()]).encode(), then=Connection.close)
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1


async def test_a_compressed_answer_is_read(serve: Serve) -> None:
    body = gzip.compress(json.dumps([row(name="x" * 10_000)]).encode())
    async with (
        raw_upstream(response(body, headers=GZIP)) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        data = await gateway.data(page(0, "name"))
        assert data["sessions"]["nodes"] == [{"name": "x" * 10_000}]


def _endless_gzip() -> Iterator[bytes]:
    """A MiB of zeros in each piece, at a thousandth of its size."""
    deflate = zlib.compressobj(9, wbits=-15)
    piece = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    while True:
        yield piece


def _endless() -> Iterator[bytes]:
    yield b"["
    while True:
        yield b" " * (1 << 20)


@pytest.mark.parametrize(("headers", "pieces"), [("", _endless), ("content-encoding: gzip\r\n", _endless_gzip)])
@pytest.mark.parametrize(("status", "code"), [(200, "UPSTREAM_MALFORMED"), (401, "UNAUTHENTICATED")])
async def test_an_answer_without_end_is_cut_off(
    serve: Serve, status: int, code: str, headers: str, pieces: Callable[[], Iterator[bytes]]
) -> None:
    sent = 0

    async def floods(connection: Connection) -> None:
        nonlocal sent
        await connection.send(f"HTTP/1.1 {status} OK\r\n{headers}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for piece in pieces():
                await connection.send(piece)
                sent += len(piece)

    async with raw_upstream(floods) as upstream, serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway:
        tracemalloc.start()
        try:
            assert await code_of(gateway, page()) == code
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await upstream.idle()
        assert peak < 128 << 20
        assert sent < 64 << 20
        upstream.acts = [says(listed(row()))]
        await gateway.data(page(1))


async def test_an_answer_within_the_bound_is_read(serve: Serve) -> None:
    answer = listed(row(description="x" * (16 << 20)))
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1


ODD: list[tuple[str, object, str]] = [
    ("run_count", "many", "runCount"),
    ("run_count", 1.5, "runCount"),
    ("run_count", True, "runCount"),
    ("error_rate", "0.5", "errorRate"),
    ("error_rate", [], "errorRate"),
    ("total_cost", "free", "totalCost"),
    ("total_cost", {}, "totalCost"),
    ("start_time", "yesterday", "startTime"),
    ("start_time", 1_700_000_000, "startTime"),
    ("name", 7, "name"),
    ("reference_dataset_id", "no-uuid", "referenceDatasetId"),
    ("trace_tier", "eternal", "traceTier"),
    ("run_facets", {"a": 1}, "runFacets"),
    ("feedback_stats", [1], "feedbackStats"),
]


@pytest.mark.parametrize(("name", "value", "field"), ODD)
async def test_an_odd_value_costs_its_field_where_it_is_selected(
    gateway: Gateway, langsmith: Emulator, name: str, value: object, field: str
) -> None:
    selected = f"{field} {{ key }}" if field == "feedbackStats" else field
    langsmith.faults.append(Fault(rewrite=lambda rows: rows[1].update({name: value})))
    body = await gateway.run(f"{{ sessions(first: 3) {{ nodes {{ id description odd: {selected} }} }} }}")
    (error,) = body["errors"]
    assert error["path"] == ["sessions", "nodes", 1, "odd"]
    assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
    assert "127.0.0.1" not in error["message"]
    nodes = body["data"]["sessions"]["nodes"]
    assert nodes[1] == {**nodes[1], "odd": None}
    assert len({node["id"] for node in nodes}) == 3
    await gateway.data("{ sessions(first: 3) { nodes { id description } } }")
    assert len(asked(langsmith)) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000], ids=lambda text: text[:9])
async def test_a_number_that_is_none_costs_its_field(serve: Serve, number: str) -> None:
    rows = json.dumps([row(1, error_rate=0, run_count=0, total_cost=0), row(2, error_rate=0.5)])
    answer = response(rows.replace(": 0,", f": {number},").replace(": 0}", f": {number}}}").encode())
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        body = await gateway.run("{ sessions { nodes { name errorRate runCount totalCost } } }")
        assert [(error["path"], error["extensions"]) for error in body["errors"]] == [
            (["sessions", "nodes", 0, field], {"code": "UPSTREAM_MALFORMED"})
            for field in ("errorRate", "runCount", "totalCost")
        ]
        first, second = body["data"]["sessions"]["nodes"]
        assert (first["name"], second["name"], second["errorRate"]) == ("session 1", "session 2", 0.5)


async def test_numbers_beyond_any_word_are_read_exactly(serve: Serve) -> None:
    rows = json.dumps([row(run_count=10**40, total_cost="0." + "1" * 50)]).encode()
    async with raw_upstream(response(rows)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        answer = await gateway.post("{ sessions { nodes { runCount totalCost } } }")
        assert str(10**40) in answer.text
        assert "0." + "1" * 50 in answer.text


@pytest.mark.parametrize("name", ["id", "tenant_id"])
@pytest.mark.parametrize("value", [None, 7, "no-uuid", "absent"])
async def test_rows_without_their_id_or_workspace_are_left_out_with_one_error(
    gateway: Gateway, langsmith: Emulator, name: str, value: object
) -> None:
    def spoil(rows: list[dict[str, Any]]) -> None:
        for each in rows[1:3]:
            del each[name]
            if value != "absent":
                each[name] = value

    langsmith.faults.append(Fault(rewrite=spoil))
    body = await gateway.run("{ sessions(first: 5) { nodes { name } } }")
    (error,) = body["errors"]
    assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
    assert error["path"] == ["sessions"]
    assert len(body["data"]["sessions"]["nodes"]) == 3


async def test_rows_beyond_those_asked_for_are_cut(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(rewrite=lambda rows: rows * 7))
    assert len((await gateway.data("{ sessions(first: 2) { nodes { id } } }"))["sessions"]["nodes"]) == 2
    # Nor do they answer for the rows that really come next.
    nodes = (await gateway.data("{ sessions(first: 5) { nodes { id } } }"))["sessions"]["nodes"]
    assert len({node["id"] for node in nodes}) == 5


async def metric(gateway: Gateway, name: str) -> float:
    lines = (await gateway.client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.parametrize("header", ["deprecation", "sunset"])
async def test_an_announced_end_is_counted_and_logged_once(gateway: Gateway, langsmith: Emulator, header: str) -> None:
    value = "Thu, 01 Jul 2027 00:00:00 GMT"
    langsmith.faults.append(Fault(rewrite=lambda _: None, headers={header: value}, times=2))
    for number in range(3):
        await gateway.data(page(number))
    assert await metric(gateway, "gateway_upstream_deprecations_total") == 2
    (line,) = logged(gateway, "upstream_deprecated")
    assert line[header] == value


async def test_a_field_that_is_not_known_is_counted_and_logged_once(serve: Serve) -> None:
    news = {"experiment_progress": None, "brand_new": 400}
    new, old = listed(row() | news), listed(row())
    async with raw_upstream(new, new, old) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(3):
            await gateway.data(page(number))
        assert await metric(gateway, "gateway_upstream_unknown_fields_total") == 4
        assert sorted(line["field"] for line in logged(gateway, "upstream_unknown_field")) == sorted(news)


async def test_unknown_fields_without_end_are_logged_only_so_often(serve: Serve) -> None:
    rows = row() | {f"field_{number}": 1 for number in range(500)} | {"a" * 100_000: 1, "\ud800\n": 2}
    async with raw_upstream(listed(rows)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        await gateway.data(page())
        assert len(logged(gateway, "upstream_unknown_field")) == 100
        assert len(gateway.log.getvalue()) < 50_000


async def test_requests_are_counted_by_how_they_ended(serve: Serve) -> None:
    failing = response(b"", status=503, headers=NOW)
    async with (
        raw_upstream(failing, closes, closes, b"garbage\r\n\r\n") as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        await gateway.run(page())
        upstream.acts = [says(listed(row()))]
        await gateway.data(page(1))
        for status in ("503", "connection", "malformed", "200"):
            assert await metric(gateway, f'gateway_upstream_requests_total{{status="{status}"}}') == 1
        assert await metric(gateway, "gateway_upstream_request_seconds_count") == 4

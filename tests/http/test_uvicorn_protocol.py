"""Requests that come again byte by byte are answered as the first time, whatever comes between, before or after."""

import asyncio
import contextlib
import gc
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator
from app.http.response_cache import CachedResponse
from tests.conftest import PATIENCE, Clock, Gateway, Serve, asked
from tests.observability.test_log import lines

BODY = b'{"query": "query Few { sessions(first: 3) { nodes { id name } } }"}'
_DIFFERS = {b"x-request-id", b"cache-control", b"date"}


def request(body: bytes = BODY, *headers: bytes, key: bytes = b"demo", target: bytes = b"/graphql") -> bytes:
    lines = [
        b"POST %b HTTP/1.1" % target,
        b"Host: gateway",
        b"X-API-Key: " + key,
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Answer:
    status: bytes
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def lasting(self) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """Without what differs from one answer to the next."""
        return self.status, {k: v for k, v in self.headers.items() if k not in _DIFFERS}, self.body


@dataclass
class Wire:
    """One connection to the gateway."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *fields = head.strip().split(b"\r\n")
        headers = dict(field.split(b": ", 1) for field in fields)
        assert len(headers) == len(fields), head
        body = await self.reader.readexactly(int(headers.get(b"content-length", b"0")))
        return Answer(status, headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()


@contextlib.asynccontextmanager
async def wired(gateway: Gateway) -> AsyncIterator[Wire]:
    url = gateway.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def ran(gateway: Gateway) -> dict[str, int]:
    text = (await gateway.client.get("/metrics")).text
    return {by: int(float(n)) for by, n in re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text)}


@pytest.fixture
async def wire(gateway: Gateway) -> AsyncIterator[Wire]:
    async with wired(gateway) as wire:
        yield wire


async def test_the_answer_is_the_same_each_time(gateway: Gateway, langsmith: Emulator, wire: Wire) -> None:
    answers = [await wire.ask(request()) for _ in range(5)]
    assert {answer.status for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(answer.lasting == answers[0].lasting for answer in answers)
    assert all(answer.headers.keys() == answers[0].headers.keys() for answer in answers)
    assert len({answer.headers[b"x-request-id"] for answer in answers}) == 5
    assert len(asked(langsmith)) == 1
    assert await ran(gateway) == {"plan": 1, "kept": 4}


async def test_each_is_logged_and_counted(gateway: Gateway, wire: Wire) -> None:
    answers = [await wire.ask(request()) for _ in range(4)]
    logged = lines(gateway)
    assert [line["request_id"].encode() for line in logged] == [each.headers[b"x-request-id"] for each in answers]
    assert {(line["name"], line["document"], line["outcome"], line["cost"]) for line in logged} == {
        ("Few", logged[0]["document"], "ok", 1)
    }
    text = (await gateway.client.get("/metrics")).text
    assert 'gateway_operations_total{outcome="ok"} 4.0' in text
    assert "gateway_operation_seconds_count 4.0" in text


async def test_it_grows_older(wire: Wire, clock: Clock) -> None:
    ages = []
    for _ in range(5):
        ages.append((await wire.ask(request())).headers[b"cache-control"])
        clock.forward(3)
    assert ages == [b"private, max-age=%d" % seconds for seconds in (15, 12, 9, 6, 3)]


async def test_it_ends_with_its_page(langsmith: Emulator, wire: Wire, clock: Clock) -> None:
    for _ in range(4):
        await wire.ask(request())
    clock.forward(15.1)
    assert (await wire.ask(request())).headers[b"cache-control"] == b"private, max-age=15"
    assert len(asked(langsmith)) == 2


async def test_it_ends_when_its_page_is_replaced(gateway: Gateway, langsmith: Emulator, wire: Wire) -> None:
    for _ in range(4):
        await wire.ask(request())
    await gateway.post("{ sessions(first: 9) { nodes { id } } }")
    assert (await wire.ask(request())).status == b"HTTP/1.1 200 OK"
    assert await ran(gateway) == {"plan": 3, "kept": 3}


async def test_who_holds_it_is_told_so_each_time(wire: Wire) -> None:
    etag = (await wire.ask(request())).headers[b"etag"]
    answers = [await wire.ask(request(BODY, b"If-None-Match: " + etag)) for _ in range(4)]
    assert {answer.status for answer in answers} == {b"HTTP/1.1 304 Not Modified"}
    assert all(answer.lasting == answers[0].lasting and not answer.body for answer in answers)
    assert all(answer.headers[b"etag"] == etag for answer in answers)
    assert (await wire.ask(request(BODY, b"If-None-Match: other"))).body


async def test_an_id_of_the_client_s_own_is_sent_back_each_time(gateway: Gateway, wire: Wire) -> None:
    for _ in range(4):
        answer = await wire.ask(request(BODY, b"X-Request-Id: trace-7"))
        assert answer.headers[b"x-request-id"] == b"trace-7"
    assert {line["request_id"] for line in lines(gateway)} == {"trace-7"}


async def test_each_credential_has_its_own(gateway: Gateway, wire: Wire) -> None:
    one, other = [[await wire.ask(request(key=key)) for _ in range(4)] for key in (b"demo", b"demo-2")]
    assert {answer.body for answer in one}.isdisjoint({answer.body for answer in other})
    assert (await wire.ask(request(key=b"nobody"))).body.count(b"UNAUTHENTICATED") == 1


async def test_a_foreign_origin_is_answered_as_it_was(serve: Serve) -> None:
    async with serve(cors_origins=("https://a.example",)) as gateway, wired(gateway) as wire:
        for origin, allowed in ((b"https://a.example", b"https://a.example"), (b"https://b.example", None)):
            for _ in range(4):
                answer = await wire.ask(request(BODY, b"Origin: " + origin))
                assert answer.headers.get(b"access-control-allow-origin") == allowed


async def test_errors_come_anew_each_time(wire: Wire) -> None:
    bad = b'{"query": "{ nope }"}'
    answers = [await wire.ask(request(bad)) for _ in range(4)]
    assert all(b"GRAPHQL_VALIDATION_FAILED" in answer.body for answer in answers)
    assert all(answer.headers[b"cache-control"] == b"no-store" for answer in answers)


async def test_who_wants_the_connection_closed_finds_it_closed(gateway: Gateway) -> None:
    for _ in range(4):
        async with wired(gateway) as wire:
            assert (await wire.ask(request(BODY, b"Connection: close"))).status == b"HTTP/1.1 200 OK"
            assert await wire.reader.read() == b""


async def test_a_connection_is_kept_open_after_it(wire: Wire) -> None:
    for _ in range(4):
        await wire.ask(request())
    assert b"up" in (await wire.ask(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")).body


async def test_it_never_answers_what_is_only_a_part(wire: Wire) -> None:
    """The bytes of a request that repeats, within another one's body, are that body."""
    for _ in range(4):
        await wire.ask(request())
    inner = request()
    outer = request(inner)
    await wire.send(outer[: -len(inner)])
    answer = await wire.ask(inner)
    assert answer.status == b"HTTP/1.1 400 Bad Request"
    assert b"The body is not JSON" in answer.body


async def test_it_never_answers_what_ends_another_head(gateway: Gateway, wire: Wire) -> None:
    for _ in range(4):
        await wire.ask(request())
    await wire.send(b"POST /graphql HTTP/1.1\r\nX-Before: ")
    async with wired(gateway) as other:
        await other.ask(_REQUESTS["health"])
    assert (await wire.ask(request())).status == b"HTTP/1.1 200 OK"
    assert b"up" in (await asyncio.wait_for(wire.ask(_REQUESTS["health"]), PATIENCE)).body


@pytest.mark.parametrize("count", [2, 7])
async def test_requests_that_follow_closely_are_answered_in_turn(wire: Wire, count: int) -> None:
    other = request(b'{"query": "{ __typename }"}')
    for _ in range(4):
        await wire.ask(request())
    await wire.send(b"".join([other, request()] * count))
    answers = [await wire.answer() for _ in range(2 * count)]
    assert [b"__typename" in answer.body for answer in answers] == [True, False] * count


async def test_a_client_that_does_not_read_is_not_written_to_for_ever(gateway: Gateway) -> None:
    """What is sent to it stays bounded: its requests wait."""
    large = b'{"query": "{ sessions(first: 100) { nodes { id name extra description runFacets } } }"}'
    async with wired(gateway) as wire, wired(gateway) as other:
        size = len((await wire.ask(request(large))).body)
        for _ in range(3):
            await wire.ask(request(large))
        count = 32 * 1024 * 1024 // size
        for _ in range(count):
            await wire.send(request(large))
            await other.ask(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await ran(gateway))["kept"] < count
        for _ in range(count):
            assert len((await wire.answer()).body) == size
    assert (await ran(gateway))["kept"] == count + 3


_PIECES = st.lists(st.sampled_from(["few", "all", "typename", "health", "bad"]), min_size=1, max_size=8)
_REQUESTS = {
    "few": request(),
    "all": request(b'{"query": "{ sessions(first: 2) { nodes { id runCount } } }"}'),
    "typename": request(b'{"query": "{ __typename }"}'),
    "health": b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "bad": request(b"{"),
}


@settings(
    max_examples=60,
    derandomize=True,
)
@given(data=st.data(), names=_PIECES)
async def test_however_the_bytes_arrive_the_answers_are_the_same(gateway: Gateway, data: Any, names: list[str]) -> None:
    async with wired(gateway) as wire:
        expected = [(await wire.ask(_REQUESTS[name])).lasting for name in names]
        stream = b"".join(_REQUESTS[name] for name in names)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            await wire.send(stream[start:end])
            await asyncio.sleep(0)
        assert [(await wire.answer()).lasting for _ in names] == expected


def kept_in_memory() -> list[CachedResponse]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, CachedResponse)]


async def test_requests_that_are_remembered_hold_no_answer(serve: Serve) -> None:
    """The bound of kept answers is one of memory, however many requests came."""
    before = {id(each) for each in kept_in_memory()}  # of gateways that other tests left
    body = '{"query": "{ sessions(first: 100, offset: %d) { nodes { id name extra } } }"}'
    async with serve(responses_max_bytes=200_000) as gateway, wired(gateway) as wire:
        answers = 0
        for offset in range(20):
            for _ in range(3):
                answers += len((await wire.ask(request((body % offset).encode()))).body)
        held = sum(len(each.body) for each in kept_in_memory() if id(each) not in before)
    assert answers > 400_000
    assert 0 < held <= 200_000

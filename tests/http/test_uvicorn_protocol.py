"""A request that repeats an earlier one byte by byte is answered as before, whatever else the connection carries."""

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator
from app.http.response_cache import CachedResponse
from tests.conftest import TIMEOUT_SECONDS, Clock, Gateway, Serve, take_recorded_params
from tests.observability.test_log import lines
from tests.support.raw_client import BODY, Connection, connect, executions, request


async def test_replayed_response_equals_the_first_one_except_for_its_request_id(
    gateway: Gateway, langsmith: Emulator, connection: Connection
) -> None:
    answers = [await connection.request(request()) for _ in range(5)]
    assert {answer.status for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert all(answer.unvarying == answers[0].unvarying for answer in answers)
    assert all(answer.headers.keys() == answers[0].headers.keys() for answer in answers)
    assert len({answer.headers[b"x-request-id"] for answer in answers}) == 5
    assert len(take_recorded_params(langsmith)) == 1
    assert await executions(gateway) == {"plan": 1, "kept": 4}


async def test_replayed_response_is_logged_and_counted_as_an_operation(
    gateway: Gateway, connection: Connection
) -> None:
    answers = [await connection.request(request()) for _ in range(4)]
    logged = lines(gateway)
    assert [line["request_id"].encode() for line in logged] == [each.headers[b"x-request-id"] for each in answers]
    assert {(line["name"], line["document"], line["outcome"], line["cost"]) for line in logged} == {
        ("Few", logged[0]["document"], "ok", 2)
    }
    text = (await gateway.client.get("/metrics")).text
    assert 'gateway_operations_total{outcome="ok"} 4.0' in text
    assert "gateway_operation_seconds_count 4.0" in text


async def test_replayed_response_has_the_remaining_max_age(connection: Connection, clock: Clock) -> None:
    ages = []
    for _ in range(5):
        ages.append((await connection.request(request())).headers[b"cache-control"])
        clock.advance(3)
    assert ages == [b"private, max-age=%d" % seconds for seconds in (15, 12, 9, 6, 3)]


async def test_replay_ends_when_the_page_expires(langsmith: Emulator, connection: Connection, clock: Clock) -> None:
    for _ in range(4):
        await connection.request(request())
    clock.advance(15.1)
    assert (await connection.request(request())).headers[b"cache-control"] == b"private, max-age=15"
    assert len(take_recorded_params(langsmith)) == 2


async def test_replay_ends_when_the_page_is_replaced(
    gateway: Gateway, langsmith: Emulator, connection: Connection
) -> None:
    for _ in range(4):
        await connection.request(request())
    await gateway.post("{ sessions(first: 9) { nodes { id } } }")
    assert (await connection.request(request())).status == b"HTTP/1.1 200 OK"
    assert await executions(gateway) == {"plan": 3, "kept": 3}


async def test_not_modified_response_is_replayed_without_a_body(connection: Connection) -> None:
    etag = (await connection.request(request())).headers[b"etag"]
    answers = [await connection.request(request(BODY, b"If-None-Match: " + etag)) for _ in range(4)]
    assert {answer.status for answer in answers} == {b"HTTP/1.1 304 Not Modified"}
    assert all(answer.unvarying == answers[0].unvarying and not answer.body for answer in answers)
    assert all(answer.headers[b"etag"] == etag for answer in answers)
    assert (await connection.request(request(BODY, b"If-None-Match: other"))).body


async def test_replayed_response_has_the_request_id_that_the_client_chose(
    gateway: Gateway, connection: Connection
) -> None:
    for _ in range(4):
        answer = await connection.request(request(BODY, b"X-Request-Id: trace-7"))
        assert answer.headers[b"x-request-id"] == b"trace-7"
    assert {line["request_id"] for line in lines(gateway)} == {"trace-7"}


async def test_replay_never_crosses_credentials(gateway: Gateway, connection: Connection) -> None:
    one, other = [[await connection.request(request(key=key)) for _ in range(4)] for key in (b"demo", b"demo-2")]
    assert {answer.body for answer in one}.isdisjoint({answer.body for answer in other})
    assert (await connection.request(request(key=b"nobody"))).body.count(b"UNAUTHENTICATED") == 1


async def test_replayed_response_has_the_cors_headers_of_its_origin(serve: Serve) -> None:
    async with serve(cors_origins=("https://a.example",)) as gateway, connect(gateway) as connection:
        for origin, allowed in ((b"https://a.example", b"https://a.example"), (b"https://b.example", None)):
            for _ in range(4):
                answer = await connection.request(request(BODY, b"Origin: " + origin))
                assert answer.headers.get(b"access-control-allow-origin") == allowed


async def test_response_with_errors_is_not_replayed(connection: Connection) -> None:
    bad = b'{"query": "{ nope }"}'
    answers = [await connection.request(request(bad)) for _ in range(4)]
    assert all(b"GRAPHQL_VALIDATION_FAILED" in answer.body for answer in answers)
    assert all(answer.headers[b"cache-control"] == b"no-store" for answer in answers)


async def test_request_with_connection_close_closes_the_connection_each_time(gateway: Gateway) -> None:
    for _ in range(4):
        async with connect(gateway) as connection:
            assert (await connection.request(request(BODY, b"Connection: close"))).status == b"HTTP/1.1 200 OK"
            assert await connection.reader.read() == b""


async def test_connection_stays_open_after_a_replay(connection: Connection) -> None:
    for _ in range(4):
        await connection.request(request())
    assert b"up" in (await connection.request(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")).body


async def test_bytes_within_the_body_of_another_request_are_not_replayed(connection: Connection) -> None:
    """Bytes that equal an earlier request are data if they arrive as the body of another request."""
    for _ in range(4):
        await connection.request(request())
    inner = request()
    outer = request(inner)
    await connection.send(outer[: -len(inner)])
    answer = await connection.request(inner)
    assert answer.status == b"HTTP/1.1 400 Bad Request"
    assert b"The body is not JSON" in answer.body


async def test_bytes_within_the_head_of_another_request_are_not_replayed(
    gateway: Gateway, connection: Connection
) -> None:
    for _ in range(4):
        await connection.request(request())
    await connection.send(b"POST /graphql HTTP/1.1\r\nX-Before: ")
    async with connect(gateway) as other:
        await other.request(_REQUESTS["health"])
    assert (await connection.request(request())).status == b"HTTP/1.1 200 OK"
    assert b"up" in (await asyncio.wait_for(connection.request(_REQUESTS["health"]), TIMEOUT_SECONDS)).body


@pytest.mark.parametrize("count", [2, 7])
async def test_pipelined_requests_are_answered_in_order(connection: Connection, count: int) -> None:
    other = request(b'{"query": "{ __typename }"}')
    for _ in range(4):
        await connection.request(request())
    await connection.send(b"".join([other, request()] * count))
    answers = [await connection.read_response() for _ in range(2 * count)]
    assert [b"__typename" in answer.body for answer in answers] == [True, False] * count


async def test_client_that_does_not_read_gets_a_bounded_amount_of_replays(gateway: Gateway) -> None:
    """The gateway stops reading its requests, so that its own write buffer stays bounded."""
    large = b'{"query": "{ sessions(first: 100) { nodes { id name extra description runFacets } } }"}'
    async with connect(gateway) as connection, connect(gateway) as other:
        size = len((await connection.request(request(large))).body)
        for _ in range(3):
            await connection.request(request(large))
        count = 32 * 1024 * 1024 // size
        for _ in range(count):
            await connection.send(request(large))
            await other.request(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await executions(gateway))["kept"] < count
        for _ in range(count):
            assert len((await connection.read_response()).body) == size
    assert (await executions(gateway))["kept"] == count + 3


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
async def test_responses_do_not_depend_on_how_the_bytes_are_split_into_reads(
    gateway: Gateway, data: Any, names: list[str]
) -> None:
    async with connect(gateway) as connection:
        expected = [(await connection.request(_REQUESTS[name])).unvarying for name in names]
        stream = b"".join(_REQUESTS[name] for name in names)
        cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            await connection.send(stream[start:end])
            await asyncio.sleep(0)
        assert [(await connection.read_response()).unvarying for _ in names] == expected


def cached_responses_in_memory() -> list[CachedResponse]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, CachedResponse)]


async def test_replay_cache_keeps_no_body_beyond_the_bound_of_the_response_cache(serve: Serve) -> None:
    """A body that the response cache has dropped is freed, however many requests were recorded with it."""
    before = {id(each) for each in cached_responses_in_memory()}  # of gateways from other tests
    body = '{"query": "{ sessions(first: 100, offset: %d) { nodes { id name extra } } }"}'
    async with serve(responses_max_bytes=200_000) as gateway, connect(gateway) as connection:
        sent_bytes = 0
        for offset in range(20):
            for _ in range(3):
                sent_bytes += len((await connection.request(request((body % offset).encode()))).body)
        cached_bytes = sum(len(each.body) for each in cached_responses_in_memory() if id(each) not in before)
    assert sent_bytes > 400_000
    assert 0 < cached_bytes <= 200_000

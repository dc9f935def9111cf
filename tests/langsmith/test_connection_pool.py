"""The pool: how connections are made, used again and given up, and how they fail."""

import asyncio
import socket
import ssl

import httpx
import pytest

from tests.conftest import TIMEOUT_SECONDS
from tests.langsmith.pooled_requests import echoes_key, get, names_of, pool, request_for, tls_contexts
from tests.support.raw_upstream import (
    Connection,
    RawUpstream,
    black_hole,
    closes,
    listed,
    raw_upstream,
    resets,
    response,
    row,
    says,
)


async def test_sequential_requests_share_one_connection() -> None:
    async with raw_upstream(listed(row())) as upstream, pool() as connections:
        for _ in range(5):
            assert await names_of(connections, upstream.url) == ["session 1"]
        assert upstream.connections == 1


async def test_concurrent_requests_have_a_connection_each() -> None:
    async with raw_upstream(echoes_key()) as upstream, pool() as connections:
        for _ in range(3):
            answers = await asyncio.gather(*(get(connections, upstream.url, str(key)) for key in range(20)))
            assert [each.json()[0]["name"] for each in answers] == [str(key) for key in range(20)]


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with (
        raw_upstream(says(listed(row()), then=Connection.close), echoes_key()) as upstream,
        pool() as connections,
    ):
        await get(connections, upstream.url)
        await upstream.idle()
        for key in ("second", "third"):
            assert (await get(connections, upstream.url, key)).json()[0]["name"] == key


async def test_a_request_is_sent_once_when_its_connection_breaks() -> None:
    for act in (closes, resets):
        async with raw_upstream(listed(row()), act, echoes_key()) as upstream, pool() as connections:
            await get(connections, upstream.url)
            with pytest.raises(httpx.ReadError):
                await get(connections, upstream.url)
            assert len(upstream.requests) == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    async with raw_upstream(black_hole, echoes_key()) as upstream, pool() as connections:
        waiting = asyncio.create_task(get(connections, upstream.url))
        await upstream.wait_for_requests(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await upstream.idle()
        assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"
        assert upstream.connections == 2


async def test_a_response_that_is_closed_early_closes_its_connection() -> None:
    async with raw_upstream(response(b"[1", length=3), echoes_key()) as upstream, pool() as connections:
        answer = await connections.get(request_for(upstream.url))
        answer.stream.close()
        assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"
        assert upstream.connections == 2


@pytest.mark.timeout(180)
async def test_waves_of_cancelled_requests_cost_the_pool_nothing() -> None:
    async with RawUpstream(black_hole).serving() as upstream, pool() as connections:
        for _ in range(4):
            upstream.acts = [black_hole]
            before = len(upstream.requests)
            wave = [asyncio.create_task(get(connections, upstream.url)) for _ in range(250)]
            await upstream.wait_for_requests(before + 250)
            for each in wave:
                each.cancel()
            await asyncio.gather(*wave, return_exceptions=True)
            await upstream.idle()
            upstream.acts = [echoes_key()]
            answers = await asyncio.gather(*(get(connections, upstream.url, str(key)) for key in range(20)))
            assert [each.json()[0]["name"] for each in answers] == [str(key) for key in range(20)]


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_a_request_that_is_cancelled_at_any_await_leaves_nothing_behind(is_tls: bool) -> None:
    server, client = tls_contexts()
    async with (
        raw_upstream(echoes_key(), tls=server if is_tls else None) as upstream,
        pool(tls=client) as connections,
    ):
        iterations = finished = 0
        while finished < 3:  # Each round cancels the request one iteration of the event loop later.
            request = asyncio.create_task(get(connections, upstream.url, "cancelled"))
            for _ in range(iterations):
                await asyncio.sleep(0)
            iterations += 1
            request.cancel()
            (outcome,) = await asyncio.gather(request, return_exceptions=True)
            finished += isinstance(outcome, httpx.Response)
            assert (await get(connections, upstream.url, "next")).json()[0]["name"] == "next"


async def test_closing_the_pool_ends_requests_in_flight_with_an_error() -> None:
    until_close = says(b"HTTP/1.1 200 OK\r\n\r\n[1]")

    async def stays(connection: Connection) -> None:
        await until_close(connection)
        await connection.until_closed()

    async with raw_upstream(stays, black_hole) as upstream, pool() as connections:
        answer = await connections.get(request_for(upstream.url))
        waiting = asyncio.create_task(get(connections, upstream.url))
        await upstream.wait_for_requests(2)
        await connections.aclose()
        with pytest.raises(httpx.ReadError):
            _ = [piece async for piece in answer.stream]
        with pytest.raises(httpx.ReadError):
            await waiting
        await upstream.idle()


async def test_a_closed_pool_sends_nothing() -> None:
    async with raw_upstream(echoes_key()) as upstream, pool() as connections:
        await get(connections, upstream.url)
        await connections.aclose()
        with pytest.raises(httpx.TransportError):
            await get(connections, upstream.url)
        assert len(upstream.requests) == 1


async def test_each_origin_has_connections_of_its_own() -> None:
    async with raw_upstream(echoes_key()) as one, raw_upstream(listed(row(name="other"))) as other, pool() as both:
        for _ in range(3):
            assert await names_of(both, one.url) == ["a"]
            assert await names_of(both, other.url) == ["other"]
        assert (one.connections, other.connections) == (1, 1)


async def test_a_host_name_that_dns_cannot_encode_is_a_failed_connection() -> None:
    async with pool() as connections:
        with pytest.raises(httpx.ConnectError):
            await get(connections, f"http://{'a' * 64}.example")


async def test_the_next_address_of_a_host_is_tried_if_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_upstream(echoes_key()) as upstream, pool() as connections:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, upstream.port))
            for host in ("127.0.0.2", "127.0.0.3", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        assert await names_of(connections, f"http://langsmith.example:{upstream.port}") == ["a"]
        assert upstream.connections == 1


async def test_host_can_be_an_ipv6_address() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        hosts.append(head.lower().partition(b"host: ")[2].partition(b"\r\n")[0].decode())
        writer.write(listed(row()))
        writer.close()

    hosts: list[str] = []
    try:
        server = await asyncio.start_server(answer, "::1", 0)
    except OSError:
        pytest.skip("This machine has no IPv6.")
    async with server, pool() as connections:
        url = f"http://[::1]:{server.sockets[0].getsockname()[1]}"
        assert await names_of(connections, url) == ["session 1"]
        assert hosts == [url.removeprefix("http://")]


async def test_idle_connections_are_bounded_in_number() -> None:
    async with raw_upstream(echoes_key()) as upstream, pool(max_idle=3) as connections:
        await asyncio.gather(*(get(connections, upstream.url) for _ in range(10)))
        made = upstream.connections
        await asyncio.gather(*(get(connections, upstream.url) for _ in range(3)))
        assert upstream.connections == made


async def test_idle_connections_are_closed_after_a_while() -> None:
    closed = asyncio.Event()

    async def act(connection: Connection) -> None:
        await connection.send(listed(row()))
        await connection.until_closed()
        closed.set()

    async with raw_upstream(act) as upstream, pool(max_idle_seconds=0.05) as connections:
        await get(connections, upstream.url)
        await asyncio.wait_for(closed.wait(), TIMEOUT_SECONDS)


async def test_a_refused_connection_says_why() -> None:
    async with pool() as connections:
        with pytest.raises(httpx.ConnectError) as refused:
            await get(connections, "http://127.0.0.1:9")
        assert isinstance(refused.value.__cause__, ConnectionRefusedError)


async def test_an_unknown_host_says_why() -> None:
    async with pool() as connections:
        with pytest.raises(httpx.ConnectError) as unknown:
            await get(connections, "http://nowhere.invalid")
        assert isinstance(unknown.value.__cause__, OSError)


async def test_tls_to_a_plain_port_says_why() -> None:
    async with raw_upstream(greeting=response(b"", status=400)) as upstream, pool() as connections:
        with pytest.raises(httpx.ConnectError) as plain:
            await get(connections, upstream.url.replace("http:", "https:"))
        assert isinstance(plain.value.__cause__, ssl.SSLError)


async def test_a_certificate_is_verified() -> None:
    server, client = tls_contexts()
    async with raw_upstream(echoes_key(), tls=server) as upstream:
        async with pool(tls=client) as trusting:
            for _ in range(3):
                assert await names_of(trusting, upstream.url) == ["a"]
        async with pool() as connections:
            with pytest.raises(httpx.ConnectError) as untrusted:
                await get(connections, upstream.url)
            assert isinstance(untrusted.value.__cause__, ssl.SSLCertVerificationError)
        assert upstream.connections == 1


async def test_time_outs_of_a_request_are_obeyed() -> None:
    async with raw_upstream(black_hole) as upstream, pool() as connections:
        with pytest.raises(httpx.ReadTimeout):
            await get(connections, upstream.url, read=0.05)


@pytest.mark.parametrize("value", ["a\r\nx-tenant-id: b", "a\nb", "a\0b"])
async def test_a_header_with_a_line_break_is_not_sent(value: str) -> None:
    async with raw_upstream(echoes_key()) as upstream, pool() as connections:
        with pytest.raises(httpx.LocalProtocolError) as refused:
            await get(connections, upstream.url, value)
        assert value not in str(refused.value)
        assert upstream.requests == []

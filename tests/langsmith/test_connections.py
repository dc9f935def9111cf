"""Connections to LangSmith: how they fail, that they are used again, and what never travels over them."""

import json
import socket
from pathlib import Path

import pytest

from app.emulator import Emulator, Fault
from app.resilience.rate import Rate
from tests.conftest import Gateway, Serve
from tests.langsmith.operations import attempts_at, code_of, metric, page
from tests.support.raw_upstream import Act, Connection, closes, listed, raw_upstream, resets, response, row, says


async def test_refused_connection_is_reported_as_upstream_error(serve: Serve) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with serve(langsmith_endpoint=endpoint, upstream_retries=1) as gateway:
            assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
            assert await attempts_at(gateway, page(1)) == (2, None)


async def test_connection_closed_while_idle_is_replaced_without_a_retry(serve: Serve) -> None:
    answer = listed(row())
    async with (
        raw_upstream(says(answer, then=Connection.close), answer) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=0) as gateway,
    ):
        await gateway.data(page())
        assert await attempts_at(gateway, page(1)) == (1, 200)
        assert upstream.connections == 2


@pytest.mark.parametrize("act", [closes, resets])
async def test_broken_connection_costs_one_attempt_of_the_retries_and_no_hidden_one(serve: Serve, act: Act) -> None:
    answer = says(listed(row()))
    async with (
        raw_upstream(answer, act) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_retries=2, upstream_rate=Rate(9, 3600)) as gateway,
    ):
        await gateway.data(page())
        assert await attempts_at(gateway, page(1)) == (3, None)
        assert len(upstream.requests) == 1 + 3
        assert await metric(gateway, 'gateway_upstream_requests_total{status="reset"}') == 3
        assert await metric(gateway, 'gateway_upstream_budget_total{outcome="admitted"}') == 4
        upstream.acts = [act, answer]
        assert await attempts_at(gateway, page(2)) == (2, 200)
        assert len(upstream.requests) == 1 + 3 + 2


async def test_connection_is_used_for_several_requests(serve: Serve) -> None:
    async with raw_upstream(listed(row())) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        for number in range(5):
            await gateway.data(page(number))
        assert upstream.connections == 1


async def test_cookie_of_langsmith_is_never_sent_back(gateway: Gateway, langsmith: Emulator) -> None:
    for number, cookie in enumerate(("a=1", "b=2; Path=/", "c=3; Domain=127.0.0.1; Max-Age=900", "d=\xff; Expires=x")):
        langsmith.faults.append(Fault(rewrite=lambda _: None, headers={"set-cookie": cookie}))
        await gateway.data(page(number), key="demo")
        await gateway.data(page(number + 10), key="demo")
        await gateway.data(page(number + 10), key="demo-2")
    assert len(langsmith.requests) == 12
    assert [request.headers.get("cookie") for request in langsmith.requests] == [None] * 12


async def test_proxy_and_netrc_of_the_environment_are_not_used(
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


READABLE = {
    "a reason phrase that is not UTF-8": b"HTTP/1.1 200 Tr\xe8s bien\r\ncontent-length: %d\r\n\r\n",
    "no reason phrase": b"HTTP/1.1 200\r\ncontent-length: %d\r\n\r\n",
    "a header value that is not UTF-8": b"HTTP/1.1 200 OK\r\nx-a: \xff\xfe\r\ncontent-length: %d\r\n\r\n",
    "another content type": b"HTTP/1.1 200 OK\r\ncontent-type: text/x; charset=klingon\r\ncontent-length: %d\r\n\r\n",
    "a cookie without a name": b"HTTP/1.1 200 OK\r\nset-cookie: \xff=;;domain=[::\r\ncontent-length: %d\r\n\r\n",
    "an interim response before it": b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n",
}


@pytest.mark.parametrize("name", READABLE)
async def test_valid_but_unusual_response_is_read(serve: Serve, name: str) -> None:
    body = json.dumps([row()]).encode()
    async with (
        raw_upstream(READABLE[name] % len(body) + body) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1


async def test_failure_with_a_reason_phrase_in_another_encoding_keeps_its_status(serve: Serve) -> None:
    answer = b"HTTP/1.1 403 Acc\xe8s refus\xe9\r\ncontent-length: 0\r\n\r\n"
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert await code_of(gateway, page()) == "FORBIDDEN"


async def test_response_without_length_ends_with_its_connection(serve: Serve) -> None:
    answer = says(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps([row()]).encode(), then=Connection.close)
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert len((await gateway.data(page()))["sessions"]["nodes"]) == 1

"""Each kind of failure says what it is, to the client in a message and to the operator in a line of the log."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.resilience.rate import Rate
from tests.conftest import Serve
from tests.langsmith.operations import attempts_at, code_of, logged, page
from tests.langsmith.pooled_requests import tls_contexts
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

HTML = {"content-type": "text/html"}
LOGIN = response(b"\n<!doctype html><title>Sign in</title>", headers=HTML)
NGINX = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
GO = b"Client sent an HTTP request to an HTTPS server.\n"
APACHE = b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.</p>"
TLS_ALERT = bytes.fromhex("15 03 01 00 02 02 46")


@contextlib.asynccontextmanager
async def at(url: str) -> AsyncIterator[str]:
    """A fixed endpoint."""
    yield url


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextlib.asynccontextmanager
async def answering(act: Act | bytes) -> AsyncIterator[str]:
    async with raw_upstream(act) as upstream:
        yield upstream.url


@contextlib.asynccontextmanager
async def plain_port_for_tls() -> AsyncIterator[str]:
    """An https endpoint at a server that answers to the first bytes of TLS that they are no request."""
    async with raw_upstream(greeting=response(b"", status=400)) as upstream:
        yield upstream.url.replace("http:", "https:")


@contextlib.asynccontextmanager
async def with_tls(scheme: str) -> AsyncIterator[str]:
    server, _ = tls_contexts()
    async with raw_upstream(listed(row()), tls=server) as upstream:
        yield upstream.url.replace("https:", f"{scheme}:")


@dataclass(frozen=True)
class Failure:
    """A failing LangSmith, and what follows.

    mends: whether the failure may pass, so that the request is repeated and the client may try again shortly.
    """

    endpoint: Callable[[], AbstractAsyncContextManager[str]]
    code: str
    reason: str
    says: str
    mends: bool = False


def fails_at(url: str, *rest: Any, **options: Any) -> Failure:
    return Failure(lambda: at(url), *rest, **options)


def fails(act: Act | bytes, *rest: Any, **options: Any) -> Failure:
    return Failure(lambda: answering(act), *rest, **options)


CHECK = "Check the gateway's setting LANGSMITH_ENDPOINT."
FAILURES = {
    "a host name that is too long": fails_at(f"http://{'a' * 64}.invalid", "UPSTREAM_ERROR", "dns", "does not exist"),
    "a refused connection": Failure(refusing, "UPSTREAM_ERROR", "refused", "refuses connections", mends=True),
    "TLS to a plain port": Failure(plain_port_for_tls, "UPSTREAM_ERROR", "tls", "does not speak TLS"),
    "a certificate that is not trusted": Failure(lambda: with_tls("https"), "UPSTREAM_ERROR", "tls", "not trusted"),
    "plain HTTP to nginx's port for TLS": fails(
        response(NGINX, status=400, headers=HTML), "UPSTREAM_ERROR", "tls", "expects https"
    ),
    "plain HTTP to Go's port for TLS": fails(response(GO, status=400), "UPSTREAM_ERROR", "tls", "expects https"),
    "plain HTTP to Apache's port for TLS": fails(
        response(APACHE, status=400, headers=HTML), "UPSTREAM_ERROR", "tls", "expects https"
    ),
    "plain HTTP to a port that answers in TLS": fails(
        says(TLS_ALERT, then=Connection.close), "UPSTREAM_ERROR", "tls", "expects https"
    ),
    "plain HTTP to a port that hangs up": Failure(
        lambda: with_tls("http"), "UPSTREAM_ERROR", "reset", "connection to LangSmith was lost", mends=True
    ),
    "a reset": fails(resets, "UPSTREAM_ERROR", "reset", "was lost", mends=True),
    "a connection that ends": fails(closes, "UPSTREAM_ERROR", "reset", "was lost", mends=True),
    "no answer": fails(black_hole, "UPSTREAM_TIMEOUT", "timeout", "took too long"),
    "404 with HTML": fails(response(b"<h1>404</h1>", status=404, headers=HTML), "UPSTREAM_ERROR", "path", CHECK),
    "404 with JSON": fails(response(b'{"detail": "Not Found"}', status=404), "UPSTREAM_ERROR", "path", CHECK),
    "a redirect": fails(response(b"", status=302, headers={"location": "/login"}), "UPSTREAM_ERROR", "path", CHECK),
    "a login page": fails(LOGIN, "UPSTREAM_MALFORMED", "path", f"such as the page of a login or a proxy. {CHECK}"),
    "403 with HTML": fails(
        response(b"<h1>Forbidden</h1>", status=403, headers=HTML), "FORBIDDEN", "edge", "a CDN or a firewall"
    ),
    "something else than HTTP": fails(b"SSH-2.0-OpenSSH\r\n\r\n", "UPSTREAM_MALFORMED", "protocol", CHECK),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failure_says_its_kind_and_only_what_may_mend_is_repeated(serve: Serve, name: str) -> None:
    failure = FAILURES[name]
    async with (
        failure.endpoint() as url,
        serve(langsmith_endpoint=url, upstream_timeout=2, upstream_retries=1) as gateway,
    ):
        (error,) = await gateway.errors(page())
        assert (error["extensions"]["code"], failure.says in error["message"]) == (failure.code, True), error
        assert ("shortly" in error["message"]) == failure.mends
        host = url.split("//")[1].partition(":")[0].partition("/")[0]
        assert host not in error["message"]
        (line,) = logged(gateway, "upstream_failed")
        assert (line["host"], line["reason"], line["code"]) == (host, failure.reason, failure.code)
        assert line["attempts"] == (2 if failure.mends else 1)


async def test_host_that_does_not_exist_is_said_to_be_a_matter_of_names(serve: Serve) -> None:
    async with serve(langsmith_endpoint="http://nowhere.invalid", upstream_retries=0) as gateway:
        (error,) = await gateway.errors(page())
        # Without a name server, the resolver cannot say whether the name exists.
        assert error["message"].startswith("The host name of LangSmith ")
        (line,) = logged(gateway, "upstream_failed")
        assert (line["host"], line["reason"]) == ("nowhere.invalid", "dns")


async def test_refused_filter_that_speaks_of_http_is_still_the_clients_own(serve: Serve) -> None:
    answer = response(b'{"detail": "Invalid filter: plain text"}', status=400)
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert (await gateway.errors(page()))[0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert await attempts_at(gateway, page(1)) == (1, 400)


async def test_request_that_a_layer_of_the_gateway_stops_is_logged_with_the_reason(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve(upstream_rate=Rate(1, 3600)) as gateway:
        assert [await code_of(gateway, page(number)) for number in range(2)] == [None, "RATE_LIMITED"]
        (line,) = logged(gateway, "upstream_failed")
        assert (line["reason"], line["attempts"]) == ("rate_limit", 0)
    langsmith.faults.append(Fault(status=503, times=None))
    async with serve(upstream_retries=0) as gateway:
        for _ in range(11):
            assert await code_of(gateway, page()) == "UPSTREAM_ERROR"
        *failed, stopped = logged(gateway, "upstream_failed")
        assert {(line["reason"], line["attempts"]) for line in failed} == {("server", 1)}
        assert (stopped["reason"], stopped["attempts"]) == ("circuit_open", 0)
    langsmith.faults.clear()
    async with serve(upstream_concurrency=1, max_cost=2) as gateway, gateway.in_process() as in_process:
        resume = langsmith.pause()
        codes = [asyncio.create_task(code_of(in_process, page(number))) for number in range(6)]
        await asyncio.wait(codes, return_when=asyncio.FIRST_COMPLETED)
        resume.set()
        assert sorted(map(str, await asyncio.gather(*codes))) == ["None"] * 5 + ["RATE_LIMITED"]
        (line,) = logged(gateway, "upstream_failed")
        assert (line["reason"], line["attempts"]) == ("queue", 0)

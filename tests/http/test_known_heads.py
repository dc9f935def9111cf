"""A request whose head was seen before is answered as one whose head is parsed, and nothing else is taken for one."""

import gc
import re
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.emulator import Emulator
from app.http.known_heads import _MAX_BYTES, KnownHead
from app.http.params import MAX_BODY_BYTES
from app.http.raw_request import MAX_HEAD_BYTES, split_request
from app.http.uvicorn_protocol import GatewayProtocol
from tests.conftest import Gateway, Serve
from tests.observability.test_log import lines
from tests.support.raw_client import BODY, Connection, connect, executions, request

NAMES: Final = b'{"query": "query Names { sessions(first: 3) { nodes { name } } }"}'
MORE: Final = b'{"query": "query More { sessions(first: 3) { nodes { name runCount feedbackStats { key } } } }"}'
LARGE: Final = b'{"query": "{ sessions(first: 100) { nodes { id name extra } } }"}'
BAD: Final = b'{"query": "{ nope }"}'
NOT_JSON: Final = b"{"
DEFERRED: Final = b'{"query": "{ sessions(first: 2) { nodes { id ... @defer { runCount } } } }"}'
OTHERS: Final = b'{"query": "{ sessions(first: 7) { nodes { id } } }"}'
TIMES: Final = 4
"""Of several requests with one head, the first two are parsed."""


def test_no_body_of_a_known_head_is_longer_than_a_body_may_be() -> None:
    head = b"POST /graphql HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    assert split_request(head % 10 + b"x" * 10)
    assert split_request(head % MAX_BODY_BYTES + b"x" * MAX_BODY_BYTES) is None


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets of the gateway's requests that are parsed, on connections that are made after this fixture."""
    targets: list[bytes] = []
    on_url = HttpToolsProtocol.on_url

    def record(self: HttpToolsProtocol, url: bytes) -> None:
        if isinstance(self, GatewayProtocol):
            targets.append(url)
        on_url(self, url)

    monkeypatch.setattr(HttpToolsProtocol, "on_url", record)
    return targets


def get(target: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: gateway", b"X-API-Key: demo", *headers]) + b"\r\n\r\n"


async def learn(connection: Connection, sent: bytes) -> None:
    """Send a request until its head is known."""
    for _ in range(2):
        await connection.request(sent)


async def raw_answer(connection: Connection, sent: bytes) -> bytes:
    """All bytes of the response, with the date and the id of a request replaced."""
    await connection.send(sent)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        body = await connection.reader.readuntil(b"0\r\n\r\n")
    else:
        length = re.search(rb"content-length: (\d+)", head)
        body = await connection.reader.readexactly(int(length[1]) if length else 0)
    head = re.sub(rb"(date|x-request-id): [^\r]*", rb"\1: ?", head)
    return head + re.sub(rb"request id [0-9a-f]{16}", b"request id ?", body)


ACCEPT: Final = b"Accept: application/graphql-response+json, application/json;q=0.9"
CONVERSATIONS: Final[dict[str, list[bytes]]] = {
    "a repeated request": [request()] * TIMES,
    "bodies of other lengths": [request(body) for body in (BODY, NAMES, MORE, BODY, NAMES, MORE)],
    "the typed media type": [request(body, ACCEPT) for body in (BODY, BODY, BODY, NAMES)],
    "operations with errors": [request(body) for body in (BODY, BODY, BAD, NOT_JSON, b"", BODY)],
    "errors of the typed media type": [request(body, ACCEPT) for body in (BODY, BODY, BAD, NOT_JSON, b"", BODY)],
    "gzip": [request(body, b"Accept-Encoding: gzip") for body in (LARGE, LARGE, LARGE, OTHERS, LARGE)],
    "no identity": [request(body, b"Accept-Encoding: gzip, identity;q=0") for body in (BODY, BODY, BODY, BAD)],
    "not modified": [request(BODY, b"If-None-Match: *")] * TIMES,
    "not the same etag": [request(BODY, b'If-None-Match: "x"')] * TIMES,
    "a page's own origin": [request(body, b"Origin: http://gateway") for body in (BODY, BODY, BODY, BAD)],
    "an allowed origin": [request(body, b"Origin: https://a.example") for body in (BODY, BODY, BODY, BAD, LARGE)],
    "another origin": [request(BODY, b"Origin: https://b.example")] * TIMES,
    "Explain": [request(b'{"query": "{ __typename }"}', b"X-Gateway-Explain: 1")] * TIMES,
    "fresh data only": [request(BODY, b"Cache-Control: max-age=9")] * TIMES,
    "no cached data": [request(BODY, b"Cache-Control: no-cache")] * TIMES,
    "a document in the URL": [get(b"/graphql?query={__typename}")] * TIMES,
    "a document in the URL, with other data": [get(b"/graphql?query={sessions(first:2){nodes{id}}}")] * TIMES,
    "the path with a slash": [request(target=b"/graphql/")] * TIMES,
    "an answer in parts": [request(body, b"Accept: multipart/mixed") for body in (DEFERRED,) * TIMES],
    "a whole answer and one in parts": [
        request(body, b"Accept: multipart/mixed, application/json") for body in (BODY, BODY, BODY, DEFERRED, DEFERRED)
    ],
    "no credential": [request(b'{"query": "{ __typename }"}', key=b"")] * TIMES,
    "no credential for data": [request(body, key=b"") for body in (b'{"query": "{ __typename }"}',) * 2 + (BODY, BODY)],
    "a wrong credential": [request(key=b"nobody")] * TIMES,
    "a kept connection": [request(BODY, b"Connection: keep-alive")] * TIMES,
    "a request id": [request(BODY, b"X-Request-Id: chosen")] * TIMES,
    "an expectation": [request(BODY, b"Expect: something")] * TIMES,
    "GraphiQL": [get(b"/graphql", b"Accept: text/html")] * TIMES,
    "another path": [get(b"/schema.graphql")] * TIMES,
}


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_answers_are_byte_for_byte_those_without_the_fast_path(serve: Serve, name: str) -> None:
    origins = ("https://a.example",)
    async with AsyncExitStack() as stack:
        fast, slow = [
            await stack.enter_async_context(serve(cors_origins=origins, fast_path=is_fast)) for is_fast in (True, False)
        ]
        connections = [await stack.enter_async_context(connect(each)) for each in (fast, slow)]
        for sent in CONVERSATIONS[name]:
            answer, expected = [await raw_answer(connection, sent) for connection in connections]
            assert answer == expected
        assert unvarying_lines(fast) == unvarying_lines(slow)
        assert await executions(fast) == await executions(slow)


def unvarying_lines(gateway: Gateway) -> list[dict[str, Any]]:
    return [{**line, "ms": 0, "timestamp": "", "request_id": ""} for line in lines(gateway)]


PARSED: Final[dict[str, list[bytes]]] = {
    "cached": [request()] * TIMES,
    "held": [request(body) for body in (BODY, NAMES, MORE, LARGE)],
    "errors": [request(body) for body in (BODY, BODY, BAD, NOT_JSON)],
    "not modified": [request(BODY, b"If-None-Match: *")] * TIMES,
    "a URL": [get(b"/graphql?query={__typename}")] * TIMES,
}


@pytest.mark.parametrize("name", PARSED)
async def test_third_request_with_the_same_head_is_not_parsed(
    parsed: list[bytes], connection: Connection, name: str
) -> None:
    for sent in PARSED[name]:
        await connection.request(sent)
    assert len(parsed) == 2


def chunked(*headers: bytes, trailers: bytes = b"") -> bytes:
    head = request(BODY, *headers).partition(b"\r\n\r\n")[0]
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    return head + b"\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n" % (len(BODY), BODY, trailers)


NEVER_KNOWN: Final = {
    "chunks": chunked(),
    "chunks with trailers": chunked(trailers=b"X-API-Key: demo-2\r\n"),
    "an id of the client": request(BODY, b"X-Request-Id: chosen"),
    "an expectation": request(BODY, b"Expect: something"),
    "an upgrade": request(BODY, b"Connection: keep-alive, upgrade", b"Upgrade: h2c"),
    "another connection option": request(BODY, b"Connection: keep-alive, x"),
    "a target with a host": request(target=b"http://gateway/graphql"),
    "two equal lengths": request(BODY, b"Content-Length: %d" % len(BODY)),
    "a length in a list": request().replace(b"Content-Length: ", b"Content-Length: 00000000"),
    "an empty line before": b"\r\n" + request(),
    "a tab in a value": request(BODY, b"X-Any: a\tb"),
    "an accent in a value": request(BODY, b"X-Any: \xe9"),
    "spaces after a value": request(BODY, b"X-Any: a  "),
    "a long head": request(BODY, b"X-Any: " + b"a" * MAX_HEAD_BYTES),
    "an error of the endpoint": request().replace(b"application/json", b"text/plain"),
    "a foreign page": get(b"/graphql?query={__typename}", b"Origin: https://evil.example"),
    "a path of another app": get(b"/healthz"),
}


@pytest.mark.parametrize("name", NEVER_KNOWN)
async def test_head_that_is_not_plain_is_parsed_each_time(parsed: list[bytes], gateway: Gateway, name: str) -> None:
    sent = NEVER_KNOWN[name]
    expected = None
    for _ in range(TIMES):
        async with connect(gateway) as connection:
            answer = (await connection.request(sent)).unvarying
        assert answer == (expected or answer)
        expected = answer
    assert len(parsed) >= TIMES


HEAD: Final = request().partition(b"\r\n\r\n")[0]
VARIANTS: Final = {
    "another order": b"\r\n".join([HEAD.split(b"\r\n")[0], *reversed(HEAD.split(b"\r\n")[1:])]),
    "another case": HEAD.replace(b"X-API-Key", b"x-api-key"),
    "another case of the length": HEAD.replace(b"Content-Length", b"content-length"),
    "another spelling of the length": HEAD.replace(b"Content-Length: ", b"Content-Length:"),
    "one more header": HEAD + b"\r\nX-Any: 1",
    "one header less": HEAD.replace(b"Host: gateway\r\n", b""),
    "two credentials": HEAD + b"\r\nX-API-Key: demo",
    "two credentials, the other one first": HEAD.replace(b"Host:", b"X-API-Key: demo-2\r\nHost:"),
    "two hosts": HEAD + b"\r\nHost: gateway",
    "another method": HEAD.replace(b"POST", b"PUT"),
    "another version": HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a folded header": HEAD.replace(b"gateway", b"gate\r\n way"),
    "a space before the colon": HEAD.replace(b"X-API-Key:", b"X-API-Key :"),
    "line feeds only": HEAD.replace(b"\r\n", b"\n"),
    "an empty length": re.sub(rb"Length: \d+", b"Length: ", HEAD),
    "a length without digits": re.sub(rb"Length: \d+", b"Length: x", HEAD),
    "a length with a sign": HEAD.replace(b"Length: ", b"Length: +"),
    "a second length": HEAD + b"\r\nContent-Length: 5",
    "a second length, first": HEAD.replace(b"Host:", b"Content-Length: 5\r\nHost:"),
    "chunks too": HEAD + b"\r\nTransfer-Encoding: chunked",
}


@pytest.mark.parametrize("name", VARIANTS)
async def test_head_that_differs_from_a_known_one_is_read_as_ever(serve: Serve, name: str) -> None:
    sent = VARIANTS[name] + b"\r\n\r\n" + BODY
    answers = []
    for is_fast in (True, False):
        async with serve(fast_path=is_fast) as gateway, connect(gateway) as connection, connect(gateway) as other:
            await learn(connection, request())
            await other.send(sent)
            other.writer.write_eof()
            answers.append(re.sub(rb"(date|x-request-id): [^\r]*", rb"\1: ?", await other.reader.read()))
    assert answers[0] == answers[1]


async def test_head_that_begins_with_a_known_one_has_its_own_credential(gateway: Gateway) -> None:
    known = get(b"/graphql?query={sessions(first:2){nodes{id}}}")
    longer = known[:-2] + b"X-Tenant-Id: 00000000-0000-0000-0000-000000000000\r\n\r\n"
    async with connect(gateway) as connection:
        await learn(connection, known)
        assert b"errors" not in (await connection.request(known)).body
        assert b"errors" in (await connection.request(longer)).body


async def test_known_request_in_two_reads_has_the_same_answer_wherever_it_is_split(
    gateway: Gateway, connection: Connection
) -> None:
    sent = request()
    await learn(connection, sent)
    expected = (await connection.request(sent)).unvarying
    async with connect(gateway) as other:
        for end in range(1, len(sent)):
            await connection.send(sent[:end])
            await other.request(get(b"/healthz"))  # the gateway has read the first part meanwhile
            assert (await connection.request(sent[end:])).unvarying == expected


@pytest.mark.parametrize("count", [2, 3, 20])
async def test_known_requests_in_one_read_are_answered_in_order(connection: Connection, count: int) -> None:
    bodies = [BODY, NAMES, MORE, OTHERS]
    expected = []
    for body in bodies:
        await learn(connection, request(body))
        expected.append((await connection.request(request(body))).body)
    await connection.send(b"".join(request(bodies[number % 4]) for number in range(count)))
    assert [(await connection.read_response()).body for _ in range(count)] == [expected[n % 4] for n in range(count)]


async def test_request_behind_a_known_one_waits_for_its_answer(connection: Connection, langsmith: Emulator) -> None:
    await learn(connection, request())
    resumed = langsmith.pause()
    await connection.send(request(OTHERS))
    await langsmith.wait_for_requests(2)
    await connection.send(request() + get(b"/healthz"))
    resumed.set()
    answers = [await connection.read_response() for _ in range(3)]
    assert [each.body.count(b'"id"') for each in answers] == [7, 3, 0]
    assert b"up" in answers[2].body


async def test_body_that_is_shorter_than_its_length_is_awaited(gateway: Gateway, connection: Connection) -> None:
    sent = request()
    await learn(connection, sent)
    await connection.send(sent[:-5])
    async with connect(gateway) as other:
        await other.request(get(b"/healthz"))
    assert (await connection.request(sent[-5:])).unvarying == (await connection.request(sent)).unvarying


async def test_bytes_after_the_body_are_another_request(connection: Connection) -> None:
    await learn(connection, request())
    await connection.send(request() + b"GET")
    assert (await connection.read_response()).status == b"HTTP/1.1 200 OK"
    assert b"up" in (await connection.request(b" /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")).body


async def test_another_body_of_the_same_length_has_its_own_answer(connection: Connection) -> None:
    await learn(connection, request())
    other = BODY.replace(b"first: 3", b"first: 1")
    assert len(other) == len(BODY)
    assert (await connection.request(request(other))).body.count(b'"id"') == 1
    assert (await connection.request(request())).body.count(b'"id"') == 3


async def test_tenants_with_known_heads_and_the_same_body_see_their_own_data(connection: Connection) -> None:
    bodies: dict[tuple[bytes, bytes], bytes] = {}
    for key in (b"demo", b"demo-2"):
        for body in (BODY, NAMES):
            await learn(connection, request(body, key=key))
    for body in (BODY, NAMES, MORE, OTHERS):
        for key in (b"demo", b"demo-2", b"demo"):
            answer = (await connection.request(request(body, key=key))).body
            assert b"errors" not in answer
            assert bodies.setdefault((key, body), answer) == answer
    assert len(set(bodies.values())) == 8


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-API-Key: demo"],
        [b"x-api-key:demo"],
        [b"Authorization: Bearer demo", b"X-Organization-Id: 1"],
        [b"X-Any: 1", b"X-API-Key: demo", b"Content-Length: 0"],
    ],
)
async def test_operation_of_a_known_head_is_sent_to_langsmith_with_the_clients_credential(
    parsed: list[bytes], gateway: Gateway, langsmith: Emulator, headers: list[bytes]
) -> None:
    def sent(body: bytes) -> bytes:
        own = [each for each in headers if not each.startswith(b"Content-Length")]
        lines = [b"POST /graphql HTTP/1.1", b"Host: gateway", b"Content-Length: %d" % len(body), *own]
        if own != headers:  # the credential before the length
            lines[2:] = [*own, b"Content-Length: %d" % len(body)]
        return b"\r\n".join([*lines, b"Content-Type: application/json"]) + b"\r\n\r\n" + body

    bodies = [b'{"query": "{ sessions(first: %d) { nodes { id } } }"}' % number for number in (1, 2, 3, 100)]
    async with connect(gateway) as connection:
        for body in bodies:
            assert b"errors" not in (await connection.request(sent(body))).body
    assert len(parsed) == 2
    names = ("x-api-key", "authorization", "x-organization-id")
    credentials = [{name: each.headers.get(name) for name in names} for each in langsmith.requests]
    assert len(credentials) > 2
    assert all(each == credentials[0] for each in credentials)


async def test_credential_that_langsmith_has_revoked_is_refused_as_ever(
    gateway: Gateway, langsmith: Emulator, connection: Connection
) -> None:
    for _ in range(TIMES):
        assert b"errors" not in (await connection.request(request())).body
    workspace = langsmith.workspaces.pop("demo")
    assert b"UNAUTHENTICATED" in (await connection.request(request(OTHERS))).body
    assert b"UNAUTHENTICATED" in (await connection.request(request())).body
    langsmith.workspaces["demo"] = workspace
    assert b"errors" not in (await connection.request(request())).body


async def test_client_that_disconnects_cancels_the_operation_of_a_known_head(
    gateway: Gateway, langsmith: Emulator
) -> None:
    async with connect(gateway) as connection:
        await learn(connection, request())
        langsmith.pause()
        await connection.send(request(OTHERS))
        await langsmith.wait_for_requests(2)
    await langsmith.wait_for_disconnects(1)
    assert [line["outcome"] for line in lines(gateway)] == ["ok", "ok", "cancelled"]
    assert "gateway_operations_under_way 0.0" in (await gateway.client.get("/metrics")).text


async def test_operation_of_a_known_head_counts_as_in_flight(
    gateway: Gateway, langsmith: Emulator, connection: Connection
) -> None:
    await learn(connection, request())
    resumed = langsmith.pause()
    await connection.send(request(OTHERS))
    await langsmith.wait_for_requests(2)
    assert "gateway_operations_under_way 1.0" in (await gateway.client.get("/metrics")).text
    resumed.set()
    assert (await connection.read_response()).status == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("settings", [{"fast_path": False}, {"client_rate": "1000/1s"}], ids=str)
async def test_every_head_is_parsed_if_the_settings_say_so(
    parsed: list[bytes], serve: Serve, settings: dict[str, Any]
) -> None:
    async with serve(**settings) as gateway, connect(gateway) as connection:
        for _ in range(TIMES):
            await connection.request(request())
    assert len(parsed) == TIMES


def known_heads_in_memory() -> list[KnownHead]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, KnownHead)]


async def test_known_heads_are_bounded_and_the_last_ones_stay(parsed: list[bytes], connection: Connection) -> None:
    count = _MAX_BYTES // 2000
    for number in range(count):
        await learn(connection, get(b"/graphql?query={__typename}&n=%d" % number))
    assert 100 < len(known_heads_in_memory()) < count
    parsed.clear()
    await connection.request(get(b"/graphql?query={__typename}&n=%d" % (count - 1)))
    assert parsed == []
    await connection.request(get(b"/graphql?query={__typename}&n=0"))
    assert len(parsed) == 1


async def test_known_head_keeps_no_secret(connection: Connection) -> None:
    before = {id(each) for each in known_heads_in_memory()}
    await learn(connection, request(key=b"demo"))
    known = [each for each in known_heads_in_memory() if id(each) not in before]
    assert [each.credential and dict(each.credential.headers) for each in known] == [{}]
    assert all(b"demo" not in value for each in known for _, value in (each.vary, *each.added))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST / HTTP/1.1\r\n\r",
        b"POST / HTTP/1.1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyz",
        b"POST / HTTP/1.1\r\nContent-Length: 1234567\r\n\r\n" + b"x" * 1_234_567,
        b"POST / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_not_one_request_are_not_split(data: bytes) -> None:
    assert split_request(data) is None


def test_keys_differ_unless_only_the_digits_of_the_length_do() -> None:
    heads = [
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: \r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length:1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nX-Content-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nA: b\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nA: b\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ]
    requests = [split_request(head) for head in heads]
    assert all(requests)
    assert len({each.key for each in requests if each}) == len(heads)
    two = split_request(heads[0].replace(b"1\r\n\r\nx", b"2\r\n\r\nxy"))
    assert requests[0]
    assert two
    assert (two.key, two.body) == (requests[0].key, b"xy")

"""Known heads: a request whose head was seen before is answered without parsing that head again.

Clients send the same head again and again: request line, credential, `Accept` and so on. What the endpoint and the
middleware make of a head depends on nothing else but the settings. So it is remembered from the second request on, and
a later one with the same head passes neither uvicorn's parser nor the middleware. If its response is cached,
`GatewayProtocol` writes it; otherwise the endpoint runs the operation, as for any other request.

A head may only become known if all of these hold:

- **It is plain** (raw_request.py), so that the parser and this gateway see the same head and the same body.
- **The endpoint has answered it** with status 200 or 304. So its path is that of the endpoint, `Content-Type` and the
  other headers are right, and it has a valid credential or none.
- **The request brings no `X-Request-Id`**, so that the gateway makes the id of the response.

A request has a known head only if all bytes of the head are the same, except the digits in `Content-Length`.
`GatewayProtocol` adds preconditions of the connection.

The key is a keyed digest of the head, and the credential's secret is not stored: it is taken out of the request. A
gateway that limits its clients' request rate, or that traces, looks at each request: it knows no heads.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.credentials import CREDENTIAL_HEADERS, Credential
from app.http.cached_answers import CachedAnswers
from app.http.graceful_shutdown import GracefulShutdown
from app.http.graphql_head import GRAPHQL_REQUEST, GraphQLHead, GraphQLRequest
from app.http.middleware import CONNECTION_CLOSE, X_REQUEST_ID
from app.http.raw_request import Header, RawRequest, is_plain
from app.http.response import HTTPResponse
from app.http.response_cache import CachedResponse
from app.observability.operation_log import OperationRecorder, new_request_id
from app.observability.request_id import REQUEST_ID
from app.resilience.lru_cache import BoundedDict, LruCache

KNOWN_HEADS: Final = "known_heads"
"""Key in the application's state (what its lifespan yields) under which the server's protocol finds the KnownHeads."""
_KNOWN_HEAD: Final = "known_head"
"""Key in a request's `scope["state"]` of its KnownHead."""
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_COPIED_BYTES: Final = 64 * 1024
"""A longer body is written apart from its head: to copy it would cost more than another write."""
_ENTRY_BYTES: Final = 2000
"""Approximate memory of an entry beside its bytes."""
_CREDENTIAL_NAMES: Final = frozenset(name.encode() for name in CREDENTIAL_HEADERS)
_ENDPOINT_HEADERS: Final = frozenset(
    {
        b"vary",
        b"etag",
        b"cache-control",
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"x-accel-buffering",
        b"incremental",
    }
)
"""Names of the endpoint's own headers in responses with status 200 or 304."""


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What was made of a head.

    Args:
        head: what the endpoint reads from it.
        credential: its credential, without the headers that come from the head.
        secrets: by name of such a header, where its value begins and ends in the head's text.
        path, query_string: those of the URL, as in an ASGI scope.
        vary: the response's header `Vary`, to which CORS may add a name.
        added: the headers that the middleware adds after those of the endpoint, but for the request id.
    """

    head: GraphQLHead
    credential: Credential | None
    secrets: Mapping[str, tuple[int, int]]
    path: str
    query_string: bytes
    vary: Header
    added: Sequence[Header]

    def request(self, raw: RawRequest) -> GraphQLRequest:
        """The request for the endpoint, with its secret."""
        credential = self.credential
        if credential and self.secrets:
            headers = {name: raw.text[start:stop].decode("ascii") for name, (start, stop) in self.secrets.items()}
            credential = Credential(
                credential.scope, headers, credential.client, credential.is_client_known, credential.is_gateways_own
            )
        return GraphQLRequest(self.head, credential, self.payload(raw))

    def all_headers(self, headers: Sequence[Header]) -> list[Header]:
        """All headers of a response but its id, from those of the endpoint, of which the first is `Vary`."""
        return [self.vary, *headers[1:], *self.added]

    def payload(self, raw: RawRequest) -> bytes:
        return raw.body if self.head.method == "POST" else self.query_string


class _ResponseStart(msgspec.Struct, frozen=True):
    """How the response with one ETag begins for one head; and which body it has.

    `before` and `after`: the header lines around the seconds in `Cache-Control`; `after` ends with the name of the
    request id. `coding`: the content coding of the body. `length`: of the body; 0 with status 304.
    """

    status_line: bytes
    before: bytes
    after: bytes
    coding: str | None
    length: int

    @classmethod
    def of(cls, response: HTTPResponse, known: KnownHead) -> Self:
        headers = known.all_headers(response.all_headers())
        index = [name for name, _ in headers].index(b"cache-control")
        directive = headers[index][1].partition(b"=")[0]
        before = b"%bcache-control: %b=" % (_lines_of(headers[:index]), directive)
        after = b"\r\n%bx-request-id: " % _lines_of(headers[index + 1 :])
        status_line = b"HTTP/1.1 200 OK\r\n" if response.status == 200 else b"HTTP/1.1 304 Not Modified\r\n"
        return cls(status_line, before, after, response.coding, len(response.body))

    def body_of(self, cached: CachedResponse) -> bytes | None:
        """The body of the response; None if it has yet to be compressed."""
        if not self.length:
            return b""
        body = cached.body if self.coding is None else cached.compressed.get(self.coding)
        return body if body is not None and len(body) == self.length else None


class KnownHeads:
    """An LRU cache of KnownHeads, bounded in bytes; and the ASGI app of the requests with a known head.

    Args:
        endpoint: runs the operations.
        answers: answers from the response cache.
        recorder: records the operations that are answered from it.
        shutdown: once it has begun, responses say `Connection: close`.
    """

    def __init__(
        self, endpoint: ASGIApp, answers: CachedAnswers, recorder: OperationRecorder, shutdown: GracefulShutdown
    ) -> None:
        self._endpoint = endpoint
        self._answers = answers
        self._recorder = recorder
        self._shutdown = shutdown
        self._heads: LruCache[bytes, KnownHead] = LruCache(_MAX_BYTES)
        self._starts: LruCache[tuple[bytes, str], _ResponseStart] = LruCache(_MAX_BYTES)
        self._default_headers: tuple[Sequence[Header], bytes] = ((), b"")
        self._seen: BoundedDict[bytes, None] = BoundedDict()

    def get(self, raw: RawRequest) -> KnownHead | None:
        return self._heads.get(raw.key)

    def is_repeated(self, raw: RawRequest) -> bool:
        """Whether a request with this head came before. To learn a head that does not come again is wasted work."""
        if raw.key in self._seen:
            return True
        self._seen[raw.key] = None
        return False

    def answer(self, known: KnownHead, raw: RawRequest, default_headers: Sequence[Header]) -> tuple[bytes, ...] | None:
        """The response from the response cache, to be written in this order; None if it is not cached.

        It is recorded as an operation.

        `default_headers`: the headers that the server adds to each response.
        """
        started = time.perf_counter()
        key = self._answers.key(known.head, known.credential, known.payload(raw))
        answer = self._answers.find(key, known.head)
        if answer is None:
            return None
        cached = answer.response
        place = raw.key, cached.etag
        start = self._starts.get(place)
        body = start.body_of(cached) if start else None
        if start is None or body is None:
            if (response := self._answers.respond_at_once(answer, known.head)) is None:
                return None
            body = response.body
            start = _ResponseStart.of(response, known)
            self._starts.set(place, start, _ENTRY_BYTES + len(start.before) + len(start.after))
        request_id = new_request_id()
        self._recorder.record_execution("kept")
        self._recorder.record_operation(
            name=cached.name,
            document=cached.document,
            outcome="ok",
            cost=cached.cost,
            seconds=time.perf_counter() - started,
            request_id=request_id,
        )
        max_age = b"%d" % answer.seconds_left
        default_lines = self._default_lines(default_headers)
        parts = (start.status_line, default_lines, start.before, max_age, start.after, request_id.encode(), b"\r\n\r\n")
        if len(body) <= _MAX_COPIED_BYTES:
            return (b"".join((*parts, body)),)
        return b"".join(parts), body

    def _default_lines(self, headers: Sequence[Header]) -> bytes:
        """The lines of the default headers, which uvicorn replaces once a second."""
        if self._default_headers[0] is not headers:
            self._default_headers = headers, _lines_of(headers)
        return self._default_headers[1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the operation of a request with the scope from `scope`."""
        state = scope["state"]
        known: KnownHead = state[_KNOWN_HEAD]
        request_id = state["request_id"] = new_request_id()
        REQUEST_ID.set(request_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*known.all_headers(message["headers"]), (X_REQUEST_ID, request_id.encode())]
                if self._shutdown.has_begun and self._shutdown.closes(state):
                    message["headers"].append(CONNECTION_CLOSE)
            await send(message)

        await self._endpoint(scope, receive, send_with_headers)

    def learn(self, raw: RawRequest, scope: Scope, response_headers: Sequence[Header]) -> None:
        """Remember a head, if the preconditions hold.

        Args:
            raw: the request as it was received.
            scope: its ASGI scope, as the parser and the endpoint have left it.
            response_headers: the headers of its response, with status 200 or 304, without the server's default headers.
        """
        request: GraphQLRequest | None = scope["state"].get(GRAPHQL_REQUEST)
        if request is None or X_REQUEST_ID in dict(scope["headers"]) or not is_plain(raw.text, scope["headers"]):
            return
        if response_headers[0][0] != b"vary" or response_headers[-1][0] != X_REQUEST_ID:
            return
        own = [index for index, (name, _) in enumerate(response_headers) if name in _ENDPOINT_HEADERS]
        places = _places_of_secrets(raw.text)
        credential = request.credential
        if credential and places and not credential.is_gateways_own:
            sent = {name: raw.text[start:stop].decode("ascii") for name, (start, stop) in places.items()}
            if sent != dict(credential.headers):
                return  # the secret could not be taken out of later requests
            credential = replace(credential, headers={})
        else:
            places = {}  # the credential is the gateway's
        added = tuple(response_headers[own[-1] + 1 : -1])
        known = KnownHead(
            head=request.head,
            credential=credential,
            secrets=places,
            path=scope["path"],
            query_string=scope["query_string"],
            vary=response_headers[0],
            added=added,
        )
        size = _ENTRY_BYTES + len(scope["query_string"]) + len(_lines_of(added))
        self._heads.set(raw.key, known, size)


def scope_of(known: KnownHead, raw: RawRequest, app_state: Mapping[str, object]) -> Scope:
    """The ASGI scope of a request with a known head."""
    return {
        "type": "http",
        "method": known.head.method,
        "path": known.path,
        "headers": [],
        "state": {**app_state, GRAPHQL_REQUEST: known.request(raw), _KNOWN_HEAD: known},
    }


def _places_of_secrets(text: bytes) -> dict[str, tuple[int, int]]:
    """Where the values of a credential's headers are in the head's text, by name."""
    places = {}
    start = 0
    for line in text.split(b"\r\n"):
        raw_name, _, value = line.partition(b":")
        name = raw_name.lower()
        if name in _CREDENTIAL_NAMES and (value := value.strip(b" ")):
            stop = start + len(line)
            places[name.decode()] = (stop - len(value), stop)
        start += len(line) + 2
    return places


def _lines_of(headers: Sequence[Header]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])

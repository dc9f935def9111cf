"""Replay cache: answers a request that repeats an earlier request byte by byte, without parsing it.

One request passes three places:

1. `ReplayProtocol` looks its bytes up here (`ReplayCache.get`). On a hit it writes the response, and nothing else runs.
2. On a miss the protocol leaves a `ReplayRecorder` with the request's bytes in the ASGI scope's state. If the GraphQL
   endpoint answers from the response cache, it tells the recorder which cached response it used.
3. The outermost middleware tells the recorder the final status and headers. The recorder stores them here, for the next
   request with the same bytes.

Everything that decides a response is part of the request's bytes: path, operation, variables, credential, `Accept`,
`Accept-Encoding`,
`Origin`, `If-None-Match`. So the key is a digest of *all* bytes, headers included; a shorter key could give one client
another client's response. Only three headers differ between two responses to the same bytes, and each replay writes
them anew: the age in `Cache-Control`, `Date` (one of uvicorn's default headers) and `X-Request-Id`, unless the client
chose the id itself. The body stays in the response cache, so that a replay ends when its pages expire or change.

A gateway that limits its clients' request rate, or that traces, must see each request: it does not use this cache.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.http.response_cache import CachedResponse, ResponseCache
from app.observability.operation_log import OperationRecorder, new_request_id
from app.resilience.lru_cache import LruCache

REPLAY_CACHE: Final = "replay_cache"
"""Key in the application's state (what its lifespan yields) under which the server's protocol finds the ReplayCache."""
REPLAY_RECORDER: Final = "replay_recorder"
"""Key in a request's `scope["state"]` of its ReplayRecorder; absent if the request cannot be replayed."""
MAX_REQUEST_BYTES: Final = 16 * 1024
_MAX_BYTES: Final = 4 * 1024 * 1024
_ENTRY_BYTES: Final = 700
"""Approximate memory of an entry beside its head and its key."""
_CACHE_CONTROL: Final = b"cache-control"
_DIGEST_KEY: Final = secrets.token_bytes(32)

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class _Replay:
    """How to answer one request: with the cached response under `response_key`, while that has this `etag`.

    `coding`: the content coding of the body; None if it has none. `head`: status line and headers without those that
    each replay writes anew. `is_not_modified`: the response is a 304 without a body. `request_id`: the id that the
    client chose; None if each response gets a new one.
    """

    response_key: str
    etag: str
    coding: str | None
    head: bytes
    is_not_modified: bool
    request_id: bytes | None


class ReplayCache:
    """An LRU cache from the digest of a request's bytes to the head of its response, bounded in bytes."""

    def __init__(self, responses: ResponseCache, recorder: OperationRecorder) -> None:
        self._responses = responses
        self._recorder = recorder
        self._replays: LruCache[bytes, _Replay] = LruCache(_MAX_BYTES)

    def get(self, request: bytes, default_headers: Headers) -> tuple[bytes, bytes] | None:
        """Head and body of the response, recorded as an operation; None if the request has to be parsed.

        `default_headers`: the headers that the server adds to each response.
        """
        if len(request) > MAX_REQUEST_BYTES:
            return None
        started = time.perf_counter()
        replay = self._replays.get(_digest(request))
        if replay is None or (found := self._responses.get(replay.response_key)) is None:
            return None
        cached, seconds_left = found
        if cached.etag != replay.etag:
            return None
        body = cached.body if replay.coding is None else cached.compressed.get(replay.coding)
        if replay.is_not_modified:
            body = b""
        elif body is None:
            return None
        request_id = replay.request_id or new_request_id().encode()
        lines = b"".join([b"%b: %b\r\n" % line for line in default_headers])
        head = b"%b%bcache-control: private, max-age=%d\r\nx-request-id: %b\r\n\r\n" % (
            replay.head,
            lines,
            seconds_left,
            request_id,
        )
        self._recorder.record_execution("kept")
        self._recorder.record_operation(
            name=cached.name,
            document=cached.document,
            outcome="ok",
            cost=cached.cost,
            seconds=time.perf_counter() - started,
            request_id=request_id.decode(),
        )
        return head, body

    def set(
        self,
        request: bytes,
        response_key: str,
        cached: CachedResponse,
        coding: str | None,
        *,
        status: int,
        headers: Headers,
        request_id: bytes | None,
    ) -> None:
        """Store how a request was answered.

        Args:
            request: all bytes of the request, headers included.
            response_key: key of the cached response in the response cache.
            cached: that response.
            coding: the content coding in which it was sent, if any.
            status: 200 or 304.
            headers: the headers of the response, without the server's default headers and `X-Request-Id`.
            request_id: the id that the client chose; None if it chose none.
        """
        lines = [b"%b: %b\r\n" % line for line in headers if line[0] != _CACHE_CONTROL]
        reason = b"OK" if status == 200 else b"Not Modified"
        head = b"HTTP/1.1 %d %b\r\n%b" % (status, reason, b"".join(lines))
        replay = _Replay(response_key, cached.etag, coding, head, status != 200, request_id)
        self._replays.set(_digest(request), replay, _ENTRY_BYTES + len(head) + len(response_key))


class ReplayRecorder:
    """Collects how one request is answered, and stores it in the replay cache if the response can be replayed.

    Its presence in a request's state also says that the whole request, body included, arrived in one read.
    """

    __slots__ = ("_cache", "_cached", "_coding", "_request", "_response_key")

    def __init__(self, cache: ReplayCache, request: bytes) -> None:
        self._cache = cache
        self._request = request
        self._response_key = ""
        self._cached: CachedResponse | None = None
        self._coding: str | None = None

    def use_cached_response(self, response_key: str, cached: CachedResponse, coding: str | None) -> None:
        """The endpoint answers with this cached response, in this content coding. Otherwise, nothing is stored."""
        self._response_key = response_key
        self._coding = coding
        self._cached = cached

    def start_response(self, status: int, headers: Headers, request_id: bytes | None) -> None:
        """The response starts with this status and these headers; see `ReplayCache.set`."""
        if self._cached is not None:
            self._cache.set(
                self._request,
                self._response_key,
                self._cached,
                self._coding,
                status=status,
                headers=headers,
                request_id=request_id,
            )


def _digest(request: bytes) -> bytes:
    """A keyed digest: the request contains a credential, which must not stay in memory."""
    return hashlib.blake2b(request, key=_DIGEST_KEY, digest_size=16).digest()

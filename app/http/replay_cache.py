"""Requests that come again byte by byte, and are answered without being read.

Everything that decides an answer is in the request's bytes: the operation, the credential, what the client accepts and
holds. So a request that was answered with kept bytes is remembered by a keyed hash of its own, with the head of its
answer; what differs each time, the age, the date and the request's id, is filled in.
"""

import hashlib
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.http.middleware import new_request_id
from app.http.response_cache import CachedResponse, ResponseCache
from app.observability.operation_log import OperationRecorder
from app.resilience.lru_cache import LruCache

STATE: Final = "repeats"
"""Under which the application's state has the Repeats, for the server's protocol."""
MAX_REQUEST_BYTES: Final = 16 * 1024
_MAX_BYTES: Final = 4 * 1024 * 1024
_ENTRY_BYTES: Final = 700
_CACHE_CONTROL: Final = b"cache-control"
_HASH_KEY: Final = secrets.token_bytes(32)

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class _Replay:
    """The answer itself is not held here: it is the kept one under `key`, while that has this `etag`.

    `head`: without what differs. `is_held`: the client has the body. `request_id`: the client's own, if it sent one.
    """

    key: str
    etag: str
    head: bytes
    is_held: bool
    request_id: bytes | None


class ReplayCache:
    def __init__(self, responses: ResponseCache, account: OperationRecorder) -> None:
        self._responses = responses
        self._account = account
        self._held: LruCache[bytes, _Replay] = LruCache(_MAX_BYTES)

    def get(self, request: bytes, defaults: Headers) -> tuple[bytes, bytes] | None:
        """The head and body of the answer; None where the request has to be read. `defaults`: the server's headers."""
        if len(request) > MAX_REQUEST_BYTES:
            return None
        started = time.perf_counter()
        repeat = self._held.get(_digest(request))
        if repeat is None or (found := self._responses.get(repeat.key)) is None:
            return None
        kept, left = found
        if kept.etag != repeat.etag:
            return None
        request_id = repeat.request_id or new_request_id().encode()
        lines = b"".join([b"%b: %b\r\n" % line for line in defaults])
        head = b"%b%bcache-control: private, max-age=%d\r\nx-request-id: %b\r\n\r\n" % (
            repeat.head,
            lines,
            left,
            request_id,
        )
        self._account.record_execution("kept")
        self._account.record_operation(
            name=kept.name,
            document=kept.document,
            outcome="ok",
            cost=kept.cost,
            seconds=time.perf_counter() - started,
            request_id=request_id.decode(),
        )
        return head, b"" if repeat.is_held else kept.body

    def set(
        self, request: bytes, key: str, kept: CachedResponse, status: int, headers: Headers, request_id: bytes | None
    ) -> None:
        """That this request was answered so. `request_id`: the client's own, if it sent one."""
        lines = [b"%b: %b\r\n" % line for line in headers if line[0] != _CACHE_CONTROL]
        reason = b"OK" if status == 200 else b"Not Modified"
        head = b"HTTP/1.1 %d %b\r\n%b" % (status, reason, b"".join(lines))
        repeat = _Replay(key, kept.etag, head, status != 200, request_id)
        self._held.set(_digest(request), repeat, _ENTRY_BYTES + len(head) + len(key))


def _digest(request: bytes) -> bytes:
    """The request holds a credential, so it is not kept itself."""
    return hashlib.blake2b(request, key=_HASH_KEY, digest_size=16).digest()

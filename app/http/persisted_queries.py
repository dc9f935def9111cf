"""Automatic persisted queries (APQ): a client sends a document once with its SHA-256, and then only the SHA-256.

This is Apollo's protocol: an unknown hash is answered with `PERSISTED_QUERY_NOT_FOUND`, whereupon the client sends the
document together with its hash. Documents are shared by all clients and, through Redis, by all processes. Sharing is
safe because a document's key is its content: no client, and nothing else that writes to that Redis, can put another
document in its place. A document from the cache is validated and limited like one that was sent, and runs with the
credential of the client that named it. Only documents that ran are stored. A client that sends very many documents can
at worst evict others', whose clients then send them again.
"""

import contextlib
import hashlib
import math
import re
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from app.errors import BadUserInputError, PersistedQueryNotFoundError
from app.execution import Request
from app.http.params import SHA256_PREFIX, GraphQLParams
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.resilience.lru_cache import BoundedDict, LruCache

_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bound of each of the two caches in memory."""
_OVERHEAD_BYTES: Final = 300
_REDIS_TTL_SECONDS: Final = 86_400
"""How long Redis keeps a document after its last use."""
_REFRESH_SECONDS: Final = 3600.0
"""A process writes a document that clients name to Redis at most this often, to renew its expiry."""
_REWRITE_SECONDS: Final = 10.0
"""The same if the client sent the text: a process did not know the document, so it may be missing in Redis."""
_MAX_REDIS_BYTES_PER_MINUTE: Final = 256 * 1024
"""Bound of the documents that a process writes to Redis, which also holds the cached pages."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

# Reading a document renews its expiry. `pcall`, because another program may have stored another type under this key,
# for which GET is an error: the document then counts as unknown, and Redis as available.
_READ: Final = """
local text = redis.pcall('GET', KEYS[1])
if type(text) ~= 'string' then return false end
redis.pcall('EXPIRE', KEYS[1], ARGV[1])
return text
"""
_WRITE: Final = "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])"


class PersistedDocuments(Protocol):
    """Resolves the document of a request that may name its document instead of sending it."""

    async def resolve(self, params: GraphQLParams) -> Request:
        """The request with its document.

        Raises PersistedQueryNotFoundError for an unknown hash, and BadUserInputError for an id that is malformed, does
        not match the document sent with it, or is not allowed.
        """

    async def record(self, params: GraphQLParams, text: str) -> None:
        """Record that the document `text`, resolved from `params`, ran."""


class AutomaticPersistedQueries:
    """Documents by their SHA-256, in memory and, if there is a connection, in Redis. `clock`: monotonic seconds.

    Bounds: 8 MiB in each of two caches in memory; in Redis, a day for each document, and 256 KiB a minute per process.

    The two caches: documents that a client has named, and documents that were only sent with their hash. So a
    flood of new documents evicts no document that is in use.
    """

    def __init__(self, connection: RedisConnection | None, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock
        self._sent: LruCache[str, str] = LruCache(_MAX_BYTES)
        self._named: LruCache[str, str] = LruCache(_MAX_BYTES)
        self._written_at: BoundedDict[str, float] = BoundedDict()
        self._minute = self._minute_bytes = 0

    async def resolve(self, params: GraphQLParams) -> Request:
        text = params.query
        digest = _sha256_in(params)
        if text is None:
            if digest is None:
                message = "This gateway has no trusted documents. Use `sha256:` and the SHA-256 of the document."
                raise BadUserInputError(message, argument="documentId")
            text = self._named.get(digest) or self._sent.get(digest) or await self._read(digest)
        elif digest and digest != sha256_of(text):
            # The text is part of Apollo's protocol.
            raise BadUserInputError("provided sha does not match query")
        return Request(text, params.variables, params.operation_name)

    async def record(self, params: GraphQLParams, text: str) -> None:
        """Store the document if the request named it by its SHA-256."""
        if digest := _sha256_in(params):
            cache = self._sent
            if params.query is None or self._named.get(digest):
                self._sent.remove(digest)
                cache = self._named
            cache.set(digest, text, sys.getsizeof(text) + _OVERHEAD_BYTES)
            encoded = text.encode()
            seconds = _REFRESH_SECONDS if params.query is None else _REWRITE_SECONDS
            if self._connection and self._may_write(digest, len(encoded), seconds):
                with contextlib.suppress(RedisUnavailableError):
                    await self._connection.script(_WRITE, [_redis_key(digest)], [encoded, _REDIS_TTL_SECONDS])

    async def _read(self, digest: str) -> str:
        """The document in Redis, if it has this digest. Raises PersistedQueryNotFoundError otherwise."""
        if self._connection:
            with contextlib.suppress(RedisUnavailableError):
                stored: Any = await self._connection.script(_READ, [_redis_key(digest)], [_REDIS_TTL_SECONDS])
                if isinstance(stored, bytes) and sha256_of(text := stored.decode(errors="replace")) == digest:
                    self._written_at[digest] = self._clock()
                    return text
                # It is missing, or not the document: whoever sends it next stores it again.
                self._written_at.pop(digest, None)
        raise PersistedQueryNotFoundError

    def _may_write(self, digest: str, length: int, seconds: float) -> bool:
        """Whether to write this document to Redis: not within `seconds` of its last write, and within the bound."""
        now = self._clock()
        if now < self._written_at.get(digest, -math.inf) + seconds:
            return False
        if self._minute != now // 60:
            self._minute, self._minute_bytes = int(now // 60), 0
        self._minute_bytes += length
        self._written_at[digest] = now
        return self._minute_bytes <= _MAX_REDIS_BYTES_PER_MINUTE


def _sha256_in(params: GraphQLParams) -> str | None:
    """The SHA-256 in the document id; None if the request does not name its document by hash.

    Raises BadUserInputError for a malformed hash.
    """
    if params.document_id is None or not params.document_id.startswith(SHA256_PREFIX):
        return None
    digest = params.document_id.removeprefix(SHA256_PREFIX)
    if not _SHA256.fullmatch(digest):
        raise BadUserInputError("The SHA-256 that names a document is 64 hexadecimal digits in lower case.")
    return digest


def sha256_of(text: str) -> str:
    """SHA-256 of the text in UTF-8, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _redis_key(digest: str) -> str:
    return f"{KEY_PREFIX}document:{digest}"

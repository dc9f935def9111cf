"""Persisted documents: those that a client names instead of sending them.

*Automatic* ones, by Apollo's protocol: whoever sends a document with its SHA-256 may name it by that from then on. They
are shared by all clients and, through the Redis, by all processes. That is safe, as a name says what it names: nobody
can put another document in its place, in the Redis neither, and each is checked as if it had been sent, and runs with
the credential of who names it. Only what ran is kept. A client that sends very many can make others send theirs once
more, and no worse.

*Trusted* ones are all that runs where a manifest lists them.
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
from app.http.params import SHA_256, GraphQLParams
from app.redis.connection import KEY_PREFIX, RedisConnection, RedisUnavailableError
from app.resilience.lru_cache import LruCache, LruDict

_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bound of each of the two parts that are held."""
_OVERHEAD: Final = 300
_LASTS: Final = 86_400
"""Seconds that the Redis has a document after it was used."""
_USED: Final = 3600.0
_SENT: Final = 10.0
"""Seconds until a document is put there again by who used it by name, and by who sent it."""
_MOST_A_MINUTE: Final = 256 * 1024
"""Bytes of documents that a process puts there: the Redis has pages to hold."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

_READ: Final = """
local text = redis.pcall('GET', KEYS[1])
if type(text) ~= 'string' then return false end
redis.pcall('EXPIRE', KEYS[1], ARGV[1])
return text
"""
_WRITE: Final = "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])"


class PersistedDocuments(Protocol):
    """Finds the document that a request names."""

    async def resolve(self, wanted: GraphQLParams) -> Request:
        """With the document. Raises BadUserInput and PersistedQueryNotFound."""

    async def record(self, wanted: GraphQLParams, text: str) -> None:
        """Takes note of a document that ran."""


class AutomaticPersistedQueries:
    """Documents by their SHA-256. `clock`: monotonic seconds.

    Those that were named are held apart from those that were only sent, so that many new ones push out none in use.
    """

    def __init__(self, link: RedisConnection | None, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock
        self._sent: LruCache[str, str] = LruCache(_MAX_BYTES)
        self._named: LruCache[str, str] = LruCache(_MAX_BYTES)
        self._put_at: LruDict[str, float] = LruDict()
        self._minute = self._put_bytes = 0

    async def resolve(self, wanted: GraphQLParams) -> Request:
        """With the document. Raises BadUserInput and PersistedQueryNotFound."""
        text = wanted.query
        digest = _digest_in(wanted)
        if text is None:
            if digest is None:
                message = "this gateway has no list of documents; name one by sha256: and its SHA-256."
                raise BadUserInputError(message, argument="documentId")
            text = self._named.get(digest) or self._sent.get(digest) or await self._found(digest)
        elif digest and digest != sha256_of(text):
            raise BadUserInputError("provided sha does not match query")
        return Request(text, wanted.variables, wanted.operation_name)

    async def record(self, wanted: GraphQLParams, text: str) -> None:
        """Keeps the document, if it was named."""
        if digest := _digest_in(wanted):
            held = self._sent
            if wanted.query is None or self._named.get(digest):
                self._sent.remove(digest)
                held = self._named
            held.set(digest, text, sys.getsizeof(text) + _OVERHEAD)
            encoded = text.encode()
            if self._link and self._is_to_be_put(digest, len(encoded), _USED if wanted.query is None else _SENT):
                with contextlib.suppress(RedisUnavailableError):
                    await self._link.script(_WRITE, [_key(digest)], [encoded, _LASTS])

    async def _found(self, digest: str) -> str:
        """From the Redis, which may hold anything. Raises PersistedQueryNotFound."""
        if self._link:
            with contextlib.suppress(RedisUnavailableError):
                held: Any = await self._link.script(_READ, [_key(digest)], [_LASTS])
                if isinstance(held, bytes) and sha256_of(text := held.decode(errors="replace")) == digest:
                    self._put_at[digest] = self._clock()
                    return text
        raise PersistedQueryNotFoundError

    def _is_to_be_put(self, digest: str, length: int, seconds: float) -> bool:
        now = self._clock()
        if now < self._put_at.get(digest, -math.inf) + seconds:
            return False
        if self._minute != now // 60:
            self._minute, self._put_bytes = int(now // 60), 0
        self._put_bytes += length
        self._put_at[digest] = now
        return self._put_bytes <= _MOST_A_MINUTE


def _digest_in(wanted: GraphQLParams) -> str | None:
    """The SHA-256 that it names its document by; None where it names none so. Raises BadUserInput."""
    if wanted.document_id is None or not wanted.document_id.startswith(SHA_256):
        return None
    digest = wanted.document_id.removeprefix(SHA_256)
    if not _DIGEST.fullmatch(digest):
        raise BadUserInputError("The SHA-256 that names a document is 64 hexadecimal digits in lower case.")
    return digest


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(digest: str) -> str:
    return f"{KEY_PREFIX}document:{digest}"

"""Compression of responses: the content codings of this process, and the compressed forms that it keeps.

gzip is always there. Brotli and Zstandard come with the extra `compression`, and Zstandard also with Python 3.14.
There is one level for each coding, so that the bytes behind a strong `ETag` are always the same.

The README of this room says why compressing the gateway's answers reveals no secret (BREACH).
"""

import asyncio
import contextlib
import functools
import importlib
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from app.http.negotiation import parse_accept
from app.resilience.lru_cache import LruCache

MIN_BYTES: Final = 1024
"""Shorter bodies are sent as they are: with its headers, a response of this size fits into one packet."""
_MAX_KEPT_BYTES: Final = 32 * 1024 * 1024
_THREAD_BYTES: Final = 16 * 1024
"""Longer bodies are compressed in a thread. Up to this size it takes 0.3 ms, little more than handing it over."""
_MAX_KNOWN_LENGTH: Final = 300
_GZIP: Final = "gzip"
_GZIP_LEVEL: Final = 6
_GZIP_FORMAT: Final = 31
"""zlib's `wbits` for the largest window, with the header and the trailer of gzip."""
_BROTLI_QUALITY: Final = 5
_ZSTD_LEVEL: Final = 5

CompressPart = Callable[[bytes, bool], bytes]
"""Compresses the next part of a body, and flushes it. The second argument: whether it is the last one."""


class Coding(NamedTuple):
    """A content coding. `whole` compresses a body, and `parts` returns a function for the parts of one."""

    whole: Callable[[bytes], bytes]
    parts: Callable[[], CompressPart]


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, _GZIP_LEVEL, wbits=_GZIP_FORMAT)


def _gzip_parts() -> CompressPart:
    stream = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FORMAT)
    return lambda part, is_last: stream.compress(part) + stream.flush(zlib.Z_FINISH if is_last else zlib.Z_SYNC_FLUSH)


def _brotli_parts(brotli: Any) -> CompressPart:
    stream = brotli.Compressor(quality=_BROTLI_QUALITY)
    return lambda part, is_last: stream.process(part) + (stream.finish() if is_last else stream.flush())


def _zstd_parts(zstd: Any) -> CompressPart:
    stream = zstd.ZstdCompressor(level=_ZSTD_LEVEL)
    return lambda part, is_last: stream.compress(part, stream.FLUSH_FRAME if is_last else stream.FLUSH_BLOCK)


def _find_codings() -> Iterator[tuple[str, Coding]]:
    """The codings for which there is a library, the best one first.

    For 200 KB of rows, Zstandard takes 1.4 ms and leaves 11 %; Brotli takes 2.3 ms (10 %), and gzip 3.0 ms (12 %).
    """
    with contextlib.suppress(ImportError):
        zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
        whole = functools.partial(zstd.compress, level=_ZSTD_LEVEL)
        yield "zstd", Coding(whole, functools.partial(_zstd_parts, zstd))
    with contextlib.suppress(ImportError):
        brotli = importlib.import_module("brotli")
        whole = functools.partial(brotli.compress, quality=_BROTLI_QUALITY)
        yield "br", Coding(whole, functools.partial(_brotli_parts, brotli))
    yield _GZIP, Coding(_gzip, _gzip_parts)


CODINGS: Final[Mapping[str, Coding]] = dict(_find_codings())
"""How to compress, by the coding's name in `Content-Encoding`; in the order of preference."""


def negotiate_coding(accept_encoding: bytes, size: int) -> str | None:
    """The coding for a body of `size` bytes; None to send it as it is.

    A client that accepts neither `identity` nor any coding of this process gets the body as it is, which every client
    can read (RFC 9110, section 12.4.1). Clients send few different headers, so that the last results are kept.
    """
    if len(accept_encoding) <= _MAX_KNOWN_LENGTH:
        coding, refuses_identity = _negotiate_known(accept_encoding)
    else:
        coding, refuses_identity = _negotiate(accept_encoding)
    return coding if size >= MIN_BYTES or refuses_identity else None


def _negotiate(accept_encoding: bytes) -> tuple[str | None, bool]:
    """The preferred coding, and whether the client refuses a body without a coding."""
    qualities = parse_accept(accept_encoding.decode("latin-1"))
    others = qualities.get("*/*")  # `*`, as that function spells it
    # `*` stands for gzip only. Programs that send it mean "anything usual", and may not know the newer codings.
    gzip_quality = qualities.get(_GZIP, qualities.get("x-gzip", others or 0.0))
    coding_qualities = {each: gzip_quality if each == _GZIP else qualities.get(each, 0.0) for each in CODINGS}
    best = max(coding_qualities, key=coding_qualities.__getitem__)
    identity_quality = qualities.get("identity", others)
    if not coding_qualities[best] or (identity_quality or 0.0) > coding_qualities[best]:
        return None, False
    return best, identity_quality == 0


_negotiate_known: Final = functools.lru_cache(maxsize=128)(_negotiate)


def etag_for(etag: str, coding: str | None) -> str:
    """The strong ETag of a body in this coding, from that of the body itself: `"5f2c"`, `"5f2c-gzip"`."""
    return f'{etag[:-1]}-{coding}"' if coding else etag


class PartCompressor:
    """Compresses the parts of one body. Each part can be decompressed when it arrives. None: they stay as they are."""

    def __init__(self, coding: str | None) -> None:
        self._compress = CODINGS[coding].parts() if coding else None

    async def compress(self, part: bytes, *, is_last: bool) -> bytes:
        """The part in the coding; with the end of the compressed body, if it is the last one."""
        if self._compress is None:
            return part
        if len(part) <= _THREAD_BYTES:
            return self._compress(part, is_last)
        return await asyncio.to_thread(self._compress, part, is_last)


class Compressor:
    """Compresses bodies, and keeps the compressed forms of bodies that do not change while the process runs."""

    def __init__(self) -> None:
        self._in_flight: dict[tuple[bytes, str], asyncio.Future[bytes]] = {}
        self._kept: LruCache[tuple[str, str], bytes] = LruCache(_MAX_KEPT_BYTES)

    async def compress(self, body: bytes, coding: str) -> bytes:
        """The body in this coding. Callers with equal bodies share the work (singleflight)."""
        if len(body) <= _THREAD_BYTES:
            return CODINGS[coding].whole(body)
        key = body, coding
        future = self._in_flight.get(key)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(None, CODINGS[coding].whole, body)
            self._in_flight[key] = future
            future.add_done_callback(lambda _: self._in_flight.pop(key))
        # Without the shield, cancelling one caller would cancel the work for all of them.
        return await asyncio.shield(future)

    async def compress_once(self, key: str, coding: str, read: Callable[[], bytes]) -> bytes:
        """The body that `read` returns, in this coding; from memory if it was compressed before.

        `key` identifies the body. `read` runs in a thread.
        """
        compressed = self._kept.get((key, coding))
        if compressed is None:
            compressed = await self.compress(await asyncio.to_thread(read), coding)
            self._kept.set((key, coding), compressed, len(compressed))
        return compressed

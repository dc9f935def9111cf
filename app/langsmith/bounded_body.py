"""The body of a response of LangSmith: decompressed, and bounded in size while it is built."""

import zlib
from collections.abc import Iterator
from typing import Final, cast

import httpx

from app.errors import UpstreamMalformedError

MAX_BYTES: Final = 32 * 1024 * 1024
_GZIP: Final = {"gzip", "x-gzip"}
_PIECE_BYTES: Final = 256 * 1024
"""Bytes that are decompressed at once: a few bytes of gzip can hold a thousand times as many."""
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS


async def read_bounded_body(response: httpx.Response) -> bytes:
    """The decompressed body. Reading stops as soon as it exceeds `MAX_BYTES`, compressed or not.

    Raises UpstreamMalformedError for a body that is too long or cannot be decompressed. For a status other than 200 the
    body is empty instead, because the status alone decides the error.
    """
    try:
        return await _read(response)
    except UpstreamMalformedError:
        if response.status_code == 200:
            raise
        return b""


async def _read(response: httpx.Response) -> bytes:
    # httpx would decode nested compressions too, reads one gzip member only, and decompresses without a bound.
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", *_GZIP}:
        raise UpstreamMalformedError("LangSmith's answer has a content encoding that the gateway does not support.")
    gunzip = _Gunzip() if encoding in _GZIP else None
    pieces: list[bytes] = []
    size = received = 0
    async for chunk in cast(httpx.AsyncByteStream, response.stream):
        received += len(chunk)
        for piece in gunzip.decompress(chunk) if gunzip else (chunk,):
            size += len(piece)
            if max(size, received) > MAX_BYTES:
                raise UpstreamMalformedError("LangSmith answered more than 32 MiB. Ask for fewer rows.")
            pieces.append(piece)
    if gunzip and not gunzip.is_complete:
        raise UpstreamMalformedError(_NOT_GZIP)
    return b"".join(pieces)


_NOT_GZIP: Final = "LangSmith's answer could not be decompressed."


class _Gunzip:
    """Decompresses gzip: one member or several in a row (RFC 1952), possibly padded with zeros."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._has_begun = False

    @property
    def is_complete(self) -> bool:
        return self._member.eof or not self._has_begun

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """The decompressed bytes, in bounded pieces; at least one. Raises UpstreamMalformedError."""
        piece = b""
        while True:
            if self._member.eof:
                if not (data := data.lstrip(b"\0")):
                    break
                self._member = zlib.decompressobj(_GZIP_WBITS)
            self._has_begun = True
            try:
                piece = self._member.decompress(data, _PIECE_BYTES)
            except zlib.error as exc:
                raise UpstreamMalformedError(_NOT_GZIP) from exc
            yield piece
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if not data and len(piece) < _PIECE_BYTES:
                return
        yield b""

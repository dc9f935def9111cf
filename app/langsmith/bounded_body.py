"""The body of a response of LangSmith: decompressed, and bounded in size while it is built."""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from app.errors import UpstreamMalformedError
from app.langsmith.http_message import HttpResponse

MAX_BYTES: Final = 32 * 1024 * 1024
_PIECE_BYTES: Final = 256 * 1024
"""Bytes that are decompressed at once: a few bytes of gzip can hold a thousand times as many."""
_BYTES_BEFORE_OTHERS: Final = 2 * 1024 * 1024
"""Bytes that are decompressed before the event loop serves others: about 5 ms."""
_BYTES_PER_STEP: Final = 4 * 1024
"""Compressed bytes that are handed to zlib at once, because it copies those behind the end of a member."""
_GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
_GZIP_MAGIC: Final = b"\x1f\x8b"
_NAMED_ENCODINGS: Final = {"br", "zstd", "compress"}
_TOO_LONG: Final = "LangSmith answered more than 32 MiB. Ask for fewer rows."
_UNREADABLE: Final = "LangSmith's answer could not be decompressed."


async def read_bounded_body(response: HttpResponse) -> bytes:
    """The decompressed body. Reading stops as soon as it exceeds `MAX_BYTES`, compressed or not.

    Raises UpstreamMalformedError for a body that is too long or cannot be decompressed. For a status other than 200 the
    body is empty instead, because the status alone decides the error.
    """
    try:
        return await _read(response)
    except UpstreamMalformedError:
        if response.status == 200:
            raise
        return b""


async def _read(response: HttpResponse) -> bytes:
    decoder = _decoder_of(response.headers.get("content-encoding", "").strip().lower())
    pieces: list[bytes] = []
    size = received = without_pause = 0
    async for chunk in response.stream:
        received += len(chunk)
        if received > MAX_BYTES:
            raise UpstreamMalformedError(_TOO_LONG)
        for piece in decoder.decode(chunk):
            size += len(piece)
            if size > MAX_BYTES:
                raise UpstreamMalformedError(_TOO_LONG)
            pieces.append(piece)
            without_pause += max(len(piece), _BYTES_PER_STEP)
            if without_pause > _BYTES_BEFORE_OTHERS:
                without_pause = 0
                await asyncio.sleep(0)
    if not decoder.is_complete:
        raise UpstreamMalformedError(_UNREADABLE)
    return b"".join(pieces)


class _Decoder(Protocol):
    """Decodes a body chunk by chunk. `is_complete`: whether the body may end here."""

    @property
    def is_complete(self) -> bool: ...

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """The decoded bytes, in bounded pieces. Raises UpstreamMalformedError."""


def _decoder_of(encoding: str) -> _Decoder:
    match encoding:
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Gunzip()
        case "deflate":
            return _Inflate()
    name = f"`{encoding}`" if encoding in _NAMED_ENCODINGS else "a content encoding"
    raise UpstreamMalformedError(f"LangSmith's answer has {name}, which the gateway did not ask for and cannot read.")


class _Identity:
    is_complete = True

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk


class _Gunzip:
    """Decompresses gzip: one member or several in a row (RFC 1952). What follows them and is no member is ignored."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._between = b""
        self._is_first = True
        self._has_ended = False

    @property
    def is_complete(self) -> bool:
        return self._member is None

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), _BYTES_PER_STEP):
            yield from self._decode(chunk[start : start + _BYTES_PER_STEP])

    def _decode(self, chunk: bytes) -> Iterator[bytes]:
        while not self._has_ended:
            if self._member is None:
                self._between = (self._between + chunk).lstrip(b"\0")
                chunk = b""
                if len(self._between) < len(_GZIP_MAGIC):
                    break
                if not (self._is_first or self._between.startswith(_GZIP_MAGIC)):
                    self._has_ended = True
                    break
                self._member, self._is_first = zlib.decompressobj(_GZIP_WBITS), False
                chunk, self._between = self._between, b""
            yield from _pieces(self._member, chunk)
            if not self._member.eof:
                return
            chunk, self._member = self._member.unused_data, None


class _Inflate:
    """Decompresses `deflate`: the format of zlib (RFC 9110), or without its header, as some servers send it."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None

    @property
    def is_complete(self) -> bool:
        return self._stream is None or self._stream.eof

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        if self._stream is None and chunk:
            has_header = chunk[0] & 0x0F == zlib.DEFLATED
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        if self._stream and not self._stream.eof:
            yield from _pieces(self._stream, chunk)


def _pieces(stream: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """What the stream decompresses from the data, until the end of the data or of the stream."""
    while True:
        try:
            piece = stream.decompress(data, _PIECE_BYTES)
        except zlib.error as exc:
            raise UpstreamMalformedError(_UNREADABLE) from exc
        yield piece
        data = stream.unconsumed_tail
        if stream.eof or (not data and len(piece) < _PIECE_BYTES):
            return

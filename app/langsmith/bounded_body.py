"""The body of a response of LangSmith: decompressed, and bounded in size."""

from typing import Final

import httpx

from app.errors import UpstreamMalformedError

MAX_BYTES: Final = 32 * 1024 * 1024
_ENCODINGS: Final = {"", "identity", "gzip"}


async def read_bounded_body(response: httpx.Response) -> bytes:
    """The decompressed body. Reading stops as soon as it exceeds `MAX_BYTES`.

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
    # httpx would decode nested compressions too, and a single step of the inner one can produce an unbounded chunk.
    if response.headers.get("content-encoding", "identity").strip().lower() not in _ENCODINGS:
        raise UpstreamMalformedError("LangSmith's answer has a content encoding that the gateway does not support.")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MAX_BYTES:
                raise UpstreamMalformedError("LangSmith answered more than 32 MiB. Ask for fewer rows.")
            chunks.append(chunk)
    except httpx.DecodingError as exc:
        raise UpstreamMalformedError("LangSmith's answer could not be decompressed.") from exc
    return b"".join(chunks)

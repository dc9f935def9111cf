"""The body of LangSmith's answer: decompressed, and bounded."""

from typing import Final

import httpx

from app import errors

MAX_BYTES: Final = 32 * 1024 * 1024
_ENCODINGS: Final = {"", "identity", "gzip"}


async def read_bounded_body(response: httpx.Response) -> bytes:
    """Raises UpstreamMalformed, but not about a refusal, whose status says enough."""
    try:
        return await _bounded(response)
    except errors.UpstreamMalformedError:
        if response.status_code == 200:
            raise
        return b""


async def _bounded(response: httpx.Response) -> bytes:
    # httpx would take two compressions, one within the other, and one step of the inner one knows no bound.
    if response.headers.get("content-encoding", "identity").strip().lower() not in _ENCODINGS:
        raise errors.UpstreamMalformedError("LangSmith's answer is compressed in a way that was not asked for.")
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MAX_BYTES:
                raise errors.UpstreamMalformedError("LangSmith answered more than 32 MiB. Ask for fewer rows.")
            chunks.append(chunk)
    except httpx.DecodingError as exc:
        raise errors.UpstreamMalformedError("LangSmith's answer could not be decompressed.") from exc
    return b"".join(chunks)

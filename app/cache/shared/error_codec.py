"""A GatewayError as bytes, so that processes that wait for a fetch raise the same error as the one that fetched."""

from typing import Final

import msgspec

from app.errors import (
    BadUserInputError,
    ForbiddenError,
    GatewayError,
    RateLimitedError,
    UnauthenticatedError,
    UpstreamError,
    UpstreamMalformedError,
    UpstreamTimeoutError,
)

_MAX_RETRY_AFTER_SECONDS: Final = 86_400.0


class _ErrorRecord(msgspec.Struct, array_like=True):
    code: str
    message: str
    argument: str | None = None
    retry_after: float | None = None


def encode(error: GatewayError) -> bytes:
    """The error as a JSON array."""
    argument, retry_after = getattr(error, "argument", None), getattr(error, "retry_after", None)
    return msgspec.json.encode(_ErrorRecord(error.code, str(error), argument, retry_after))


def decode(text: bytes) -> GatewayError:
    """The error that was encoded; an UpstreamError if the text cannot be read, or its code is unknown."""
    try:
        record = msgspec.json.decode(text, type=_ErrorRecord)
    except (ValueError, RecursionError):
        return _unreadable()
    if record.code == RateLimitedError.code:
        is_possible = record.retry_after is not None and 0 <= record.retry_after <= _MAX_RETRY_AFTER_SECONDS
        return RateLimitedError(record.message, retry_after=record.retry_after if is_possible else None)
    if record.code == BadUserInputError.code:
        # The message names the argument already, which the constructor would put in front of it again.
        error = BadUserInputError(record.message)
        error.argument = record.argument
        return error
    kind = _BY_CODE.get(record.code)
    return kind(record.message) if kind else _unreadable()


def _unreadable() -> UpstreamError:
    return UpstreamError("LangSmith could not be reached. Try again shortly.")


_BY_CODE: Final[dict[str, type[GatewayError]]] = {
    error.code: error
    for error in (UnauthenticatedError, ForbiddenError, UpstreamError, UpstreamTimeoutError, UpstreamMalformedError)
}

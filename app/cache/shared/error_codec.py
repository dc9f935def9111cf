"""TODO."""

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


class _ErrorRecord(msgspec.Struct, array_like=True):
    """What is passed on of an error."""

    code: str
    message: str
    argument: str | None = None
    retry_after: float | None = None


def encode(error: GatewayError) -> bytes:
    """The error, for another process."""
    argument, retry_after = getattr(error, "argument", None), getattr(error, "retry_after", None)
    return msgspec.json.encode(_ErrorRecord(error.code, str(error), argument, retry_after))


def decode(text: bytes) -> GatewayError:
    """The error that was put so; where it cannot be read, that LangSmith failed."""
    try:
        told = msgspec.json.decode(text, type=_ErrorRecord)
    except (ValueError, RecursionError):
        return UpstreamError("LangSmith could not be asked. Try again shortly.")
    if told.code == RateLimitedError.code:
        return RateLimitedError(told.message, retry_after=told.retry_after)
    if told.code == BadUserInputError.code:
        refused = BadUserInputError(told.message)
        refused.argument = told.argument
        return refused
    return _BY_CODE.get(told.code, UpstreamError)(told.message)


_BY_CODE: Final[dict[str, type[GatewayError]]] = {
    each.code: each
    for each in (UnauthenticatedError, ForbiddenError, UpstreamError, UpstreamTimeoutError, UpstreamMalformedError)
}

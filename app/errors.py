"""Every error a client can meet, each with a code that never changes.

    GatewayError
    ├── BadUserInput          an argument or header was refused, here or by LangSmith
    ├── Unauthenticated       no credential, or LangSmith does not know it
    ├── Forbidden             LangSmith knows the credential and refuses it
    ├── RateLimited           too many requests; `retryAfter` says how long to wait
    ├── OperationTooExpensive the operation passes a limit of this gateway
    ├── PersistedQueryNotFound no document of that hash is known; send it once with its hash
    ├── UpstreamError         LangSmith failed, or could not be reached
    ├── UpstreamTimeout       LangSmith did not answer in time
    └── UpstreamMalformed     LangSmith answered something that cannot be read

A message is written for the client: it says what to do, and quotes no URL, header or body of LangSmith.
Anything else that is raised is a bug: outside it reads `INTERNAL_SERVER_ERROR`, in the log it has its traceback.
"""

from typing import Any, ClassVar, Final

import msgspec

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
INTERNAL: Final = "INTERNAL_SERVER_ERROR"


class GatewayError(Exception):
    code: ClassVar[str]

    @property
    def extensions(self) -> dict[str, Any]:
        """What graphql-core puts beside the message."""
        return {"code": self.code}


class BadUserInput(GatewayError):
    code = "BAD_USER_INPUT"

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(f"{argument}: {message}" if argument else message)
        self.argument = argument

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | ({"argument": self.argument} if self.argument else {})


class Unauthenticated(GatewayError):
    code = "UNAUTHENTICATED"


class Forbidden(GatewayError):
    code = "FORBIDDEN"


class RateLimited(GatewayError):
    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds, where they are known."""
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"retryAfter": self.retry_after}


class OperationTooExpensive(GatewayError):
    code = "OPERATION_TOO_EXPENSIVE"

    def __init__(self, message: str, *, limit: int, value: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.value = value

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"limit": self.limit, "value": self.value}


class PersistedQueryNotFound(GatewayError):
    """Its message is part of Apollo's protocol."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")


class UpstreamError(GatewayError):
    code = "UPSTREAM_ERROR"


class UpstreamTimeout(GatewayError):
    code = "UPSTREAM_TIMEOUT"


class UpstreamMalformed(GatewayError):
    code = "UPSTREAM_MALFORMED"


class _Told(msgspec.Struct, array_like=True):
    """What is passed on of an error."""

    code: str
    message: str
    argument: str | None = None
    retry_after: float | None = None


def as_text(error: GatewayError) -> bytes:
    """The error, for another process."""
    argument, retry_after = getattr(error, "argument", None), getattr(error, "retry_after", None)
    return msgspec.json.encode(_Told(error.code, str(error), argument, retry_after))


def from_text(text: bytes) -> GatewayError:
    """The error that was put so; where it cannot be read, that LangSmith failed."""
    try:
        told = msgspec.json.decode(text, type=_Told)
    except (ValueError, RecursionError):
        return UpstreamError("LangSmith could not be asked. Try again shortly.")
    if told.code == RateLimited.code:
        return RateLimited(told.message, retry_after=told.retry_after)
    if told.code == BadUserInput.code:
        refused = BadUserInput(told.message)
        refused.argument = told.argument
        return refused
    return _BY_CODE.get(told.code, UpstreamError)(told.message)


_BY_CODE: Final[dict[str, type[GatewayError]]] = {
    each.code: each for each in (Unauthenticated, Forbidden, UpstreamError, UpstreamTimeout, UpstreamMalformed)
}

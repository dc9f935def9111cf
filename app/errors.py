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

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
INTERNAL: Final = "INTERNAL_SERVER_ERROR"


class GatewayError(Exception):
    code: ClassVar[str]

    @property
    def extensions(self) -> dict[str, Any]:
        """What graphql-core puts beside the message."""
        return {"code": self.code}


class BadUserInputError(GatewayError):
    code = "BAD_USER_INPUT"

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(f"{argument}: {message}" if argument else message)
        self.argument = argument

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | ({"argument": self.argument} if self.argument else {})


class UnauthenticatedError(GatewayError):
    code = "UNAUTHENTICATED"


class ForbiddenError(GatewayError):
    code = "FORBIDDEN"


class RateLimitedError(GatewayError):
    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds, where they are known."""
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"retryAfter": self.retry_after}


class OperationTooExpensiveError(GatewayError):
    code = "OPERATION_TOO_EXPENSIVE"

    def __init__(self, message: str, *, limit: int, value: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.value = value

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"limit": self.limit, "value": self.value}


class PersistedQueryNotFoundError(GatewayError):
    """Its message is part of Apollo's protocol."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")


class UpstreamError(GatewayError):
    code = "UPSTREAM_ERROR"


class UpstreamTimeoutError(GatewayError):
    code = "UPSTREAM_TIMEOUT"


class UpstreamMalformedError(GatewayError):
    code = "UPSTREAM_MALFORMED"


class SettingsError(Exception):
    """One line that names the variable, what is wrong with it, and what it takes."""

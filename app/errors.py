"""Errors that a client can receive, each with a stable code in `extensions.code`.

    GatewayError
    ├── BadUserInputError            the gateway or LangSmith refused an argument or header
    ├── UnauthenticatedError         no credential, or LangSmith does not accept it
    ├── ForbiddenError               LangSmith accepts the credential, but denies access
    ├── RateLimitedError             too many requests; `retryAfter` is the time to wait, in seconds
    ├── OperationTooExpensiveError   the operation exceeds a limit of this gateway
    ├── ResultTooLargeError          the operation's answer exceeds a limit of this gateway
    ├── PersistedQueryNotFoundError  unknown hash: send the document once together with its hash
    ├── UpstreamError                LangSmith failed, or could not be reached
    ├── UpstreamTimeoutError         LangSmith did not answer in time
    └── UpstreamMalformedError       LangSmith's answer could not be decoded

A message is written for the client: it says what happened and what to do, and it contains no URL, header or body of
LangSmith, except what LangSmith says about a filter expression that the client wrote. Any other exception is a bug: the
client receives `INTERNAL_SERVER_ERROR`, the log receives the traceback.
"""

from typing import Any, ClassVar, Final

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
INTERNAL: Final = "INTERNAL_SERVER_ERROR"


class GatewayError(Exception):
    """Base class of the errors in this module. `code` never changes."""

    code: ClassVar[str]

    @property
    def extensions(self) -> dict[str, Any]:
        """Members of the error's `extensions`; graphql-core copies them into the response."""
        return {"code": self.code}


class BadUserInputError(GatewayError):
    """`argument`: the GraphQL argument, JSON member or header that is wrong; the message then begins with it."""

    code = "BAD_USER_INPUT"

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(f"{argument}: {message}" if argument else message)
        self.argument = argument

    def renamed(self, argument: str, given_as: str | None) -> "BadUserInputError":
        """The same error, but if it names `argument`, it names the argument that the client gave instead, if any."""
        if self.argument != argument:
            return self
        return BadUserInputError(str(self).removeprefix(f"{argument}: "), argument=given_as)

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | ({"argument": self.argument} if self.argument else {})


class UnauthenticatedError(GatewayError):
    code = "UNAUTHENTICATED"


class ForbiddenError(GatewayError):
    code = "FORBIDDEN"


class RateLimitedError(GatewayError):
    """`retry_after`: seconds after which the client may try again; None if unknown."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"retryAfter": self.retry_after}


class OperationTooExpensiveError(GatewayError):
    """`value`: the operation's value of the limited quantity (cost, depth, aliases, …); it is above `limit`."""

    code = "OPERATION_TOO_EXPENSIVE"

    def __init__(self, message: str, *, limit: int, value: int) -> None:
        super().__init__(message)
        self.limit = limit
        self.value = value

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"limit": self.limit, "value": self.value}


class ResultTooLargeError(GatewayError):
    """`limit`: what the answer exceeds, in bytes or objects. How large it would be is unknown: it was not completed."""

    code = "RESULT_TOO_LARGE"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit

    @property
    def extensions(self) -> dict[str, Any]:
        return super().extensions | {"limit": self.limit}


class PersistedQueryNotFoundError(GatewayError):
    """No document has this hash. Apollo's clients recognise the message, which is part of their protocol."""

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
    """A setting is wrong. The message is one line: the variable's name, the problem, and the accepted values.

    It stops the start and never reaches a client.
    """

"""FailedAttemptError: why one attempt of a request to LangSmith failed, and what follows from that."""

from typing import Final, Literal

from app.errors import GatewayError, RateLimitedError

Reason = Literal[
    "dns",  # the host's name could not be resolved
    "refused",  # the host refused the connection
    "unreachable",  # the network has no way to the host
    "tls",  # no TLS connection could be made, or the certificate is not trusted
    "timeout",  # the connection or the answer took too long
    "reset",  # the connection was lost before the answer was complete
    "protocol",  # the answer is not HTTP
    "server",  # LangSmith, or a proxy before it, answered that it failed
    "rate_limit",  # LangSmith's or the gateway's own rate limit is reached
    "path",  # there is no list of sessions at this URL, but nothing, another page, or a redirect
    "edge",  # a CDN or firewall before LangSmith refused the request
    "refusal",  # LangSmith refused the credential or an argument
    "status",  # another status
    "circuit_open",  # the circuit breaker let no request through
    "queue",  # the request waited too long for the concurrency limit, or the queue is full
    "answer",  # the body cannot be read
]
"""What the log calls the cause of a failure. Those without an HTTP answer, `dns` to `protocol`, are values of the label
`outcome` of the metric of requests too; a request with an answer has its status there."""

_OUTAGES: Final[frozenset[Reason]] = frozenset(
    {"dns", "refused", "unreachable", "tls", "timeout", "reset", "server"},
)


class FailedAttemptError(Exception):
    """One attempt failed. Only the retry layer ends it: it raises `error` in its place.

    error: what the client reads if no attempt is left.
    reason: the cause.
    is_transient: whether another attempt may succeed.
    retry_after: seconds that LangSmith asks to wait; None if it does not say.
    """

    def __init__(
        self, error: GatewayError, *, reason: Reason, is_transient: bool = False, retry_after: float | None = None
    ) -> None:
        self.error = error
        self.reason: Reason = reason
        self.is_transient = is_transient
        self.retry_after = retry_after

    @property
    def is_outage(self) -> bool:
        """Whether the failure says that LangSmith is out of order, and not that it refuses one request."""
        return self.reason in _OUTAGES

    @property
    def is_rate_limit(self) -> bool:
        return isinstance(self.error, RateLimitedError)

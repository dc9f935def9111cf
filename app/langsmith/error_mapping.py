"""The one table that maps failures of LangSmith to the gateway's errors, and marks those that are worth a retry.

Bodies of 401, 403, 422 and 429 are Observed in real installations; their wording never reaches a client.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import httpx

from app import errors
from app.langsmith import v1

_BAD_INPUT_STATUSES: Final = {400, 413, 414, 422}
_RETRYABLE_STATUSES: Final = {408, 425, 429}
"""Beside 5xx. The vendor's own clients repeat the same ones (Observed)."""
_MAX_RETRY_AFTER_SECONDS: Final = 86_400.0


class RetryableError(Exception):
    """A transient failure: another attempt may succeed.

    error: what the client reads if no try is left.
    retry_after: seconds that LangSmith asks to wait; None if it does not say.
    """

    def __init__(self, error: errors.GatewayError, *, retry_after: float | None = None) -> None:
        self.error = error
        self.retry_after = retry_after


class StatsSelectRefusedError(Exception):
    """LangSmith refused to select statistics by name. The same request for all statistics may succeed."""


def map_transport_error(exc: Exception) -> tuple[str, Exception]:
    """The metric's label and the exception to raise for a request that got no usable response."""
    if isinstance(exc, aiohttp.ClientResponseError | httpx.RemoteProtocolError):
        return "malformed", errors.UpstreamMalformedError("LangSmith answered something that is not HTTP.")
    # httpx-aiohttp reports every lost connection as a time-out, so the cause decides.
    cause = exc.__cause__ or exc
    if isinstance(cause, TimeoutError | httpx.TimeoutException):
        return "timeout", RetryableError(errors.UpstreamTimeoutError("LangSmith took too long to answer."))
    return "connection", RetryableError(errors.UpstreamError("LangSmith could not be reached. Try again shortly."))


def map_status(response: httpx.Response, body: bytes, *, selects_statistics: bool) -> Exception:
    """The exception to raise for a status other than 200. `selects_statistics`: the request named statistics."""
    status = response.status_code
    if status in _BAD_INPUT_STATUSES:
        return _map_bad_input(body, selects_statistics=selects_statistics)
    if status == 401:
        return errors.UnauthenticatedError("LangSmith does not accept this credential. Check the key and its region.")
    if status == 403:
        return errors.ForbiddenError("LangSmith refuses this credential here. Check its region, workspace and rights.")
    retry_after = _parse_retry_after(response.headers.get("retry-after"))
    if status == 429:
        limited = errors.RateLimitedError(
            "LangSmith's rate limit is reached. Try again later.", retry_after=retry_after
        )
        return RetryableError(limited, retry_after=retry_after)
    failed = errors.UpstreamError(f"LangSmith answered with status {status}. Try again shortly.")
    return RetryableError(failed, retry_after=retry_after) if status in _RETRYABLE_STATUSES or status >= 500 else failed


def _map_bad_input(body: bytes, *, selects_statistics: bool) -> Exception:
    """The error names the argument that the body points to. The body's text is never quoted."""
    if selects_statistics and v1.is_stats_select_refused(body):
        return StatsSelectRefusedError()
    if argument := v1.refused_argument(body):
        return errors.BadUserInputError("LangSmith refused this value.", argument=argument)
    return errors.BadUserInputError(
        "LangSmith refused one of the arguments: check filters, order and statistics' options."
    )


def _parse_retry_after(value: str | None) -> float | None:
    """Seconds to wait, at most a day; None for an absent or unreadable header."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), _MAX_RETRY_AFTER_SECONDS)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)

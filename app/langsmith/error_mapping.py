"""What it means when LangSmith does not answer with rows: the error that a client reads, and whether to try again."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import httpx

from app import errors
from app.langsmith import v1

_REFUSED: Final = {400, 413, 414, 422}
_PASSING: Final = {408, 425, 429}
_LONGEST_RETRY_AFTER: Final = 86_400.0


class RetryableError(Exception):
    """A failure that another try may not meet."""

    def __init__(self, error: errors.GatewayError, *, retry_after: float | None = None) -> None:
        self.error = error
        self.retry_after = retry_after


class StatsSelectRefusedError(Exception):
    pass


def map_transport_error(exc: Exception) -> tuple[str, Exception]:
    """How a request failed that got no usable answer: the metric's label, and what to raise."""
    if isinstance(exc, aiohttp.ClientResponseError | httpx.RemoteProtocolError):
        return "malformed", errors.UpstreamMalformedError("LangSmith answered something that is not HTTP.")
    # httpx-aiohttp calls every lost connection a time-out, so the cause decides.
    cause = exc.__cause__ or exc
    if isinstance(cause, TimeoutError | httpx.TimeoutException):
        return "timeout", RetryableError(errors.UpstreamTimeoutError("LangSmith took too long to answer."))
    return "connection", RetryableError(errors.UpstreamError("LangSmith could not be reached. Try again shortly."))


def map_status(response: httpx.Response, body: bytes, *, selected: bool) -> Exception:
    """`selected`: statistics were chosen by name."""
    status = response.status_code
    if status in _REFUSED:
        return _bad_input(body, selected=selected)
    if status == 401:
        return errors.UnauthenticatedError("LangSmith does not accept this credential. Check the key and its region.")
    if status == 403:
        return errors.ForbiddenError("LangSmith refuses this credential here. Check its region, workspace and rights.")
    retry_after = _retry_after(response.headers.get("retry-after"))
    if status == 429:
        limited = errors.RateLimitedError(
            "LangSmith's rate limit is reached. Try again later.", retry_after=retry_after
        )
        return RetryableError(limited, retry_after=retry_after)
    failed = errors.UpstreamError(f"LangSmith answered with status {status}. Try again shortly.")
    return RetryableError(failed, retry_after=retry_after) if status in _PASSING or status >= 500 else failed


def _bad_input(body: bytes, *, selected: bool) -> Exception:
    """Names the argument that LangSmith's answer points to; what it says about it stays inside."""
    if selected and v1.is_stats_select_refused(body):
        return StatsSelectRefusedError()
    if argument := v1.refused_argument(body):
        return errors.BadUserInputError("LangSmith refused this value.", argument=argument)
    return errors.BadUserInputError(
        "LangSmith refused one of the arguments: check filters, order and statistics' options."
    )


def _retry_after(value: str | None) -> float | None:
    """Seconds, a day at most; None where there is none that can be read."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER)

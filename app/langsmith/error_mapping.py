"""The tables that map failures of LangSmith to the gateway's errors, and say which of them are worth a retry.

Bodies of 401, 403, 422 and 429 are Observed in real installations. Their wording never reaches a client, except what
LangSmith says about a filter expression, which is about the client's own text.
"""

import re
import socket
import ssl
from typing import Final

import httpx

from app import errors
from app.credentials import Credential
from app.langsmith.failed_attempt import FailedAttemptError, Reason
from app.langsmith.http_message import HttpResponse
from app.langsmith.retry_after import parse_retry_after
from app.langsmith.transport import UpstreamRequest

BAD_INPUT_STATUSES: Final = {400, 413, 414, 422}
_QUOTED_STATUSES: Final = {400, 422}
MISSING_STATUSES: Final = frozenset({404, 405, 410, 501})
"""Statuses of an endpoint that does not exist, or no longer does."""
_TRANSIENT_STATUSES: Final = {408, 425, 429}
"""Beside 5xx. The vendor's own clients retry the same ones (Observed)."""
_MAX_QUOTED_LENGTH: Final = 300
_LIKE_A_KEY: Final = re.compile(r"\b(lsv2_|ls__|eyJ[\w-]+\.)|\bbearer\s+\S", re.IGNORECASE)
"""LangSmith's keys, JSON Web Tokens, and the header `Authorization`."""
_UNKNOWN_NAME: Final = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

_CAUSES: Final[tuple[tuple[tuple[type[BaseException], ...], Reason], ...]] = (
    ((socket.gaierror, UnicodeError), "dns"),
    ((ssl.SSLError,), "tls"),
    ((TimeoutError, httpx.TimeoutException), "timeout"),
    ((ConnectionRefusedError,), "refused"),
    ((ConnectionError, httpx.ReadError, httpx.WriteError), "reset"),
)
"""By type of the exception, the first that fits; everything else is `unreachable`."""
_CHECK_ENDPOINT: Final = "Check the gateway's setting LANGSMITH_ENDPOINT."
_MESSAGES: Final[dict[Reason, str]] = {
    "dns": "The host name of LangSmith could not be resolved. Try again shortly.",
    "tls": "No secure connection to LangSmith could be made: its host does not speak TLS, or its certificate is not "
    f"trusted. {_CHECK_ENDPOINT}",
    "protocol": f"LangSmith answered something that is not HTTP. {_CHECK_ENDPOINT}",
    "timeout": "LangSmith took too long to answer.",
    "refused": "LangSmith could not be reached: its host refuses connections. Try again shortly.",
    "reset": "The connection to LangSmith was lost before the answer was complete. Try again shortly.",
    "unreachable": "LangSmith could not be reached over the network. Try again shortly.",
}
_NOT_CONNECTED: Final = "No connection to LangSmith could be made in time. Try again shortly."
_NEEDS_HTTPS: Final = f"LangSmith's host expects https, and the gateway sent http. {_CHECK_ENDPOINT}"
_WEB_PAGE: Final = (
    f"A web page came back instead of data from LangSmith, such as the page of a login or a proxy. {_CHECK_ENDPOINT}"
)
_SENT_HTTP_TO_HTTPS: Final = re.compile(rb"plain HTTP|HTTP request to an HTTPS")
"""In the body with which nginx, Apache and Go answer 400 to HTTP on a port for HTTPS (Observed)."""


class StatsSelectRefusedError(Exception):
    """LangSmith refused to select statistics by name. The same request for all statistics may succeed."""


def map_transport_error(exc: httpx.HTTPError) -> FailedAttemptError:
    """The failure of a request that got no usable response."""
    cause = exc.__cause__ or exc
    reason: Reason = next((reason for types, reason in _CAUSES if isinstance(cause, types)), "unreachable")
    if isinstance(exc, httpx.ProtocolError):
        if reason == "tls":
            return FailedAttemptError(errors.UpstreamError(_NEEDS_HTTPS), reason=reason)
        return FailedAttemptError(errors.UpstreamMalformedError(_MESSAGES["protocol"]), reason="protocol")
    if reason == "timeout":
        message = _NOT_CONNECTED if isinstance(exc, httpx.ConnectTimeout) else _MESSAGES["timeout"]
        return FailedAttemptError(errors.UpstreamTimeoutError(message), reason=reason, is_transient=True)
    # A name that does not exist, and a host without valid TLS, do not mend by themselves.
    if isinstance(cause, UnicodeError) or (isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN_NAME):
        unknown = errors.UpstreamError(f"The host name of LangSmith does not exist. {_CHECK_ENDPOINT}")
        return FailedAttemptError(unknown, reason=reason)
    return FailedAttemptError(errors.UpstreamError(_MESSAGES[reason]), reason=reason, is_transient=reason != "tls")


def map_status(response: HttpResponse, body: bytes, request: UpstreamRequest) -> Exception:
    """The exception to raise for a status other than 200."""
    status = response.status
    if status == 400 and request.url.scheme == "http" and _SENT_HTTP_TO_HTTPS.search(body):
        return _final("tls", errors.UpstreamError(_NEEDS_HTTPS))
    if status in BAD_INPUT_STATUSES:
        return _map_bad_input(status, body, request)
    if status == 403:
        return _map_forbidden(response, body)
    if status in _TRANSIENT_STATUSES or (status >= 500 and status != 501):
        return _map_transient(status, parse_retry_after(response.headers))
    return _map_final(status)


def check_body(body: bytes) -> None:
    """Raises FailedAttemptError if the body of a successful response is a web page."""
    if body[:1] == b"<" or (body[:1].isspace() and body.lstrip()[:1] == b"<"):
        raise _final("path", errors.UpstreamMalformedError(_WEB_PAGE))


def _map_transient(status: int, retry_after: float | None) -> FailedAttemptError:
    if status == 429:
        limited = errors.RateLimitedError(
            "LangSmith's rate limit is reached. Try again later.", retry_after=retry_after
        )
        return FailedAttemptError(limited, reason="rate_limit", is_transient=True, retry_after=retry_after)
    failed = errors.UpstreamError(f"LangSmith answered with status {status}. Try again shortly.")
    return FailedAttemptError(failed, reason="server", is_transient=True, retry_after=retry_after)


def _map_final(status: int) -> FailedAttemptError:
    if status == 401:
        return _final(
            "refusal",
            errors.UnauthenticatedError("LangSmith does not accept this credential. Check the key and its region."),
        )
    if status in MISSING_STATUSES:
        return _final("path", errors.UpstreamError(f"LangSmith has no list of sessions at this URL. {_CHECK_ENDPOINT}"))
    if 300 <= status < 400:
        message = f"LangSmith redirects to another URL (status {status}), which is not followed. {_CHECK_ENDPOINT}"
        return _final("path", errors.UpstreamError(message))
    return _final("status", errors.UpstreamError(f"LangSmith answered with status {status}."))


_NO_ACCESS: Final = "LangSmith refuses this credential here. Check its region, workspace and rights."
_EDGE: Final = (
    "Something in front of LangSmith, such as a CDN or a firewall, refused the request before the credential was "
    "checked. Ask whoever runs it to let the gateway through."
)


def _final(reason: Reason, error: errors.GatewayError) -> FailedAttemptError:
    return FailedAttemptError(error, reason=reason)


def _map_forbidden(response: HttpResponse, body: bytes) -> FailedAttemptError:
    """Observed: LangSmith refuses with JSON; the edge in front of it refuses with HTML, or without a body."""
    is_html = "html" in response.headers.get("content-type", "") or body.lstrip()[:1] == b"<"
    if is_html or not body.strip():
        return _final("edge", errors.ForbiddenError(_EDGE))
    return _final("refusal", errors.ForbiddenError(_NO_ACCESS))


def _map_bad_input(status: int, body: bytes, request: UpstreamRequest) -> Exception:
    """The error names the argument that the body points to, as the client gave it."""
    if request.selected_statistics_count and request.api.is_stats_select_refused(body):
        return StatsSelectRefusedError()
    argument = request.api.refused_argument(body, request.query)
    detail = request.api.detail_of_filter(body, request.query) if status in _QUOTED_STATUSES else ""
    quoted = "" if _may_hold_a_credential(detail, request.credential) else _printable(detail)
    says = f" It says: {quoted}" if quoted else ""
    if argument:
        message = f"LangSmith refused this value.{says}"
    else:
        message = f"LangSmith refused one of the arguments: check filters, order and statistics' options.{says}"
    return _final("refusal", errors.BadUserInputError(message, argument=argument))


def _may_hold_a_credential(text: str, credential: Credential) -> bool:
    """Whether the text has the value of a header that was sent, the token in it, or anything of the form of a key."""
    sent = {part for value in credential.headers.values() for part in (value, value.rpartition(" ")[2])}
    return _LIKE_A_KEY.search(text) is not None or any(part in text for part in sent if part)


def _printable(text: str) -> str:
    """The text in one line, without control characters, and bounded."""
    printable = "".join(each if each.isprintable() else " " for each in text[: 4 * _MAX_QUOTED_LENGTH])
    line = " ".join(printable.split())
    return line if len(line) <= _MAX_QUOTED_LENGTH else line[: _MAX_QUOTED_LENGTH - 1] + "…"

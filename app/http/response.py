"""HTTP responses of the GraphQL endpoint: from an operation's result, from the response cache, or from an error."""

import math
from typing import Any, Final

import msgspec
from starlette.types import Send

from app import errors
from app.errors import BadUserInputError, GatewayError, RateLimitedError, UnauthenticatedError
from app.execution import Response
from app.http.compression import etag_for
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.negotiation import MULTIPART, PLAIN_JSON
from app.http.response_cache import CachedResponse, etag_matches
from app.observability.request_id import internal_error_message

Headers = tuple[tuple[bytes, bytes], ...]

CLIENT_CLOSED_REQUEST: Final = 499
"""nginx's status code for a request whose client disconnected. No response is sent."""
_NO_STORE: Final[Headers] = ((b"cache-control", b"no-store"),)
_VARY: Final = (b"vary", b"accept, accept-encoding, authorization, x-api-key, x-organization-id, x-tenant-id")
_encoder: Final = msgspec.json.Encoder()


class HTTPResponse(msgspec.Struct, frozen=True):
    """A response, and what the operation log says about its operation.

    A msgspec struct, because creating a frozen dataclass of this size costs 1 µs for each cached response.

    `headers`: the headers beside `Content-Type`, `Content-Length`, `Content-Encoding` and `Vary`. `outcome`, `cost`,
    `name`, `document`: see `OperationRecorder.record_operation`. `coding`: the content coding of the body, if any.
    """

    status: int
    body: bytes
    media_type: str
    headers: Headers = _NO_STORE
    outcome: str = "ok"
    cost: int = 0
    name: str | None = None
    document: str | None = None
    coding: str | None = None

    def headers_without_length(self) -> list[tuple[bytes, bytes]]:
        """All headers but `Content-Length`."""
        headers = [_VARY, *self.headers]
        if self.status != 304:
            charset = b"" if self.media_type.startswith(MULTIPART) else b"; charset=utf-8"
            headers.append((b"content-type", self.media_type.encode() + charset))
            if self.coding is not None:
                headers.append((b"content-encoding", self.coding.encode()))
        return headers

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers. The first one is `Vary`."""
        headers = self.headers_without_length()
        if self.status != 304:
            headers.append((b"content-length", b"%d" % len(self.body)))
        return headers

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.all_headers()})
        await send({"type": "http.response.body", "body": self.body})


def operation_response(
    result: Response,
    media_type: str,
    *,
    name: str | None,
    document: str | None,
    extensions: dict[str, Any] | None = None,
) -> HTTPResponse:
    """The response to an operation that ran, or that was refused before it ran.

    `extensions`: members of the response's `extensions`, such as `{"gateway": …}` of Explain.
    """
    return HTTPResponse(
        # `application/json` has 200 for a well-formed request, even if GraphQL refused its document.
        status=200 if result.ran or media_type == PLAIN_JSON else 400,
        body=_encoder.encode(result.as_json() | ({"extensions": extensions} if extensions else {})),
        media_type=media_type,
        outcome=result.outcome,
        cost=result.cost,
        name=name,
        document=document,
    )


def is_not_modified(cached: CachedResponse, coding: str | None, if_none_match: bytes | None) -> bool:
    """Whether the client's `If-None-Match` shows that it has the cached body in this content coding."""
    return if_none_match is not None and etag_matches(if_none_match, etag_for(cached.etag, coding))


def cached_response(
    cached: CachedResponse, seconds_left: float, media_type: str, coding: str | None, *, not_modified: bool
) -> HTTPResponse:
    """The cached response in a content coding that it has, or 304 without a body if `not_modified`."""
    body = cached.body if coding is None else cached.compressed.get(coding, b"")
    return HTTPResponse(
        status=304 if not_modified else 200,
        body=b"" if not_modified else body,
        media_type=cached.media_type or media_type,
        headers=(
            (b"etag", etag_for(cached.etag, coding).encode()),
            (b"cache-control", b"private, max-age=%d" % seconds_left),
        ),
        cost=cached.cost,
        name=cached.name,
        document=cached.document,
        coding=coding,
    )


def error_response(
    exc: Exception, media_type: str, *, name: str | None = None, document: str | None = None
) -> HTTPResponse:
    """The response to a request that raised this exception.

    For any exception that is not in `app.errors`, the client gets INTERNAL_SERVER_ERROR and the request id only.
    """
    if isinstance(exc, ClientDisconnectedError):
        return HTTPResponse(CLIENT_CLOSED_REQUEST, b"", media_type, outcome="cancelled", name=name, document=document)
    status, headers, message, extensions = _describe(exc)
    result = Response([{"message": message, "extensions": extensions}])
    return HTTPResponse(
        status=status,
        body=_encoder.encode(result.as_json()),
        media_type=media_type,
        headers=(*_NO_STORE, *headers),
        outcome=result.outcome,
        name=name,
        document=document,
    )


def _describe(exc: Exception) -> tuple[int, Headers, str, dict[str, Any]]:
    """Status, headers, message and extensions."""
    match exc:
        case HTTPError():
            headers = tuple((name.encode(), value.encode()) for name, value in exc.headers.items())
            return exc.status, headers, exc.message, {"code": BadUserInputError.code}
        case UnauthenticatedError():
            return 401, ((b"www-authenticate", b"Bearer"),), str(exc), exc.extensions
        case RateLimitedError():
            seconds = math.ceil(exc.retry_after or 1)
            return 429, ((b"retry-after", b"%d" % seconds),), str(exc), exc.extensions
        case GatewayError():
            return 400, (), str(exc), exc.extensions
        case _:
            return 500, (), internal_error_message(), {"code": errors.INTERNAL}

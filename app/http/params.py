"""GraphQL parameters of an HTTP request: read the payload within limits, then parse it.

`read_payload` returns the bytes that hold the operation (the body of a POST, the query string of a GET) without parsing
them, because the response to the same bytes may be cached. `parse_params` parses them if it is not.
"""

import asyncio
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.negotiation import PLAIN_JSON

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_URL_BYTES: Final = 8 * 1024
_BODY_TOO_LARGE: Final = f"The body is longer than {MAX_BODY_BYTES} bytes."
SHA256_PREFIX: Final = "sha256:"
"""Prefix of a document id that is the SHA-256 of the document."""
_MEMBERS: Final = (
    *("query", "variables", "operationName", "extensions"),
    *("documentId", "id", "persistedQuery", "sha256Hash"),
)
"""Members of a request that must not occur twice."""
_QUOTED_MEMBERS: Final = [f'"{name}"'.encode() for name in _MEMBERS]
_SCHEMES: Final = ("http", "https")
_UTF8_CHARSETS: Final = ("charset=utf-8", 'charset="utf-8', "charset=utf8")


@dataclass(frozen=True)
class GraphQLParams:
    """The parameters of a GraphQL request, their types checked: a document, a document id, or both."""

    query: str | None
    document_id: str | None
    variables: dict[str, Any]
    operation_name: str | None


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name. Several `Accept` lines are joined; of any other repeated header, the last line counts."""
    headers = dict(scope["headers"])
    if b"accept" in headers:
        headers[b"accept"] = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return headers


async def read_payload(
    scope: Scope,
    headers: dict[bytes, bytes],
    receive: Receive,
    *,
    origins: Collection[str],
    body_timeout_seconds: float | None,
) -> bytes:
    """The body of a POST, or the query string of a GET.

    Args:
        scope: ASGI scope of the request.
        headers: its headers, from `headers_of`.
        receive: ASGI receive function of the request.
        origins: origins whose pages may send queries by GET, beside the gateway's own origin.
        body_timeout_seconds: time in which the body must arrive; None if the server has already received all of it,
            which saves the timer (a timer costs as much as the rest of this function).

    Raises HTTPError for a request that is refused, and ClientDisconnectedError.
    """
    if scope["method"] == "POST":
        if headers.get(b"content-type") != b"application/json":
            _check_content_type(headers.get(b"content-type", b"").decode("latin-1").lower())
        if body_timeout_seconds is None:
            return await _read_body(headers, receive)
        return await _read_body_within(headers, receive, body_timeout_seconds)
    if scope["method"] == "GET":
        _check_origin(headers, origins)
        query_string: bytes = scope["query_string"]
        if len(query_string) > MAX_URL_BYTES:
            raise HTTPError(414, f"The URL is longer than {MAX_URL_BYTES} bytes: send the operation by POST.")
        return query_string
    raise HTTPError(405, "Send operations by POST, or queries by GET.", allow="GET, POST")


def parse_params(method: str, payload: bytes) -> GraphQLParams:
    """The parameters in a payload. `method`: `POST` or `GET`. Raises HTTPError (400) if they cannot be parsed."""
    return _check_types(_decode_json(payload, "The body") if method == "POST" else _parse_query_string(payload))


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type != PLAIN_JSON:
        raise HTTPError(415, f"Send the operation as JSON, with `Content-Type: {PLAIN_JSON}`.")
    if any(each.startswith("charset=") and each.strip('"') not in _UTF8_CHARSETS for each in parameters):
        raise HTTPError(415, "Send the JSON in UTF-8.")


def _check_origin(headers: dict[bytes, bytes], origins: Collection[str]) -> None:
    """Refuse a GET that a page of another origin caused. A browser sends it without a CORS preflight, unlike a POST."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin in origins or "*" in origins:
        return
    host = headers.get(b"host", b"").decode("latin-1")
    is_foreign = origin not in {"", *(f"{scheme}://{host}" for scheme in _SCHEMES)}
    if is_foreign or headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
        raise HTTPError(
            403, "Queries by GET are refused for pages of another origin. Send the operation by POST, as JSON."
        )


async def _read_body_within(headers: dict[bytes, bytes], receive: Receive, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await _read_body(headers, receive)
    except TimeoutError:
        # The connection must be closed: the rest of the body would be parsed as the next request.
        raise HTTPError(408, f"The body did not arrive within {seconds:g} seconds.", connection="close") from None


async def _read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise HTTPError(413, _BODY_TOO_LARGE)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise HTTPError(413, _BODY_TOO_LARGE)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _parse_query_string(query_string: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise HTTPError(400, "The URL's query string cannot be read.") from None
    _check_unique(name for name, _ in pairs)
    values: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if name in values:
            values[name] = _decode_json(values[name].encode(), f"`{name}`") if values[name] else None
    return values


def _decode_json(text: bytes, subject: str) -> Any:
    try:
        decoded = text.decode()
        value = msgspec.json.decode(text)
        if isinstance(value, dict) and _may_have_duplicates(text):
            # JSON parsers disagree on which of two duplicate members wins: a proxy may have checked another document.
            json.JSONDecoder(object_pairs_hook=_check_unique_pairs).decode(decoded)
    except (ValueError, RecursionError):
        raise HTTPError(400, f"{subject} is not JSON in UTF-8.") from None
    return value


def _may_have_duplicates(text: bytes) -> bool:
    """Whether a member of the request may occur twice, spelled the same or with an escaped character."""
    return b"\\u" in text or any(text.count(name) > 1 for name in _QUOTED_MEMBERS)


def _check_unique_pairs(pairs: list[tuple[str, Any]]) -> None:
    _check_unique(name for name, _ in pairs)


def _check_unique(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen and name in _MEMBERS:
            raise HTTPError(400, f"`{name}` must not occur twice.")
        seen.add(name)


def _check_types(values: object) -> GraphQLParams:
    if not isinstance(values, dict):
        raise HTTPError(400, 'The body must be one JSON object, such as {"query": "{ sessions { nodes { name } } }"}.')
    query = values.get("query")
    variables = values.get("variables")
    if not isinstance(variables, dict | None):
        raise HTTPError(400, "`variables` must be an object.")
    extensions = values.get("extensions")
    if not isinstance(extensions, dict | None):
        raise HTTPError(400, "`extensions` must be an object.")
    operation_name = values.get("operationName")
    if not isinstance(operation_name, str | None):
        raise HTTPError(400, "`operationName` must be a string.")
    document_id = _parse_document_id(values, extensions or {})
    if not isinstance(query, str | None):
        raise HTTPError(400, "`query` must be a string.")
    if not (query or document_id):
        raise HTTPError(400, "Send a GraphQL document in `query`, or its id in `documentId`.")
    return GraphQLParams(query or None, document_id, variables or {}, operation_name or None)


def _parse_document_id(values: dict[str, Any], extensions: dict[str, Any]) -> str | None:
    """The id of a persisted document, in one of three spellings.

    `documentId` is that of the GraphQL over HTTP specification, `extensions.persistedQuery` that of Apollo. Relay's
    `id` counts only if the request has neither of them, and no `query`.
    """
    document_id = values.get("documentId")
    if not isinstance(document_id, str | None):
        raise HTTPError(400, "`documentId` must be a string.")
    persisted = extensions.get("persistedQuery")
    if not isinstance(persisted, dict | None):
        raise HTTPError(400, "`extensions.persistedQuery` must be an object.")
    if persisted and persisted.get("version") != 1:
        # The text is part of Apollo's protocol: its clients recognise it.
        raise HTTPError(400, "Unsupported persisted query version")
    digest = persisted.get("sha256Hash") if persisted else None
    if not isinstance(digest, str | None):
        raise HTTPError(400, "`extensions.persistedQuery.sha256Hash` must be a string.")
    if digest and document_id and document_id != f"{SHA256_PREFIX}{digest}":
        raise HTTPError(400, "`documentId` and `extensions.persistedQuery` name two documents.")
    if digest or document_id:
        return f"{SHA256_PREFIX}{digest}" if digest else document_id
    relay_id = values.get("id")
    return relay_id if isinstance(relay_id, str) and relay_id and not values.get("query") else None

"""GraphQL parameters of an HTTP request: read the payload within limits, then parse it.

`read_payload` returns the bytes that hold the operation (the body of a POST, the query string of a GET) without parsing
them, because the response to the same bytes may be cached. `parse_params` parses them if it is not.
"""

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from app.errors import OperationTooExpensiveError
from app.execution.limits import MAX_VARIABLES_BYTES
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.json_members import MAX_MEMBERS, duplicate_member, not_json, parse_members
from app.http.negotiation import PLAIN_JSON
from app.resilience.eager_task import become_task

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_URL_BYTES: Final = 8 * 1024
_BODY_TOO_LARGE: Final = f"The body is longer than {MAX_BODY_BYTES} bytes."
_BODY_FORM: Final = 'one JSON object, such as {"query": "{ sessions { nodes { name } } }"}'
BODY_HAS_ARRIVED: Final = "body_has_arrived"
"""Key in a request's `scope["state"]`: the server has received all of it."""
SHA256_PREFIX: Final = "sha256:"
"""Prefix of a document id that is the SHA-256 of the document."""
_NULL: Final = b"null"
_PERSISTED_QUERY_VERSION: Final = b"1"
_string_decoder: Final = msgspec.json.Decoder(str | None)
_object_decoder: Final = msgspec.json.Decoder(dict[str, Any] | None)
_SCHEMES: Final = ("http", "https")
_LISTS: Final = frozenset({b"accept", b"accept-encoding", b"cache-control", b"content-encoding", b"if-none-match"})
"""Headers that the gateway reads and that are lists, so that they may span several lines (RFC 9110, section 5.3)."""
_CODING: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,40}", re.ASCII)
_UTF8_CHARSETS: Final = ("charset=utf-8", 'charset="utf-8', "charset=utf8")


@dataclass(frozen=True)
class GraphQLParams:
    """The parameters of a GraphQL request, their types checked: a document, a document id, or both."""

    query: str | None
    document_id: str | None
    variables: dict[str, Any]
    operation_name: str | None


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name. The lines of a header that is a list are joined; of another one, the last line counts."""
    lines = scope["headers"]
    headers = dict(lines)
    if len(headers) < len(lines):
        for list_name in _LISTS & headers.keys():
            headers[list_name] = b",".join(value for name, value in lines if name == list_name)
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
        if b"content-encoding" in headers:
            _check_content_codings(headers[b"content-encoding"].decode("latin-1").lower())
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
    """The parameters in a payload. `method`: `POST` or `GET`.

    Raises HTTPError (400) if they cannot be parsed, and OperationTooExpensiveError for variables that are too long.
    """
    if method == "POST":
        return _decode_params(parse_members(payload, "The body", form=_BODY_FORM))
    return _decode_params(_parse_query_string(payload))


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type != PLAIN_JSON:
        raise HTTPError(415, f"Send the operation as JSON, with `Content-Type: {PLAIN_JSON}`.")
    if any(each.startswith("charset=") and each.strip('"') not in _UTF8_CHARSETS for each in parameters):
        raise HTTPError(415, "Send the JSON in UTF-8.")


def _check_content_codings(codings: str) -> None:
    for coding in (each.strip() for each in codings.split(",")):
        if coding not in {"", "identity"}:
            name = f"`{coding}`" if _CODING.fullmatch(coding) else "one without a valid name"
            message = f"Send the body without a content coding; it has {name}, which this gateway does not read."
            raise HTTPError(415, message, **{"accept-encoding": "identity"})


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
    await become_task()
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


def _parse_query_string(query_string: bytes) -> dict[str, bytes]:
    """The parameters of a URL as JSON by name. `variables` and `extensions` are JSON already."""
    if query_string.count(b"&") >= MAX_MEMBERS:
        raise HTTPError(400, f"The URL has more than {MAX_MEMBERS} parameters.")
    try:
        text = query_string.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
    except ValueError:
        raise HTTPError(400, "The URL's query string cannot be read.") from None
    members: dict[str, bytes] = {}
    for name, value in pairs:
        if name in members:
            raise duplicate_member(name)
        is_json = name in {"variables", "extensions"}
        members[name] = (value.encode() or _NULL) if is_json else msgspec.json.encode(value)
    return members


def _decode_params(members: dict[str, bytes]) -> GraphQLParams:
    query = _decode_string(members, "query")
    variables = _decode_variables(members.get("variables", _NULL))
    extensions = _parse_object(members, "extensions", "extensions")
    operation_name = _decode_string(members, "operationName")
    document_id = _decode_document_id(members, extensions, has_query=bool(query))
    if not (query or document_id):
        raise HTTPError(400, "Send a GraphQL document in `query`, or its id in `documentId`.")
    return GraphQLParams(query or None, document_id, variables, operation_name or None)


def _decode_variables(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_VARIABLES_BYTES:
        message = f"`variables` has {len(text)} bytes, and {MAX_VARIABLES_BYTES} are allowed. Split the operation."
        raise OperationTooExpensiveError(message, limit=MAX_VARIABLES_BYTES, value=len(text))
    try:
        return _object_decoder.decode(text) or {}
    except msgspec.ValidationError as exc:
        is_number = "out of range" in str(exc)  # such as 1e400
        fault = "has a number that is out of range" if is_number else "must be an object"
        raise HTTPError(400, f"`variables` {fault}.") from None
    except (ValueError, RecursionError) as exc:
        raise not_json("`variables`", text, exc) from None


def _decode_document_id(members: dict[str, bytes], extensions: dict[str, bytes], *, has_query: bool) -> str | None:
    """The id of a persisted document, in one of three spellings.

    `documentId` is that of the GraphQL over HTTP specification, `extensions.persistedQuery` that of Apollo. Relay's
    `id` counts only if the request has neither of them, and no `query`.
    """
    document_id = _decode_string(members, "documentId")
    persisted = _parse_object(extensions, "persistedQuery", "extensions.persistedQuery")
    if persisted and persisted.get("version") != _PERSISTED_QUERY_VERSION:
        # The text is part of Apollo's protocol: its clients recognise it.
        raise HTTPError(400, "Unsupported persisted query version")
    digest = _decode_string(persisted, "sha256Hash", "extensions.persistedQuery.sha256Hash")
    if digest and document_id and document_id != f"{SHA256_PREFIX}{digest}":
        raise HTTPError(400, "`documentId` and `extensions.persistedQuery` name two documents.")
    if digest or document_id:
        return f"{SHA256_PREFIX}{digest}" if digest else document_id
    is_string = members.get("id", _NULL).startswith(b'"')
    return (_decode_string(members, "id") or None) if is_string and not has_query else None


def _decode_string(members: dict[str, bytes], name: str, path: str | None = None) -> str | None:
    """The member, if it is there; None for null. `path`: how the message names it."""
    try:
        return _string_decoder.decode(members[name]) if name in members else None
    except msgspec.ValidationError:
        raise HTTPError(400, f"`{path or name}` must be a string.") from None


def _parse_object(members: dict[str, bytes], name: str, path: str) -> dict[str, bytes]:
    """The members of a member; empty if it is absent or null."""
    text = members.get(name, _NULL)
    return {} if text.strip() == _NULL else parse_members(text, f"`{path}`")

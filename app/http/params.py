"""What a client sent over HTTP: negotiated, bounded and read, before anything is run.

The bytes that say what to run come first (`received`), because an answer to the same bytes may be held; only then
are they read (`wanted_in`).
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
SHA_256: Final = "sha256:"
"""Before what names a document by that hash of it."""
_MEMBERS: Final = (
    *("query", "variables", "operationName", "extensions"),
    *("documentId", "id", "persistedQuery", "sha256Hash"),
)
_QUOTED: Final = [f'"{name}"'.encode() for name in _MEMBERS]


@dataclass(frozen=True)
class GraphQLParams:
    """What a client wants to be run, its form checked: a document, the id of one, or both."""

    query: str | None
    document_id: str | None
    variables: dict[str, Any]
    operation_name: str | None


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The last of each name; of `Accept`, which may come in several lines, all of them."""
    headers = dict(scope["headers"])
    if b"accept" in headers:
        headers[b"accept"] = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return headers


async def read_payload(
    scope: Scope, headers: dict[bytes, bytes], receive: Receive, *, origins: Collection[str], seconds: float
) -> bytes:
    """The body of a POST, or the query string of a GET. Raises Refused, and Gone.

    `origins`: those that may send queries by GET beside the gateway's own. `seconds`: until a body has to be there.
    """
    if scope["method"] == "POST":
        if headers.get(b"content-type") != b"application/json":
            _check_content_type(headers.get(b"content-type", b"").decode("latin-1").lower())
        # A timer costs as much as all else here, and the server says where there is nothing to wait for.
        is_there = "bytes" in scope.get("state", ())
        return await (_whole(headers, receive) if is_there else _body(headers, receive, seconds))
    if scope["method"] == "GET":
        _check_origin(headers, origins)
        query_string: bytes = scope["query_string"]
        if len(query_string) > MAX_URL_BYTES:
            raise HTTPError(414, f"The URL is longer than {MAX_URL_BYTES} bytes: send the operation by POST.")
        return query_string
    raise HTTPError(405, "Send operations by POST, or queries by GET.", allow="GET, POST")


def parse_params(method: str, sent: bytes) -> GraphQLParams:
    """What was received, read. Raises Refused."""
    return _wanted(_json(sent, "The body") if method == "POST" else _pairs(sent))


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type != PLAIN_JSON:
        raise HTTPError(415, f"Send the operation as JSON, with `Content-Type: {PLAIN_JSON}`.")
    if any(each.startswith("charset=") and each.strip('"') not in _UTF_8 for each in parameters):
        raise HTTPError(415, "Send the JSON in UTF-8.")


def _check_origin(headers: dict[bytes, bytes], origins: Collection[str]) -> None:
    """A page of another site can have any GET sent without asking; of a POST with JSON the browser asks first."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin in origins or "*" in origins:
        return
    is_foreign = origin not in {"", *(f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}" for scheme in _WEB)}
    if is_foreign or headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
        raise HTTPError(403, "Queries by GET are for this origin only: send it by POST, as JSON.")


_WEB: Final = ("http", "https")
_UTF_8: Final = ("charset=utf-8", 'charset="utf-8', "charset=utf8")


async def _body(headers: dict[bytes, bytes], receive: Receive, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await _whole(headers, receive)
    except TimeoutError:
        # What is still to come would be taken for the next request.
        raise HTTPError(408, f"The body did not arrive within {seconds:g} seconds.", connection="close") from None


async def _whole(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    too_long = HTTPError(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise too_long
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _pairs(query_string: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise HTTPError(400, "The URL's query string cannot be read.") from None
    _check_distinct(name for name, _ in pairs)
    values: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if name in values:
            values[name] = _json(values[name].encode(), f"`{name}`") if values[name] else None
    return values


def _json(text: bytes, what: str) -> Any:
    try:
        decoded = text.decode()
        value = msgspec.json.decode(text)
        if isinstance(value, dict) and _may_repeat(text):
            # Which of two members counts is anybody's guess, and others that read the request may guess otherwise.
            json.JSONDecoder(object_pairs_hook=_distinct).decode(decoded)
    except (ValueError, RecursionError):
        raise HTTPError(400, f"{what} is not JSON in UTF-8.") from None
    return value


def _may_repeat(text: bytes) -> bool:
    """Whether a member of the request may be there twice: by its name, or by another spelling of it."""
    return b"\\u" in text or any(text.count(name) > 1 for name in _QUOTED)


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    _check_distinct(name for name, _ in pairs)


def _check_distinct(names: Iterable[str]) -> None:
    """Raises Refused."""
    seen: set[str] = set()
    for name in names:
        if name in seen and name in _MEMBERS:
            raise HTTPError(400, f"`{name}` came twice.")
        seen.add(name)


def _wanted(values: object) -> GraphQLParams:
    if not isinstance(values, dict):
        raise HTTPError(400, 'The body must be one JSON object, such as {"query": "{ sessions { nodes { name } } }"}.')
    query = values.get("query")
    variables = values.get("variables")
    if not isinstance(variables, dict | None):
        raise HTTPError(400, "`variables` must be an object.")
    extensions = values.get("extensions")
    if not isinstance(extensions, dict | None):
        raise HTTPError(400, "`extensions` must be an object.")
    name = values.get("operationName")
    if not isinstance(name, str | None):
        raise HTTPError(400, "`operationName` must be a string.")
    document_id = _document_id(values, extensions or {})
    if not isinstance(query, str | None) or not (query or document_id):
        raise HTTPError(400, "`query` must hold a GraphQL document.")
    return GraphQLParams(query or None, document_id, variables or {}, name or None)


def _document_id(values: dict[str, Any], extensions: dict[str, Any]) -> str | None:
    """As the specification's appendix has it, or Apollo's protocol; Relay's `id` counts where nothing else does."""
    given = values.get("documentId")
    if not isinstance(given, str | None):
        raise HTTPError(400, "`documentId` must be a string.")
    persisted = extensions.get("persistedQuery")
    if not isinstance(persisted, dict | None):
        raise HTTPError(400, "`extensions.persistedQuery` must be an object.")
    if persisted and persisted.get("version") != 1:
        raise HTTPError(400, "Unsupported persisted query version")
    digest = persisted.get("sha256Hash") if persisted else None
    if not isinstance(digest, str | None):
        raise HTTPError(400, "`extensions.persistedQuery.sha256Hash` must be a string.")
    if digest and given and given != f"{SHA_256}{digest}":
        raise HTTPError(400, "`documentId` and `extensions.persistedQuery` name two documents.")
    if digest or given:
        return f"{SHA_256}{digest}" if digest else given
    own = values.get("id")
    return own if isinstance(own, str) and own and not values.get("query") else None

"""What a client sent over HTTP: negotiated, bounded and read, before anything is run.

The bytes that say what to run come first (`received`), because an answer to the same bytes may be held; only then
are they read (`request_in`).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope

from app.execution import Request

RESPONSE_JSON: Final = "application/graphql-response+json"
PLAIN_JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_URL_BYTES: Final = 8 * 1024
MAX_JSON_DEPTH: Final = 100

_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)


class Refused(Exception):
    """A request whose form is at fault, in whatever media type."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status = status
        self.message = message
        self.headers = headers


class Gone(Exception):
    """The client hung up."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The last of each name; of `Accept`, which may come in several lines, all of them."""
    headers = dict(scope["headers"])
    if b"accept" in headers:
        headers[b"accept"] = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return headers


def negotiated(accept: str) -> str:
    """The better of the two media types that the client takes. Raises Refused."""
    if not accept.strip(" ,"):
        return PLAIN_JSON
    qualities = dict(_qualities(accept))

    def quality_of(media_type: str) -> float:
        return next((qualities[each] for each in (media_type, "application/*", "*/*") if each in qualities), 0)

    typed, plain = quality_of(RESPONSE_JSON), quality_of(PLAIN_JSON)
    if not (typed or plain):
        raise Refused(406, f"Answers come as {RESPONSE_JSON} or {PLAIN_JSON}: accept one of them.")
    # Clients that take anything are the older ones.
    return RESPONSE_JSON if typed > plain or (typed == plain and RESPONSE_JSON in qualities) else PLAIN_JSON


def _qualities(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if _QUALITY.fullmatch(text):
            yield media_type, float(text)


async def received(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """The body of a POST, or the query string of a GET. Raises Refused, and Gone."""
    if scope["method"] == "POST":
        if headers.get(b"content-type") != b"application/json":
            _check_content_type(headers.get(b"content-type", b"").decode("latin-1").lower())
        return await _body(headers, receive)
    if scope["method"] == "GET":
        query_string: bytes = scope["query_string"]
        if len(query_string) > MAX_URL_BYTES:
            raise Refused(414, f"The URL is longer than {MAX_URL_BYTES} bytes: send the operation by POST.")
        return query_string
    raise Refused(405, "Send operations by POST, or queries by GET.", allow="GET, POST")


def request_in(method: str, sent: bytes) -> Request:
    """What was received, read. Raises Refused."""
    return _request(_json(sent, "The body") if method == "POST" else _pairs(sent))


def _check_content_type(content_type: str) -> None:
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type != PLAIN_JSON:
        raise Refused(415, f"Send the operation as JSON, with `Content-Type: {PLAIN_JSON}`.")
    if any(each.startswith("charset=") and each.strip('"') not in _UTF_8 for each in parameters):
        raise Refused(415, "Send the JSON in UTF-8.")


_UTF_8: Final = ("charset=utf-8", 'charset="utf-8', "charset=utf8")


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    too_long = Refused(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
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
        raise Refused(400, "The URL's query string cannot be read.") from None
    values: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if name in values:
            values[name] = _json(values[name].encode(), f"`{name}`") if values[name] else None
    return values


def _json(text: bytes, what: str) -> Any:
    try:
        text.decode()
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise Refused(400, f"{what} is not JSON in UTF-8.") from None


def _request(values: object) -> Request:
    if not isinstance(values, dict):
        raise Refused(400, 'The body must be one JSON object, such as {"query": "{ sessions { nodes { name } } }"}.')
    query = values.get("query")
    if not isinstance(query, str) or not query:
        raise Refused(400, "`query` must hold a GraphQL document.")
    variables = values.get("variables")
    if not isinstance(variables, dict | None):
        raise Refused(400, "`variables` must be an object.")
    if variables and _depth(variables) > MAX_JSON_DEPTH:
        raise Refused(400, f"`variables` may be nested {MAX_JSON_DEPTH} deep at most.")
    if not isinstance(values.get("extensions"), dict | None):
        raise Refused(400, "`extensions` must be an object.")
    name = values.get("operationName")
    if not isinstance(name, str | None):
        raise Refused(400, "`operationName` must be a string.")
    return Request(query, variables or {}, name or None)


def _depth(value: object) -> int:
    """How deep a JSON value is nested, without nesting calls as deep."""
    depth = 0
    level = [value]
    while level := [each for outer in level for each in _inside(outer)]:
        depth += 1
    return depth


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()

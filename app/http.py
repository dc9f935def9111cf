"""GraphQL over HTTP: a request becomes an operation, and what it answers a response.

Follows the GraphQL over HTTP specification: `application/graphql-response+json` has a status code that says whether
the operation ran, `application/json` has 200 for whatever GraphQL itself refused.
"""

import asyncio
import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app import errors
from app.cache import PageCache
from app.credentials import Gate
from app.errors import BadUserInput, GatewayError, Unauthenticated
from app.execution import Executor, Request, Response
from app.metrics import Metrics
from app.operation import Operation
from app.trace import Trace

RESPONSE_JSON: Final = "application/graphql-response+json"
PLAIN_JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_URL_BYTES: Final = 8 * 1024

_QUALITY: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
_encoder: Final = msgspec.json.Encoder()


class _Refused(Exception):
    """A request whose form is at fault, in whatever media type."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status = status
        self.message = message
        self.headers = headers


class _Gone(Exception):
    """The client hung up."""


@dataclass(frozen=True, kw_only=True)
class GraphQLEndpoint:
    """An ASGI app. `timeout`: seconds for an operation's upstream work."""

    executor: Executor
    gate: Gate
    cache: PageCache
    metrics: Metrics
    log: FilteringBoundLogger
    timeout: float
    explain: bool
    now: Callable[[], datetime]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        media_type = PLAIN_JSON
        request: Request | None = None
        body: bytes | None = None
        extra: dict[str, str] = {}
        try:
            headers = _headers(scope)
            media_type = _negotiated(headers.get(b"accept", b"").decode("latin-1"))
            request = await _read(scope, headers, receive)
            credential = self.gate.admit(scope["headers"])
            context = Operation(self.cache, credential, self.now(), asyncio.get_running_loop().time() + self.timeout)
            response = await _unless_gone(self.executor.run(request, context), receive)
            status = 200 if response.ran or media_type == PLAIN_JSON else 400
            is_explained = self.explain and headers.get(b"x-gateway-explain") == b"1"
            extensions = {"extensions": {"gateway": _explained(response, context.traces)}} if is_explained else {}
            body = _encoder.encode(response.as_json() | extensions)
        except _Gone:
            self._account(request, "cancelled", 0, started, scope)
            return
        except _Refused as refused:
            status, extra = refused.status, refused.headers
            response = _failed(refused.message, {"code": BadUserInput.code})
        except GatewayError as exc:
            status = 400
            if isinstance(exc, Unauthenticated):
                status, extra = 401, {"www-authenticate": "Bearer"}
            response = _failed(str(exc), exc.extensions)
        except Exception as exc:
            self.log.exception("bug", exc_info=exc)
            status = 500
            response = _failed("This gateway failed to answer.", {"code": errors.INTERNAL})
        self._account(request, response.outcome, response.cost, started, scope)
        await _send(send, status, media_type, body or _encoder.encode(response.as_json()), extra)

    def _account(self, request: Request | None, outcome: str, cost: int, started: float, scope: Scope) -> None:
        seconds = time.perf_counter() - started
        self.metrics.operations.labels(outcome).inc()
        self.metrics.operation_seconds.observe(seconds)
        self.log.info(
            "operation",
            name=self.executor.name_of(request) if request else None,
            document=_digest(request.query) if request else None,
            outcome=outcome,
            cost=cost,
            ms=round(seconds * 1000, 1),
            request_id=scope.get("state", {}).get("request_id"),
        )


def _failed(message: str, extensions: dict[str, Any]) -> Response:
    return Response([{"message": message, "extensions": extensions}])


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The last of each name; of `Accept`, which may come in several lines, all of them."""
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return {**dict(scope["headers"]), b"accept": accepted}


async def _unless_gone(work: Coroutine[Any, Any, Response], receive: Receive) -> Response:
    """What the work comes to. Raises _Gone, and the work is cancelled, if the client hangs up before."""
    running = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise _Gone
        return running.result()
    finally:
        for task in (running, gone):
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _negotiated(accept: str) -> str:
    """The better of the two media types that the client takes. Raises _Refused."""
    if not accept.strip(" ,"):
        return PLAIN_JSON
    qualities = dict(_qualities(accept))

    def quality_of(media_type: str) -> float:
        return next((qualities[each] for each in (media_type, "application/*", "*/*") if each in qualities), 0)

    typed, plain = quality_of(RESPONSE_JSON), quality_of(PLAIN_JSON)
    if not (typed or plain):
        raise _Refused(406, f"Answers come as {RESPONSE_JSON} or {PLAIN_JSON}: accept one of them.")
    # Clients that take anything are the older ones.
    return RESPONSE_JSON if typed > plain or (typed == plain and RESPONSE_JSON in qualities) else PLAIN_JSON


def _qualities(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        media_type, *parameters = (each.strip() for each in part.split(";"))
        text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        if _QUALITY.fullmatch(text):
            yield media_type, float(text)


async def _read(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Request:
    """Raises _Refused."""
    if scope["method"] == "POST":
        content_type = headers.get(b"content-type", b"").decode("latin-1").lower()
        media_type, *parameters = (part.strip() for part in content_type.split(";"))
        if media_type != PLAIN_JSON:
            raise _Refused(415, f"Send the operation as JSON, with `Content-Type: {PLAIN_JSON}`.")
        if any(each.startswith("charset=") and each.strip('"') not in _UTF_8 for each in parameters):
            raise _Refused(415, "Send the JSON in UTF-8.")
        return _request(_json(await _body(headers, receive), "The body"))
    if scope["method"] == "GET":
        query_string: bytes = scope["query_string"]
        if len(query_string) > MAX_URL_BYTES:
            raise _Refused(414, f"The URL is longer than {MAX_URL_BYTES} bytes: send the operation by POST.")
        try:
            pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50)
        except ValueError:
            raise _Refused(400, "The URL's query string cannot be read.") from None
        values: dict[str, Any] = dict(pairs)
        for name in ("variables", "extensions"):
            if name in values:
                values[name] = _json(values[name].encode(), f"`{name}`") if values[name] else None
        return _request(values)
    raise _Refused(405, "Send operations by POST, or queries by GET.", allow="GET, POST")


_UTF_8: Final = ("charset=utf-8", 'charset="utf-8', "charset=utf8")


async def _body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    too_long = _Refused(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise too_long
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _json(text: bytes, what: str) -> Any:
    try:
        text.decode()
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise _Refused(400, f"{what} is not JSON in UTF-8.") from None


def _request(values: object) -> Request:
    if not isinstance(values, dict):
        raise _Refused(400, 'The body must be one JSON object, such as {"query": "{ sessions { nodes { name } } }"}.')
    query = values.get("query")
    if not isinstance(query, str) or not query:
        raise _Refused(400, "`query` must hold a GraphQL document.")
    variables = values.get("variables")
    if not isinstance(variables, dict | None):
        raise _Refused(400, "`variables` must be an object.")
    if not isinstance(values.get("extensions"), dict | None):
        raise _Refused(400, "`extensions` must be an object.")
    name = values.get("operationName")
    if not isinstance(name, str | None):
        raise _Refused(400, "`operationName` must be a string.")
    return Request(query, variables or {}, name or None)


def _explained(response: Response, traces: dict[str, Trace]) -> dict[str, Any]:
    return {"cost": response.cost, "fields": {key: trace.as_json() for key, trace in traces.items()}}


async def _send(send: Send, status: int, media_type: str, body: bytes, extra: dict[str, str]) -> None:
    headers = {
        "content-type": f"{media_type}; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "vary": "accept",
        **extra,
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _digest(query: str) -> str:
    """A short name for a document in logs."""
    return hashlib.sha256(query.encode(errors="replace")).hexdigest()[:12]

"""GraphQL over HTTP: a request becomes an operation, and what it answers a response.

Follows the GraphQL over HTTP specification: `application/graphql-response+json` has a status code that says whether
the operation ran, `application/json` has 200 for whatever GraphQL itself refused.
"""

import asyncio
import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import msgspec
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app import errors
from app.cache.explain import FieldTrace
from app.cache.page_cache import PageCache
from app.errors import BadUserInputError, GatewayError, RateLimitedError, UnauthenticatedError
from app.execution import Executor, Response
from app.http.auth import Authenticator
from app.http.client_rate_limit import ClientRateLimit
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.negotiation import PLAIN_JSON, negotiate_media_type, parse_max_age
from app.http.params import GraphQLParams, headers_of, parse_params, read_payload
from app.http.persisted_queries import PersistedDocuments
from app.http.replay_cache import ReplayCache
from app.http.response_cache import CachedResponse, ResponseCache, etag_of, matches
from app.observability.operation_log import OperationRecorder
from app.resilience.clock import Clock
from app.schema.context import OperationContext

_GRACE: Final = 0.25
"""Seconds after which an operation ends that waits for LangSmith, whose own deadline then comes first and says why."""
_VARY: Final = "accept, authorization, x-api-key, x-organization-id, x-tenant-id"
_encoder: Final = msgspec.json.Encoder()


@dataclass
class _Answer:
    """What is sent, and what the log and the metrics say of it."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("cache-control", "no-store"),)
    media_type: str = PLAIN_JSON
    outcome: str = "ok"
    cost: int = 0
    name: str | None = None
    document: str | None = None


@dataclass(frozen=True, kw_only=True)
class GraphQLEndpoint:
    """An ASGI app. `timeout`: seconds for an operation's upstream work; `body_timeout`: until its body is there.

    `rate`: how often each client may ask. `origins`: those whose pages may query by GET, beside the gateway's own.
    """

    executor: Executor
    documents: PersistedDocuments
    gate: Authenticator
    cache: PageCache
    responses: ResponseCache
    repeats: ReplayCache
    account: OperationRecorder
    log: FilteringBoundLogger
    timeout: float
    body_timeout: float
    origins: Collection[str]
    rate: ClientRateLimit
    explain: bool
    now: Callable[[], datetime]
    clock: Clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        answer = _Answer()
        try:
            await self._answer(answer, scope, receive)
        except ClientDisconnectedError:
            answer.outcome = "cancelled"
            self._account(answer, started, scope)
            return
        except HTTPError as refused:
            answer.status = refused.status
            answer.headers += tuple(refused.headers.items())
            _fail(answer, refused.message, {"code": BadUserInputError.code})
        except GatewayError as exc:
            answer.status = 400
            if isinstance(exc, UnauthenticatedError):
                answer.status = 401
                answer.headers += (("www-authenticate", "Bearer"),)
            if isinstance(exc, RateLimitedError):
                answer.status = 429
                answer.headers += (("retry-after", str(math.ceil(exc.retry_after or 1))),)
            _fail(answer, str(exc), exc.extensions)
        except Exception as exc:
            self.log.exception("internal_error", exc_info=exc)
            answer.status = 500
            _fail(answer, "This gateway failed to answer.", {"code": errors.INTERNAL})
        self._account(answer, started, scope)
        await _send(send, answer)

    async def _answer(self, answer: _Answer, scope: Scope, receive: Receive) -> None:
        """Fills the answer. Raises Refused, Gone and GatewayError."""
        headers = headers_of(scope)
        answer.media_type = (
            negotiate_media_type(headers[b"accept"].decode("latin-1")) if b"accept" in headers else PLAIN_JSON
        )
        sent = await read_payload(scope, headers, receive, origins=self.origins, seconds=self.body_timeout)
        credential = self.gate.authenticate(scope["headers"])
        if self.rate.is_limited:
            await self.rate.acquire((credential and credential.client) or _address(scope))
        is_explained = self.explain and headers.get(b"x-gateway-explain") == b"1"
        key = None
        max_age = parse_max_age(headers.get(b"cache-control", b"").decode("latin-1"))
        if credential and not is_explained:
            key = self.responses.key(credential.scope, scope["method"], sent)
            if key and max_age is None and (found := self.responses.get(key)):
                self.account.record_execution("kept")
                _serve(answer, *found, headers)
                self._remember(scope, key, found[0])
                return
        wanted = parse_params(scope["method"], sent)
        async with _watching(receive) as watch:
            deadline = asyncio.get_running_loop().time() + self.timeout + _GRACE
            context = OperationContext(self.cache, credential, self.now(), deadline, watch, max_age)
            response = await self._run(answer, wanted, context)
        answer.outcome = response.outcome
        answer.cost = response.cost
        answer.status = 200 if response.ran or answer.media_type == PLAIN_JSON else 400
        extensions = {"extensions": {"gateway": _explained(response, context.traces)}} if is_explained else {}
        answer.body = _encoder.encode(response.as_json() | extensions)
        if key and response.ran and not response.errors:
            self._keep(key, answer, context, headers)

    async def _run(self, answer: _Answer, wanted: GraphQLParams, context: OperationContext) -> Response:
        """The document that is wanted, if it may be had."""
        answer.document = _digest(wanted.query) if wanted.query else None
        try:
            request = await self.documents.resolve(wanted)
        except GatewayError as exc:
            return Response([{"message": str(exc), "extensions": exc.extensions}])
        answer.document = _digest(request.query)
        try:
            response = await self.executor.run(request, context)
        finally:
            answer.name = self.executor.name_of(request)
        if response.ran:
            await self.documents.record(wanted, request.query)
        return response

    def _remember(self, scope: Scope, key: str, kept: CachedResponse) -> None:
        """For the next request of the same bytes, where the server says which they were."""
        state = scope.get("state", {})
        if "bytes" in state:
            state["answered"] = functools.partial(self.repeats.set, state["bytes"], key, kept)

    def _keep(self, key: str, answer: _Answer, context: OperationContext, headers: dict[bytes, bytes]) -> None:
        kept = CachedResponse(
            answer.body,
            etag_of(answer.body),
            context.dependencies,
            self.clock() + context.valid_seconds,
            answer.name,
            answer.document or "",
            answer.cost,
        )
        if (left := self.responses.set(key, kept)) > 0:
            _serve(answer, kept, left, headers)

    def _account(self, answer: _Answer, started: float, scope: Scope) -> None:
        self.account.record_operation(
            name=answer.name,
            document=answer.document,
            outcome=answer.outcome,
            cost=answer.cost,
            seconds=time.perf_counter() - started,
            request_id=scope.get("state", {}).get("request_id"),
        )


def _address(scope: Scope) -> str:
    """Of who asks, or of the proxy in between."""
    return str((scope.get("client") or ("unknown",))[0])


def _fail(answer: _Answer, message: str, extensions: dict[str, Any]) -> None:
    response = Response([{"message": message, "extensions": extensions}])
    answer.outcome = response.outcome
    answer.body = _encoder.encode(response.as_json())


def _serve(answer: _Answer, kept: CachedResponse, seconds_left: float, headers: dict[bytes, bytes]) -> None:
    """Answers with what is kept, or tells the client that it has it."""
    answer.name, answer.document, answer.cost = kept.name, kept.document, kept.cost
    answer.headers = (("etag", kept.etag), ("cache-control", f"private, max-age={int(seconds_left)}"))
    if b"if-none-match" in headers and matches(headers[b"if-none-match"], kept.etag):
        answer.status, answer.body = 304, b""
    else:
        answer.body = kept.body


@contextlib.asynccontextmanager
async def _watching(receive: Receive) -> Any:
    """Gives a function that begins to watch for the client to hang up; when it does, Gone is raised here.

    Watching costs a task, so it begins only when there is something to wait for.
    """
    asking = cast("asyncio.Task[Any]", asyncio.current_task())
    watcher: asyncio.Task[None] | None = None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        asking.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = watcher or asyncio.create_task(watch())

    try:
        yield begin
    except asyncio.CancelledError:
        if is_gone:
            asking.uncancel()
            raise ClientDisconnectedError from None
        raise
    finally:
        if watcher and not watcher.done():
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher


def _explained(response: Response, traces: dict[str, FieldTrace]) -> dict[str, Any]:
    return {"cost": response.cost, "fields": {key: trace.as_json() for key, trace in traces.items()}}


async def _send(send: Send, answer: _Answer) -> None:
    entity = (
        ("content-type", f"{answer.media_type}; charset=utf-8"),
        ("content-length", str(len(answer.body))),
    )
    headers = (*(() if answer.status == 304 else entity), ("vary", _VARY), *answer.headers)
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})


def _digest(query: str) -> str:
    """A short name for a document in logs."""
    return hashlib.sha256(query.encode(errors="replace")).hexdigest()[:12]

"""The GraphQL endpoint: one HTTP request becomes one operation, and its result one HTTP response.

It follows the GraphQL over HTTP specification: with `application/graphql-response+json` the status code says whether
the operation ran; with `application/json` it is 200 for every well-formed request.
"""

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.cache.explain import FieldTrace
from app.cache.page_cache import PageCache
from app.errors import GatewayError
from app.execution import Executor, IncrementalResponse, Request, Response
from app.http.auth import Authenticator
from app.http.client_rate_limit import ClientRateLimit
from app.http.compression import MIN_BYTES, Compressor, negotiate_coding
from app.http.disconnects import DisconnectWatcher
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.incremental import MultipartWriter
from app.http.negotiation import (
    MULTIPART,
    PLAIN_JSON,
    Accepted,
    negotiate,
    parse_max_age,
)
from app.http.params import GraphQLParams, headers_of, parse_params, read_payload
from app.http.persisted_queries import PersistedDocuments
from app.http.replay_cache import REPLAY_RECORDER, ReplayRecorder
from app.http.response import (
    CLIENT_CLOSED_REQUEST,
    HTTPResponse,
    cached_response,
    error_response,
    is_not_modified,
    operation_response,
)
from app.http.response_cache import CachedResponse, ResponseCache, etag_of
from app.http.streamed_response import StreamedResponse
from app.observability.operation_log import OperationRecorder
from app.resilience.clock import Clock
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.schema.context import OperationContext

_ANYTHING: Final = Accepted(PLAIN_JSON, None)
"""What a client accepts that sends no `Accept`."""
_DEADLINE_MARGIN: Final = 0.25
"""Seconds added to an operation's deadline, so that a request to LangSmith times out first and reports the reason."""


@dataclass(frozen=True, kw_only=True)
class GraphQLEndpoint:
    """ASGI app that runs GraphQL operations.

    Args:
        executor: runs the operations.
        documents: resolves persisted documents.
        authenticator: maps a request to a LangSmith credential.
        cache: cached pages of sessions.
        responses: cached responses.
        compressor: compresses responses.
        recorder: records each operation in log and metrics.
        rate_limit: limits each client's requests.
        log: receives the traceback of a bug.
        timeout_seconds: time for all of an operation's requests to LangSmith.
        body_timeout_seconds: time in which a request's body must arrive.
        origins: origins whose pages may send queries by GET, beside the gateway's own origin.
        explain: whether clients may ask for `extensions.gateway`.
        now: the time of day, from which relative statistics windows are computed.
        clock: monotonic seconds.
        scheduler: for parts of answers, which can have many rows.
    """

    executor: Executor
    documents: PersistedDocuments
    authenticator: Authenticator
    cache: PageCache
    responses: ResponseCache
    compressor: Compressor
    recorder: OperationRecorder
    rate_limit: ClientRateLimit
    log: FilteringBoundLogger
    timeout_seconds: float
    body_timeout_seconds: float
    origins: Collection[str]
    explain: bool
    now: Callable[[], datetime]
    clock: Clock
    scheduler: CooperativeScheduler = field(default_factory=CooperativeScheduler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        response = await self._respond(scope, receive)
        if isinstance(response, StreamedResponse):
            await self._stream(response, scope, receive, send, started)
            return
        self._record(response, scope, started)
        if response.status != CLIENT_CLOSED_REQUEST:
            await response.send(send)

    async def _stream(
        self, streamed: StreamedResponse, scope: Scope, receive: Receive, send: Send, started: float
    ) -> None:
        """Send an answer in parts, and record it at the last part.

        Raises the exception of a bug, so that the connection breaks: clients take the end of a body for that of the
        answer.
        """

        def record_first_part() -> None:
            self.recorder.record_first_part(time.perf_counter() - started)

        try:
            async with contextlib.aclosing(streamed), DisconnectWatcher(receive) as watcher:
                watcher.start()
                await streamed.send(send, record_first_part)
        except Exception as exc:
            names = {"name": streamed.response.name, "document": streamed.response.document}
            self._record(self._respond_to_error(exc, PLAIN_JSON, **names), scope, started)
            if not isinstance(exc, ClientDisconnectedError):
                raise
        else:
            self._record(streamed.response, scope, started)
            streamed.on_complete(streamed.response)

    def _record(self, response: HTTPResponse, scope: Scope, started: float) -> None:
        self.recorder.record_operation(
            name=response.name,
            document=response.document,
            outcome=response.outcome,
            cost=response.cost,
            seconds=time.perf_counter() - started,
            request_id=scope.get("state", {}).get("request_id"),
        )

    async def _respond(self, scope: Scope, receive: Receive) -> HTTPResponse | StreamedResponse:
        """The response from the response cache, or else from running the operation."""
        accepted = _ANYTHING
        headers: dict[bytes, bytes] = {}
        try:
            headers = headers_of(scope)
            if b"accept" in headers:
                accepted = negotiate(headers[b"accept"].decode("latin-1"))
            replay_recorder: ReplayRecorder | None = scope.get("state", {}).get(REPLAY_RECORDER)
            payload = await read_payload(
                scope,
                headers,
                receive,
                origins=self.origins,
                body_timeout_seconds=None if replay_recorder else self.body_timeout_seconds,
            )
            # After the body, because the connection of a refused request can only be used again if its body was read.
            credential = self.authenticator.authenticate(scope["headers"])
            if self.rate_limit.is_limited:
                await self.rate_limit.acquire(credential, scope)
            explain = self.explain and headers.get(b"x-gateway-explain") == b"1"
            max_age = parse_max_age(headers.get(b"cache-control", b"").decode("latin-1"))
            key = None
            if credential and not explain:
                # Of `Accept`, only the format of parts is in the key: JSON is the same in both media types.
                key = self.responses.key(credential.scope, scope["method"], payload, accepted.parts)
                if key and max_age is None and (found := self.responses.get(key)):
                    self.recorder.record_execution("kept")
                    return await self._answer_from_cache(key, *found, accepted.media_type, headers, replay_recorder)
            watcher = DisconnectWatcher(receive)
            deadline = asyncio.get_running_loop().time() + self.timeout_seconds + _DEADLINE_MARGIN
            context = OperationContext(self.cache, credential, self.now(), deadline, watcher.start, max_age)
            store = functools.partial(self._store, key, context, self.clock())
            response = await self._run(scope["method"], payload, context, watcher, accepted, explain=explain)
            if self.rate_limit.is_limited and _is_answered_by_langsmith(context):
                await self.rate_limit.verify(credential)
            if isinstance(response, StreamedResponse):
                response = await self._begin(response, headers, context, store)
            if isinstance(response, HTTPResponse) and (cached := store(response)):
                return await self._answer_from_cache(*cached, accepted.media_type, headers)
        except Exception as exc:  # noqa: BLE001 - each error becomes a response; a bug is logged with its traceback
            response = self._respond_to_error(exc, accepted.media_type)
        return await self._compress(response, headers) if isinstance(response, HTTPResponse) else response

    async def _compress(self, response: HTTPResponse, headers: dict[bytes, bytes]) -> HTTPResponse:
        coding = _coding_for(headers, response.body)
        if coding is None:
            return response
        body = await self.compressor.compress(response.body, coding)
        return msgspec.structs.replace(response, body=body, coding=coding)

    async def _begin(
        self,
        streamed: StreamedResponse,
        headers: dict[bytes, bytes],
        context: OperationContext,
        store: Callable[[HTTPResponse], object],
    ) -> HTTPResponse | StreamedResponse:
        """Start the deferred fragments. If none of them needs an answer of LangSmith, the response is complete.

        Otherwise, `store` is called with the response when its last part was sent.
        """
        waiting = asyncio.Event()
        context.on_wait = waiting.set
        try:
            await streamed.begin(waiting)
        except BaseException:
            await streamed.aclose()
            raise
        if streamed.is_complete:
            return streamed.response
        streamed.send_in(negotiate_coding(headers.get(b"accept-encoding", b""), MIN_BYTES))
        streamed.on_complete = store
        return streamed

    async def _answer_from_cache(
        self,
        key: str,
        cached: CachedResponse,
        seconds_left: float,
        media_type: str,
        headers: dict[bytes, bytes],
        replay_recorder: ReplayRecorder | None = None,
    ) -> HTTPResponse:
        """The cached response in the content coding that the client prefers, which is cached too; or 304."""
        coding = _coding_for(headers, cached.body)
        not_modified = is_not_modified(cached, coding, headers.get(b"if-none-match"))
        if coding is not None and coding not in cached.compressed and not not_modified:
            body = await self.compressor.compress(cached.body, coding)
            cached = self.responses.add_compressed(key, cached, coding, body)
        if replay_recorder:
            replay_recorder.use_cached_response(key, cached, coding)
        return cached_response(cached, seconds_left, media_type, coding, not_modified=not_modified)

    async def _run(
        self,
        method: str,
        payload: bytes,
        context: OperationContext,
        watcher: DisconnectWatcher,
        accepted: Accepted,
        *,
        explain: bool,
    ) -> HTTPResponse | StreamedResponse:
        params: GraphQLParams | None = None
        request: Request | None = None
        answer: Response | IncrementalResponse
        try:
            params = parse_params(method, payload)
            request = await self.documents.resolve(params)
            async with watcher:
                run = self.executor.run_incrementally if accepted.parts else self.executor.run
                answer = await run(request, context)
                result = answer.initial if isinstance(answer, IncrementalResponse) else answer
                if result.ran:
                    await self.documents.record(params, request.query)
        except GatewayError as exc:  # from `parse_params` and `resolve`; the executor puts its errors into the result
            answer = result = Response([{"message": str(exc), "extensions": exc.extensions}])
        except Exception as exc:  # noqa: BLE001 - as above; here the operation's name is known
            return self._respond_to_error(exc, accepted.media_type, **self._names(params, request))

        def extensions() -> dict[str, Any] | None:
            return {"gateway": _explain(result, context.traces)} if explain else None

        names = self._names(params, request)
        if isinstance(answer, IncrementalResponse) and accepted.parts:
            head = HTTPResponse(
                status=200,
                body=b"",
                media_type=accepted.parts.media_type,
                outcome=result.outcome,
                cost=result.cost,
                name=names["name"],
                document=names["document"],
            )
            return StreamedResponse(answer, MultipartWriter(answer, accepted.parts, extensions, self.scheduler), head)
        return operation_response(result, accepted.media_type, extensions=extensions(), **names)

    def _store(
        self, key: str | None, context: OperationContext, began: float, response: HTTPResponse
    ) -> tuple[str, CachedResponse, float] | None:
        """Store a response in the response cache, unless it has errors. `began`: when the operation began.

        Returns its key, the cached response and the seconds for which it is fresh; None if it is not cached.
        """
        if key is None or response.outcome != "ok":
            return None
        cached = CachedResponse(
            body=response.body,
            etag=etag_of(response.body),
            dependencies=context.dependencies,
            expires_at=began + context.valid_seconds,
            name=response.name,
            document=response.document or "",
            cost=response.cost,
            media_type=response.media_type if response.media_type.startswith(MULTIPART) else None,
        )
        seconds_left = self.responses.set(key, cached)
        return (key, cached, seconds_left) if seconds_left > 0 else None

    def _respond_to_error(
        self, exc: Exception, media_type: str, *, name: str | None = None, document: str | None = None
    ) -> HTTPResponse:
        if not isinstance(exc, HTTPError | GatewayError | ClientDisconnectedError):
            self.log.error("bug", exc_info=exc)
        return error_response(exc, media_type, name=name, document=document)

    def _names(self, params: GraphQLParams | None, request: Request | None) -> dict[str, str | None]:
        """The operation's name and its document's digest, as far as they are known; for the operation log."""
        query = request.query if request else params and params.query
        return {
            "name": self.executor.name_of(request) if request else None,
            "document": _digest(query) if query else None,
        }


def _coding_for(headers: dict[bytes, bytes], body: bytes) -> str | None:
    """The content coding for this body that the client prefers; None if it prefers none."""
    accept_encoding = headers.get(b"accept-encoding")
    return None if accept_encoding is None else negotiate_coding(accept_encoding, len(body))


def _is_answered_by_langsmith(context: OperationContext) -> bool:
    """Whether LangSmith has accepted the operation's credential, now or when it sent a page that is cached for it."""
    traces = context.traces.values()
    return any(trace.dependencies or any(call.status == 200 for call in trace.calls) for trace in traces)


def _explain(result: Response, traces: dict[str, FieldTrace]) -> dict[str, Any]:
    return {"cost": result.cost, "fields": {key: trace.as_json() for key, trace in traces.items()}}


def _digest(query: str) -> str:
    """Short identifier of a document in the log."""
    return hashlib.sha256(query.encode(errors="replace")).hexdigest()[:12]

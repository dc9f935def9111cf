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
from app.http.cached_answers import CachedAnswers, coding_for
from app.http.client_rate_limit import ClientRateLimit
from app.http.compression import MIN_BYTES, negotiate_coding
from app.http.disconnects import DisconnectWatcher
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.graphql_head import ANYTHING, GRAPHQL_REQUEST, GraphQLHead, GraphQLRequest, accepted_by, read_head
from app.http.incremental import MultipartWriter
from app.http.negotiation import PLAIN_JSON, Accepted
from app.http.params import BODY_HAS_ARRIVED, GraphQLParams, headers_of, parse_params, read_payload
from app.http.persisted_queries import PersistedDocuments
from app.http.response import (
    CLIENT_CLOSED_REQUEST,
    HTTPResponse,
    error_response,
    operation_response,
)
from app.http.streamed_response import StreamedResponse
from app.observability.operation_log import OperationRecorder
from app.resilience.clock import Clock
from app.resilience.cooperative_scheduler import CooperativeScheduler
from app.schema.context import OperationContext

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
        answers: finds, stores and compresses cached responses.
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
    answers: CachedAnswers
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
        accepted, accept_encoding = ANYTHING, None
        try:
            request: GraphQLRequest | None = scope.get("state", {}).get(GRAPHQL_REQUEST)
            if request:
                accepted, accept_encoding = request.head.accepted, request.head.accept_encoding
            else:
                headers = headers_of(scope)
                accept_encoding = headers.get(b"accept-encoding")
                accepted = accepted_by(headers)
                request = await self._read(scope, headers, accepted, receive)
            return await self._answer(request, receive)
        except Exception as exc:  # noqa: BLE001 - each error becomes a response; a bug is logged with its traceback
            response = self._respond_to_error(exc, accepted.media_type)
        return await self._compress(response, accept_encoding)

    async def _read(
        self, scope: Scope, headers: dict[bytes, bytes], accepted: Accepted, receive: Receive
    ) -> GraphQLRequest:
        """Receive a request, authenticate and count its client."""
        state = scope.setdefault("state", {})
        timeout = None if BODY_HAS_ARRIVED in state else self.body_timeout_seconds
        payload = await read_payload(scope, headers, receive, origins=self.origins, body_timeout_seconds=timeout)
        # After the body, because the connection of a refused request can only be used again if its body was read.
        credential = self.authenticator.authenticate(scope["headers"])
        if self.rate_limit.is_limited:
            await self.rate_limit.acquire(credential, scope)
        head = read_head(scope["method"], headers, accepted, explain=self.explain)
        request = state[GRAPHQL_REQUEST] = GraphQLRequest(head, credential, payload)
        return request

    async def _answer(self, request: GraphQLRequest, receive: Receive) -> HTTPResponse | StreamedResponse:
        """The response from the response cache, or else from running the operation."""
        head = request.head
        key = self.answers.key(head, request.credential, request.payload)
        if cached := self.answers.find(key, head):
            self.recorder.record_execution("kept")
            return await self.answers.respond(cached, head)
        watcher = DisconnectWatcher(receive)
        deadline = asyncio.get_running_loop().time() + self.timeout_seconds + _DEADLINE_MARGIN
        context = OperationContext(self.cache, request.credential, self.now(), deadline, watcher.start, head.max_age)
        store = functools.partial(self.answers.store, key, context, self.clock())
        response = await self._run(request, context, watcher)
        if self.rate_limit.is_limited and _is_answered_by_langsmith(context):
            await self.rate_limit.verify(request.credential)
        if isinstance(response, StreamedResponse):
            response = await self._begin(response, head, context, store)
        if isinstance(response, StreamedResponse):
            return response
        if cached := store(response):
            return await self.answers.respond(cached, head)
        return await self._compress(response, head.accept_encoding)

    async def _compress(self, response: HTTPResponse, accept_encoding: bytes | None) -> HTTPResponse:
        coding = coding_for(accept_encoding, response.body)
        if coding is None:
            return response
        body = await self.answers.compressor.compress(response.body, coding)
        return msgspec.structs.replace(response, body=body, coding=coding)

    async def _begin(
        self,
        streamed: StreamedResponse,
        head: GraphQLHead,
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
        streamed.send_in(negotiate_coding(head.accept_encoding or b"", MIN_BYTES))
        streamed.on_complete = store
        return streamed

    async def _run(
        self,
        request: GraphQLRequest,
        context: OperationContext,
        watcher: DisconnectWatcher,
    ) -> HTTPResponse | StreamedResponse:
        accepted, explain = request.head.accepted, request.head.explain
        params: GraphQLParams | None = None
        operation: Request | None = None
        answer: Response | IncrementalResponse
        try:
            params = parse_params(request.head.method, request.payload)
            operation = await self.documents.resolve(params)
            async with watcher:
                run = self.executor.run_incrementally if accepted.parts else self.executor.run
                answer = await run(operation, context)
                result = answer.initial if isinstance(answer, IncrementalResponse) else answer
                if result.ran:
                    await self.documents.record(params, operation.query)
        except GatewayError as exc:  # from `parse_params` and `resolve`; the executor puts its errors into the result
            answer = result = Response([{"message": str(exc), "extensions": exc.extensions}])
        except Exception as exc:  # noqa: BLE001 - as in `_respond`; only here is the operation's name known
            return self._respond_to_error(exc, accepted.media_type, **self._names(params, operation))

        def extensions() -> dict[str, Any] | None:
            return {"gateway": _explain(result, context.traces)} if explain else None

        names = self._names(params, operation)
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


def _is_answered_by_langsmith(context: OperationContext) -> bool:
    """Whether LangSmith has accepted the operation's credential, now or when it sent a page that is cached for it."""
    traces = context.traces.values()
    return any(trace.dependencies or any(call.status == 200 for call in trace.calls) for trace in traces)


def _explain(result: Response, traces: dict[str, FieldTrace]) -> dict[str, Any]:
    return {"cost": result.cost, "fields": {key: trace.as_json() for key, trace in traces.items()}}


def _digest(query: str) -> str:
    """Short identifier of a document in the log."""
    return hashlib.sha256(query.encode(errors="replace")).hexdigest()[:12]

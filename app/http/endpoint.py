"""The GraphQL endpoint: one HTTP request becomes one operation, and its result one HTTP response.

It follows the GraphQL over HTTP specification: with `application/graphql-response+json` the status code says whether
the operation ran; with `application/json` it is 200 for every well-formed request.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.cache.explain import FieldTrace
from app.cache.page_cache import PageCache
from app.errors import GatewayError
from app.execution import Executor, Request, Response
from app.http.auth import Authenticator
from app.http.client_rate_limit import ClientRateLimit
from app.http.compression import Compressor, negotiate_coding
from app.http.disconnects import DisconnectWatcher
from app.http.errors import ClientDisconnectedError, HTTPError
from app.http.negotiation import PLAIN_JSON, negotiate_media_type, parse_max_age
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
from app.observability.operation_log import OperationRecorder
from app.resilience.clock import Clock
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        response = await self._respond(scope, receive)
        self.recorder.record_operation(
            name=response.name,
            document=response.document,
            outcome=response.outcome,
            cost=response.cost,
            seconds=time.perf_counter() - started,
            request_id=scope.get("state", {}).get("request_id"),
        )
        if response.status != CLIENT_CLOSED_REQUEST:
            await response.send(send)

    async def _respond(self, scope: Scope, receive: Receive) -> HTTPResponse:
        """The response from the response cache, or else from running the operation."""
        media_type = PLAIN_JSON
        headers: dict[bytes, bytes] = {}
        try:
            headers = headers_of(scope)
            if b"accept" in headers:
                media_type = negotiate_media_type(headers[b"accept"].decode("latin-1"))
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
                # `Accept` is not part of the key: the body is the same in both media types.
                key = self.responses.key(credential.scope, scope["method"], payload)
                if key and max_age is None and (found := self.responses.get(key)):
                    self.recorder.record_execution("kept")
                    return await self._answer_from_cache(key, *found, media_type, headers, replay_recorder)
            watcher = DisconnectWatcher(receive)
            deadline = asyncio.get_running_loop().time() + self.timeout_seconds + _DEADLINE_MARGIN
            context = OperationContext(self.cache, credential, self.now(), deadline, watcher.start, max_age)
            response = await self._run(scope["method"], payload, context, watcher, media_type, explain=explain)
            if self.rate_limit.is_limited and _is_answered_by_langsmith(context):
                await self.rate_limit.verify(credential)
            if key and response.outcome == "ok":
                cached = self._as_cached(response, context)
                seconds_left = self.responses.set(key, cached)
                if seconds_left > 0:
                    return await self._answer_from_cache(key, cached, seconds_left, media_type, headers)
        except Exception as exc:  # noqa: BLE001 - each error becomes a response; a bug is logged with its traceback
            response = self._respond_to_error(exc, media_type)
        coding = _coding_for(headers, response.body)
        if coding is None:
            return response
        return msgspec.structs.replace(
            response, body=await self.compressor.compress(response.body, coding), coding=coding
        )

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
        media_type: str,
        *,
        explain: bool,
    ) -> HTTPResponse:
        params: GraphQLParams | None = None
        request: Request | None = None
        try:
            params = parse_params(method, payload)
            request = await self.documents.resolve(params)
            async with watcher:
                result = await self.executor.run(request, context)
                if result.ran:
                    await self.documents.record(params, request.query)
        except GatewayError as exc:  # from `parse_params` and `resolve`; the executor puts its errors into the result
            result = Response([{"message": str(exc), "extensions": exc.extensions}])
        except Exception as exc:  # noqa: BLE001 - as above; here the operation's name is known
            return self._respond_to_error(exc, media_type, **self._names(params, request))
        extensions = {"gateway": _explain(result, context.traces)} if explain else None
        return operation_response(result, media_type, extensions=extensions, **self._names(params, request))

    def _as_cached(self, response: HTTPResponse, context: OperationContext) -> CachedResponse:
        """A response without errors, as the response cache stores it."""
        return CachedResponse(
            body=response.body,
            etag=etag_of(response.body),
            dependencies=context.dependencies,
            expires_at=self.clock() + context.valid_seconds,
            name=response.name,
            document=response.document or "",
            cost=response.cost,
        )

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

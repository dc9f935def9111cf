"""Answers from the response cache, in the content coding that the client prefers."""

from dataclasses import dataclass

import msgspec

from app.credentials import Credential
from app.http.compression import Compressor, negotiate_coding
from app.http.graphql_head import GraphQLHead
from app.http.negotiation import MULTIPART
from app.http.response import HTTPResponse, cached_response, is_not_modified
from app.http.response_cache import CachedResponse, ResponseCache, etag_of
from app.schema.context import OperationContext


class CachedAnswer(msgspec.Struct, frozen=True):
    """A cached response with its key, and the seconds for which it is fresh."""

    key: str
    response: CachedResponse
    seconds_left: float


@dataclass(frozen=True)
class CachedAnswers:
    """Finds, stores and encodes cached responses. A compressed body is cached with its response."""

    responses: ResponseCache
    compressor: Compressor

    def key(self, head: GraphQLHead, credential: Credential | None, payload: bytes) -> str | None:
        """Key of the response to a request; None if it must not be cached."""
        if credential is None or head.explain:
            return None
        # Of `Accept`, only the format of parts is in the key: JSON is the same in both media types.
        return self.responses.key(credential.scope, head.method, payload, head.accepted.parts)

    def find(self, key: str | None, head: GraphQLHead) -> CachedAnswer | None:
        """The fresh answer under this key; None if there is none, or if the client sends a `max-age`."""
        if key is None or head.max_age is not None or (found := self.responses.get(key)) is None:
            return None
        return CachedAnswer(key, *found)

    def store(
        self, key: str | None, context: OperationContext, began: float, response: HTTPResponse
    ) -> CachedAnswer | None:
        """Cache a response, unless it has errors. `began`: when the operation began.

        None if it is not cached, as without a key.
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
        return CachedAnswer(key, cached, seconds_left) if seconds_left > 0 else None

    def respond_at_once(self, answer: CachedAnswer, head: GraphQLHead) -> HTTPResponse | None:
        """The answer, or 304. None if its body has yet to be compressed."""
        cached = answer.response
        coding = coding_for(head.accept_encoding, cached.body)
        not_modified = is_not_modified(cached, coding, head.if_none_match)
        if coding is not None and coding not in cached.compressed and not not_modified:
            return None
        media_type = head.accepted.media_type
        return cached_response(cached, answer.seconds_left, media_type, coding, not_modified=not_modified)

    async def respond(self, answer: CachedAnswer, head: GraphQLHead) -> HTTPResponse:
        """The answer, or 304. A body that is compressed now is cached too."""
        if response := self.respond_at_once(answer, head):
            return response
        cached = answer.response
        coding = coding_for(head.accept_encoding, cached.body)
        if coding is not None:
            body = await self.compressor.compress(cached.body, coding)
            cached = self.responses.add_compressed(answer.key, cached, coding, body)
        return cached_response(cached, answer.seconds_left, head.accepted.media_type, coding, not_modified=False)


def coding_for(accept_encoding: bytes | None, body: bytes) -> str | None:
    """The content coding for this body that the client prefers; None if it prefers none."""
    return None if accept_encoding is None else negotiate_coding(accept_encoding, len(body))

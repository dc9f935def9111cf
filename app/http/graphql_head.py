"""What the head of a request says about the operation that the request contains."""

from collections.abc import Mapping
from typing import Final

import msgspec

from app.credentials import Credential
from app.http.negotiation import PLAIN_JSON, Accepted, negotiate, parse_max_age

GRAPHQL_REQUEST: Final = "graphql_request"
"""Key in a request's `scope["state"]` of its GraphQLRequest: set by the endpoint, or by the server that knows it."""
ANYTHING: Final = Accepted(PLAIN_JSON, None)
"""What a client accepts that sends no `Accept`."""


class GraphQLHead(msgspec.Struct, frozen=True):
    """The headers that the endpoint reads, but for the credential.

    `accepted`: from `Accept`. `max_age`: from `Cache-Control`. `explain`: whether the client asks for Explain.
    """

    method: str
    accepted: Accepted
    accept_encoding: bytes | None
    if_none_match: bytes | None
    max_age: float | None
    explain: bool


class GraphQLRequest(msgspec.Struct, frozen=True):
    """A request for the endpoint, completely received. `payload`: the bytes that hold the operation (params.py)."""

    head: GraphQLHead
    credential: Credential | None
    payload: bytes


def accepted_by(headers: Mapping[bytes, bytes]) -> Accepted:
    """What the client accepts. Raises HTTPError (406)."""
    return negotiate(headers[b"accept"].decode("latin-1")) if b"accept" in headers else ANYTHING


def read_head(method: str, headers: Mapping[bytes, bytes], accepted: Accepted, *, explain: bool) -> GraphQLHead:
    """The head with these headers, from `headers_of`. `explain`: whether clients may ask for Explain."""
    return GraphQLHead(
        method=method,
        accepted=accepted,
        accept_encoding=headers.get(b"accept-encoding"),
        if_none_match=headers.get(b"if-none-match"),
        max_age=parse_max_age(headers.get(b"cache-control", b"").decode("latin-1")),
        explain=explain and headers.get(b"x-gateway-explain") == b"1",
    )

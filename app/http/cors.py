"""Cross-origin requests (CORS): which web pages may call the gateway, with which headers, and what they may read."""

import re
from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

_RESPONSE_HEADERS: Final = ("etag", "x-request-id", "retry-after")
"""What scripts may read, beside the headers that browsers show them anyway."""
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAX_NAMES: Final = 100
_MAX_NAME_LENGTH: Final = 100
_REQUESTED: Final = "access-control-request-headers"
_ALLOWED: Final = "access-control-allow-headers"


class AnyHeaderCORSMiddleware(CORSMiddleware):
    """Starlette's middleware, with every request header allowed for pages of the configured origins.

    Tracing and GraphQL clients add headers of their own (`traceparent`, `apollographql-client-name`), and no list is
    complete. A preflight is answered with the names that it asks for, as far as they are valid and few: `*` would leave
    out `Authorization`, which must be named.

    `origins`: as browsers send them, or `*`. Only origins that are named may reach a gateway in a private network from
    a public page.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=_RESPONSE_HEADERS,
            allow_private_network="*" not in origins,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        requested = (name.strip() for line in request_headers.getlist(_REQUESTED) for name in line.split(","))
        names = [name for name in requested if len(name) <= _MAX_NAME_LENGTH and _TOKEN.fullmatch(name)]
        del response.headers[_ALLOWED]
        if names and response.status_code == 200:
            response.headers[_ALLOWED] = ", ".join(names[:_MAX_NAMES])
        return response

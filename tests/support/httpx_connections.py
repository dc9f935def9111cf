"""An httpx transport, such as one that answers by itself, in place of the connection pool."""

from collections.abc import AsyncIterator

import httpx

from app.langsmith.http_message import HttpRequest, HttpResponse, headers_by_name


class HttpxConnections:
    """Connections over an httpx transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport
        self.is_closed = False

    async def get(self, request: HttpRequest) -> HttpResponse:
        first, *lines = request.head.decode("latin-1").split("\r\n")
        scheme, host, port = request.origin
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]
        response = await self._transport.handle_async_request(
            httpx.Request("GET", f"{scheme}://{host}:{port}{first.split(' ')[1]}", headers=headers)
        )
        body = await response.aread()
        return HttpResponse(response.status_code, headers_by_name(response.headers.raw), Whole(body))

    async def aclose(self) -> None:
        self.is_closed = True


class Whole:
    """The stream of a body that is there already."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    def close(self) -> None: ...

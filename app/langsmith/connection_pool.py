"""A pool of HTTP/1.1 connections, safe against desynchronised ones.

A connection that several tenants share must never hand one tenant's answer to another. A response therefore counts only
if it cannot belong to anything else than the request that was just sent:

- Bytes that arrive while no request is in flight close the connection. They are looked for once more, in the kernel,
  at the moment in which an idle connection is taken from the pool.
- Bytes that arrive before the request was written in full are an error, and close the connection.
- A connection goes back to the pool only after a complete response that was followed by nothing, and whose status a
  proxy would not send on its own. Everything else (an error, a cancelled request, `Connection: close`) closes it.

A request is sent once. Whether to try again is decided by the caller (`retry.py`), who counts the tries. Requests go to
the pool directly: `httpx.AsyncClient` would cost as much again, and would add redirects, cookies, proxies and
`~/.netrc`, none of which may take part in a request to LangSmith.
"""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections import deque
from typing import Final

import aiohappyeyeballs
import httpx

from app.langsmith.http11_connection import Http11Connection
from app.langsmith.http_message import HttpRequest, HttpResponse, Origin, headers_by_name

MAX_IDLE_SECONDS: Final = 15.0
"""Seconds that a connection is kept idle. Common load balancers close theirs after 60 seconds or more."""
_HAPPY_EYEBALLS_SECONDS: Final = 0.25
"""Head start of one address family over the other (RFC 8305)."""


def create_connection_pool(concurrency: int) -> "ConnectionPool":
    """A pool for `concurrency` requests in flight. Certificates are verified."""
    return ConnectionPool(_tls_context(), max_idle=concurrency)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """One context for all pools of the process, because reading the certificate authorities takes 15 ms.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities, for a LangSmith behind a private one.
    """
    return httpx.create_ssl_context()


class ConnectionPool:
    """Connections for GET requests, one request per connection at a time.

    It does not bound the number of connections: the concurrency limit does.

    ssl_context: verifies the server for `https`.
    max_idle: idle connections that are kept.
    max_idle_seconds: how long each is kept.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext, *, max_idle: int, max_idle_seconds: float = MAX_IDLE_SECONDS
    ) -> None:
        self._ssl_context = ssl_context
        self._max_idle = max_idle
        self._max_idle_seconds = max_idle_seconds
        self._idle: dict[Origin, deque[Http11Connection]] = {}
        self._open: set[Http11Connection] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def get(self, request: HttpRequest) -> HttpResponse:
        """Send the request on an idle connection, or on a new one. The response's stream must be closed.

        Raises the httpx.TransportError that says what went wrong; its cause is the error of the operating system.
        """
        origin = request.origin
        connection = self._take_idle(origin) or await self._connect(origin, request.connect_seconds)
        try:
            exchange = connection.send(request.head, request.read_seconds)
        except BaseException:
            connection.abort()
            raise
        try:
            await exchange.wait_for_head()
        except BaseException:
            # Also when the request is cancelled: what still arrives on this connection belongs to nobody.
            exchange.close()
            raise
        return HttpResponse(exchange.status, headers_by_name(exchange.headers), exchange)

    async def aclose(self) -> None:
        """Close every connection, those in use too. A request that is still connecting fails."""
        self._is_closed = True
        if self._expiry:
            self._expiry.cancel()
        for connection in [*self._open]:
            connection.abort()
        self._idle.clear()

    def on_opened(self, connection: Http11Connection) -> None:
        self._open.add(connection)

    def on_idle(self, connection: Http11Connection) -> None:
        """Keep an idle connection, and close the one that has been idle longest if there are too many."""
        connections = self._idle.setdefault(connection.origin, deque())
        connections.append(connection)
        if len(connections) > self._max_idle:
            connections.popleft().abort()
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_later(self._max_idle_seconds, self._close_expired)

    def on_closed(self, connection: Http11Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._idle[connection.origin].remove(connection)

    def _take_idle(self, origin: Origin) -> Http11Connection | None:
        """The connection that became idle last, if the server has neither closed it nor sent anything on it."""
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            if connection.is_usable() and connection.idle_seconds() < self._max_idle_seconds:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, timeout_seconds: float | None) -> Http11Connection:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._open_connection(*origin)
        except TimeoutError as exc:
            raise httpx.ConnectTimeout("The connection was not made in time.") from exc
        # ssl.SSLError and socket.gaierror are errors of the operating system too. A name that cannot be encoded for DNS
        # is a UnicodeError, and uvloop reports some failures as RuntimeError.
        except (OSError, UnicodeError, RuntimeError) as exc:
            raise httpx.ConnectError("The connection could not be made.") from exc

    async def _open_connection(self, scheme: str, host: str, port: int) -> Http11Connection:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS, loop=loop
        )
        try:
            _, connection = await loop.create_connection(
                lambda: Http11Connection(self, (scheme, host, port)),
                sock=sock,
                ssl=self._ssl_context if scheme == "https" else None,
                server_hostname=host if scheme == "https" else None,
            )
        except BaseException:
            sock.close()
            raise
        # Not in `on_opened`: uvloop owns the socket only now, and a connection that is aborted earlier leaves it open.
        if self._is_closed:
            connection.abort()
            raise ConnectionAbortedError("The pool was closed.")
        # TLS 1.3 sends session tickets right after the handshake, so there the kernel may have bytes.
        if scheme == "http" and not connection.is_usable():
            connection.abort()
            raise ConnectionResetError("The server sent something, or closed the connection, before it was asked.")
        return connection

    def _close_expired(self) -> None:
        self._expiry = None
        for connections in self._idle.values():
            while connections and connections[0].idle_seconds() >= self._max_idle_seconds:
                connections.popleft().abort()
        waits = [self._max_idle_seconds - each[0].idle_seconds() for each in self._idle.values() if each]
        if waits:
            self._expiry = asyncio.get_running_loop().call_later(max(0.01, min(waits)), self._close_expired)

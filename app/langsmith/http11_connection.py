"""Http11Connection: one connection, an asyncio protocol that feeds llhttp and trusts nothing that was not asked for."""

import asyncio
import select
import ssl
from typing import Final, Protocol, cast

import httptools
import httpx

from app.langsmith.http_exchange import HttpExchange

MAX_HEAD_BYTES: Final = 32 * 1024
"""Bytes of a response's status line and headers together with those before it, and of its trailers."""
_MAX_BUFFERED_BYTES: Final = 256 * 1024
"""Bytes of a body that are buffered before reading from the socket pauses."""
_REUSABLE_STATUSES: Final = frozenset({200, 401, 403, 404, 422, 429})
"""Statuses that the application itself sends. Proxies and servers send 400, 408 and 5xx unasked."""
_TLS_ALERT: Final = b"\x15\x03"
"""Begins the answer of a TLS server to a request without TLS."""
_TOO_LONG: Final = f"The headers of the response are longer than {MAX_HEAD_BYTES} bytes."


class ConnectionOwner(Protocol):
    """What a connection tells the pool that it belongs to."""

    def on_opened(self, connection: "Http11Connection") -> None:
        """The connection is established."""

    def on_idle(self, connection: "Http11Connection") -> None:
        """A response is complete, and the connection is certainly in step with the server."""

    def on_closed(self, connection: "Http11Connection") -> None:
        """The connection is closed."""


class Http11Connection(asyncio.Protocol):
    """One connection. `origin`: scheme, host and port."""

    def __init__(self, owner: ConnectionOwner, origin: tuple[str, str, int]) -> None:
        self.origin = origin
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: HttpExchange | None = None
        self._header_bytes = 0
        self._bytes_since_progress = 0
        self._is_informational = False
        self._is_reading_paused = False
        self._is_aborted = False
        self._ends_with_connection = False
        self._has_surplus = False
        self._keeps_alive = False
        self._idle_since = 0.0

    # What the pool asks of it.

    def send(self, head: bytes, read_seconds: float | None) -> HttpExchange:
        """Write the request, and return its response, which has yet to arrive.

        `read_seconds`: how long each wait for more bytes may take. Raises httpx.WriteError if the connection was lost.
        """
        if self._transport is None or self._transport.is_closing() or self._has_surplus:
            raise httpx.WriteError("The connection cannot be used: it was lost, or the server spoke first.")
        exchange = self._exchange = HttpExchange(read_seconds, resume_reading=self._resume_reading, abort=self.abort)
        self._header_bytes = self._bytes_since_progress = 0
        self._transport.write(head)
        return exchange

    def is_usable(self) -> bool:
        """Whether the server has neither closed the connection nor sent anything on it since it became idle.

        The event loop may not have read yet what the kernel has received, so the kernel is asked.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or self._has_surplus:
            return False
        return not _is_readable(transport.get_extra_info("socket").fileno())

    def idle_seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._idle_since

    def abort(self) -> None:
        """Close the connection at once."""
        self._is_aborted = True
        if self._transport:
            self._transport.abort()

    # What the event loop tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.on_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.on_closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        is_end_of_body = exchange.has_head and self._ends_with_connection
        if is_end_of_body and exc is None and not self._is_aborted:
            exchange.complete()
            exchange.wake()
            return
        error = httpx.ReadError("The connection was lost before the response was complete.")
        error.__cause__ = exc or ConnectionResetError("The connection was closed.")
        exchange.fail(error)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # Nothing was asked: these bytes belong to no request. The pool gives up a new connection, as uvloop may
            # not own its socket yet.
            self._has_surplus = True
            if self._idle_since:
                self.abort()
            return
        if self._transport and self._transport.get_write_buffer_size():
            self._fail("The server answered before it had received the request.")
            return
        received_before = exchange.received_bytes
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if not exchange.is_complete:
                cause = ssl.SSLError("The server speaks TLS.") if data.startswith(_TLS_ALERT) else exc
                self._fail("The server sent something that is not an HTTP response.", cause)
                return
            self._has_surplus = True
        if exchange.is_complete:
            self._finish(exchange)
            return
        # The parser keeps a header or a trailer that does not end, so bytes that are no part of a body are bounded.
        has_progress = exchange.received_bytes > received_before
        self._bytes_since_progress = 0 if has_progress else self._bytes_since_progress + len(data)
        if self._bytes_since_progress > MAX_HEAD_BYTES:
            self._fail(_TOO_LONG)
        elif exchange.has_head:
            self._pause_reading_if_full(exchange)
            exchange.wake()

    # What the parser tells it.

    def on_message_begin(self) -> None:
        if self._exchange is None or self._exchange.is_complete:
            self._has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or self._has_surplus:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            raise ValueError(_TOO_LONG)
        if not (exchange.has_head or self._is_informational):  # Trailers are not headers.
            exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or self._has_surplus:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ValueError("The status is none, or an upgrade that was not asked for.")
            self._is_informational = True
            exchange.headers.clear()
            return
        headers = [(name.lower(), value) for name, value in exchange.headers]
        if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in headers):
            raise ValueError("No other transfer coding than chunked was asked for.")
        exchange.receive_head(status)
        names = {name for name, _ in headers}
        self._ends_with_connection = not names & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        if self._exchange and not self._has_surplus:
            self._exchange.receive_body(body)

    def on_message_complete(self) -> None:
        if self._is_informational:
            self._is_informational = False
        elif self._exchange and not self._has_surplus:
            self._exchange.complete()
            self._keeps_alive = self._parser.should_keep_alive()

    def _finish(self, exchange: HttpExchange) -> None:
        """Return the connection to the pool if it is certainly in step with the server, and close it otherwise."""
        self._exchange = None
        self._resume_reading()
        # A body that a server sends late, after a response that cannot have one or says that it has none, would be
        # taken for the next response. LangSmith's own responses have a body.
        is_from_application = exchange.status in _REUSABLE_STATUSES and exchange.received_bytes > 0
        if self._keeps_alive and is_from_application and not self._has_surplus:
            self._idle_since = asyncio.get_running_loop().time()
            self._owner.on_idle(self)
        else:
            self.abort()
        exchange.wake()

    def _fail(self, message: str, cause: Exception | None = None) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange:
            error = httpx.RemoteProtocolError(message)
            error.__cause__ = cause
            exchange.fail(error)

    def _pause_reading_if_full(self, exchange: HttpExchange) -> None:
        if exchange.buffered_bytes > _MAX_BUFFERED_BYTES and self._transport and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and self._transport:
            self._is_reading_paused = False
            self._transport.resume_reading()


def _is_readable(descriptor: int) -> bool:
    """Whether the kernel has bytes of this socket, or its end."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))

"""uvicorn's HTTP protocol, with one way only in which the bytes of a connection become requests.

A client must not be able to make this server see other requests, or other headers, than a proxy in front of it sees.
So this class changes uvicorn's own in these points:

- **Upgrades** are ignored. llhttp stops at a request with `Upgrade`, and takes its body for the new protocol. So the
  head of the request is parsed a second time, without that header.
- **Trailers** are dropped. uvicorn appends them to the headers, which a proxy may have checked or set.
- **Heads** are checked when they are complete, and refused while they arrive if they are too long (request_head.py).
  Chunks of a body that consist of little else than extensions are refused too.
- **A refusal** is the response to the request that it refuses: it waits for the responses before it. What follows is
  not parsed. The connection is closed by half at first, so that the client can read the refusal while it still sends.
"""

import asyncio
import contextvars
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http.errors import HTTPError
from app.http.params import BODY_HAS_ARRIVED, MAX_URL_BYTES
from app.http.request_head import (
    HEAD_IS_CHECKED,
    MAX_HEADERS_BYTES,
    REFUSAL,
    check_head,
    headers_bytes,
    headers_too_long,
    refusal,
    url_too_long,
)
from app.http.response_cycle import LeanCycle
from app.resilience.eager_task import begin

_MAX_HEAD_BYTES: Final = MAX_URL_BYTES + MAX_HEADERS_BYTES
_CHUNK_OVERHEAD_BYTES: Final = 16
"""What a chunk may need beside its data: its size, line ends, and a bit more."""


class FramedProtocol(HttpToolsProtocol):
    """One client connection. Subclasses call `parse` with what they receive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app_state = {**self.app_state, HEAD_IS_CHECKED: True}
        # uvicorn looks only whether its logger has a handler, which pytest for example adds to every logger.
        self.access_log = self.access_log and self.config.access_log
        self.url = b""
        self.is_receiving = False  # a request has begun and is not complete
        self.is_refused = False
        self.requests_received = 0
        # Subclasses set it where they start a request. uvicorn's `cycle` is the one that arrived last.
        self.running: RequestResponseCycle | None = None
        self._arrived: tuple[RequestResponseCycle, Any] | None = None  # the request to begin with its app
        self._is_head_complete = False  # of the request that is being received; `cycle` is then its cycle
        self._data_bytes = 0  # of the data that is being parsed
        # At least the bytes of the head that is being received; then, those of the body that are more than it needs.
        self._bytes_without_body = 0
        self._head_error: HTTPError | None = None  # why a callback has stopped the parser

    @property
    def has_received_last(self) -> bool:
        """Whether the connection is to be closed after the request that arrived last."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves out the None
        return cycle is not None and not cycle.keep_alive and not self.is_receiving

    def parse(self, data: bytes) -> None:
        """Give bytes to the parser, which calls the `on_…` methods. After a refusal, no more bytes may be given."""
        self._data_bytes = len(data)
        self._bytes_without_body += self._data_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.refuse(self._head_error or refusal(400, "The request is not valid HTTP."))
        else:
            if self._bytes_without_body > _MAX_HEAD_BYTES + self._data_bytes:
                self.refuse(url_too_long() if len(self.url) > MAX_URL_BYTES else headers_too_long())

    def refuse(self, error: HTTPError) -> None:
        """Answer the request that is being received with an error, and close the connection."""
        self.is_refused = True
        self.begin_arrived(at_once=False)
        self.logger.warning("Refused a request: %d %s", error.status, error.message)
        if self.is_receiving and self._is_head_complete:
            if self.cycle.response_started:  # its response did not need the rest of the body
                self.cycle.keep_alive = False
                if self.cycle.response_complete:
                    self.close_by_half()
                return
            self.abandon(self.cycle)
        is_first = self.running is None or self.running.response_complete or self.running.disconnected
        self.cycle = self._create_last_cycle(error)
        if is_first:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.pipeline.appendleft((self.cycle, self.app))

    def abandon(self, cycle: RequestResponseCycle) -> None:
        """Let a request end as if its client had disconnected, without a response."""
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()

    def close_by_half(self) -> None:
        """Send the end of the stream; uvicorn's keep-alive timer closes the connection, unless the client does.

        A close now would reset the connection if the client still sends, and the client could lose the response.
        """
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._unset_keepalive_if_required()
            self.start_keep_alive()
        else:
            self.transport.close()

    def start_keep_alive(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self.is_receiving = True
        self._is_head_complete = False

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # `_ignore_upgrade` follows
        may_be_long = self._bytes_without_body > MAX_URL_BYTES
        http_version = self.parser.get_http_version()
        error = check_head(self.url, self.headers, http_version, may_be_long=may_be_long)
        if error is not None:
            self._head_error = error
            raise error
        self._begin_request(self.parser.get_method().decode(), http_version)
        self._is_head_complete = True
        self._bytes_without_body = 0
        self.headers = []  # receives the trailers; the request's headers are in its scope

    def _begin_request(self, method: str, http_version: str) -> None:
        """Complete the scope and start the app, as uvicorn's `on_headers_complete` does for its own class of cycles."""
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope = cast("dict[str, Any]", self.scope)
        scope["method"] = method
        scope["http_version"] = http_version
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + url.path
        scope["query_string"] = url.query or b""
        app = self.app
        limit = self.limit_concurrency
        if limit is not None and (len(self.connections) >= limit or len(self.tasks) >= limit):
            app = service_unavailable
            self.logger.warning("Exceeded concurrency limit.")
        before: RequestResponseCycle | None = self.cycle
        is_kept = http_version != "1.0" and self.parser.should_keep_alive()
        self.cycle = self._create_cycle(LeanCycle, self.scope, keep_alive=is_kept)
        if before is None or before.response_complete:
            self.running = self.cycle
            self._arrived = self.cycle, app
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))

    def begin_arrived(self, *, at_once: bool) -> None:
        """Begin the request that has arrived, if one has.

        A request whose body is there begins at once, which saves a task (see eager_task.py). `at_once` must be false
        within another request, because requests would begin within each other without end.
        """
        arrived, self._arrived = self._arrived, None
        if arrived is None:
            return
        if not at_once or self.is_receiving or self.flow.write_paused:
            self._start_asgi_task(*arrived)
        else:
            cycle, app = arrived
            cycle.scope["state"][BODY_HAS_ARRIVED] = True
            self.begin_at_once(cycle, app)

    def begin_at_once(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Run a request until it ends or has to wait; the rest of it is a task then."""
        self.running = cycle
        context = contextvars.Context() if self.config.reset_contextvars else contextvars.copy_context()
        task = begin(cycle.run_asgi(app), self.loop, context).task
        if task is not None:
            task.add_done_callback(self.tasks.discard)
            self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        self._bytes_without_body = max(self._bytes_without_body - 2 * len(body) - _CHUNK_OVERHEAD_BYTES, 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._is_head_complete:
            return  # `_ignore_upgrade` follows
        if self.headers and headers_bytes(self.headers) > MAX_HEADERS_BYTES:
            self._head_error = headers_too_long()
            raise self._head_error
        super().on_message_complete()
        self.is_receiving = False
        self.requests_received += 1
        self._bytes_without_body = self._data_bytes  # the next head may begin in the same data

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its header `Upgrade`. `rest`: the bytes after its head."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse(refusal(405, "This server is not a proxy.", allow="GET, POST"))
            return
        lines = [b"%b: %b\r\n" % line for line in self.headers if line[0] != b"upgrade"]
        head = b"%b %b HTTP/%b\r\n" % (method, self.url, self.parser.get_http_version().encode())
        self._bytes_without_body = 0
        self.parse(b"".join([head, *lines, b"\r\n", rest]))

    def _create_last_cycle(self, error: HTTPError) -> RequestResponseCycle:
        """The cycle of a refusal, after which the connection is closed by half.

        Its request passes the app's middleware, so that the response has the headers that all have. Of the request that
        is refused it has the `Origin`, without which a browser would not show the response to a page.
        """
        headers = self.scope["headers"] if self.is_receiving else ()
        scope = {
            "type": "http",
            "method": "GET",
            "path": "",
            "query_string": b"",
            "http_version": "1.1",
            "headers": [header for header in headers if header[0] == b"origin"][:1],
            "state": {**self.app_state, REFUSAL: error},
        }
        self.expect_100_continue = False
        cycle = self._create_cycle(RequestResponseCycle, scope, keep_alive=False)
        cycle.transport = cast("Any", _HalfClosingTransport(self))
        cycle.access_log = False
        return cycle

    def _create_cycle(self, cls: type[RequestResponseCycle], scope: Any, *, keep_alive: bool) -> RequestResponseCycle:
        return cls(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )


class _HalfClosingTransport:
    """What a RequestResponseCycle uses of a transport, with another way to close it."""

    def __init__(self, protocol: FramedProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.close_by_half()

"""uvicorn's HTTP protocol, with a bound on what one client can make the process keep, and for how long.

- **Pipelined requests** are parsed when the requests before them are answered. Until then their bytes wait: those of
  one read in `_unparsed`, and all others in the socket.
- **Responses** are made for clients that read: a request waits until the responses before it have left the buffer.
- **Time**: see connection_limits.py. uvicorn's keep-alive also ends a connection that has never sent anything.
- **Connections**: beyond the limit, a new connection takes the place of the one that has been idle for longest, because
  clients expect that an idle connection may be closed. If no connection is idle, the new one is answered with 503.

A connection is idle only if no byte of a request has arrived; before it is closed, the socket is asked too.
"""

import asyncio
import select
import weakref
from typing import Any, ClassVar, Final, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.connection_limits import ConnectionLimits, limits_of_process
from app.http.errors import HTTPError
from app.http.framed_protocol import FramedProtocol
from app.http.graceful_shutdown import CONNECTION, GRACEFUL_SHUTDOWN, GracefulShutdown
from app.http.request_head import refusal

_SLICE_BYTES: Final = 1024
"""The parser gets this much at once, because it cannot be paused in between. There is room for 41 requests."""
_OVERLOADED: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedProtocol(FramedProtocol):
    """One client connection, within `limits`."""

    limits: ClassVar[ConnectionLimits] = limits_of_process()
    flow: "_HoldableFlowControl"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.graceful_shutdown: GracefulShutdown = self.app_state.get(GRACEFUL_SHUTDOWN) or GracefulShutdown()
        self.app_state[CONNECTION] = weakref.ref(self)
        self._unparsed = b""
        self._waiting_for_client: tuple[RequestResponseCycle, Any] | None = None
        self._request_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether each request that began is complete, and its response too."""
        last: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves out the None
        return (
            not self.is_receiving
            and (last is None or last.response_complete)
            and not self._unparsed
            and not self.is_refused
            and not self.transport.is_closing()
        )

    @property
    def may_close_after_response(self) -> bool:
        """Whether the client has begun no request after the one whose response is being made."""
        return not (self.is_receiving or self.pipeline or self._unparsed or self.has_unread_bytes)

    @property
    def has_unread_bytes(self) -> bool:
        """Whether the socket has bytes, or the end of the stream, that the event loop has not read yet."""
        if (connection := self.transport.get_extra_info("socket")) is None:
            return False
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # Begin and end of the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))  # of a TCP connection
        transport = self.transport
        self.flow = _HoldableFlowControl(transport)
        if len(self.connections) > self.limits.max_connections and not self._close_longest_idle():
            self.logger.warning("Refused a connection: %d are open.", self.limits.max_connections)
            transport.write(_OVERLOADED)
            transport.close()
        else:
            self.start_keep_alive()

    def _close_longest_idle(self) -> bool:
        """Close the connection that has been idle for longest. Returns whether there is one."""
        idle = [
            (each.timeout_keep_alive_task.when(), each)
            for each in self.connections
            if isinstance(each, BoundedProtocol) and each.is_idle and each.timeout_keep_alive_task is not None
        ]
        for _, each in sorted(idle, key=lambda pair: pair[0]):
            if not each.has_unread_bytes:
                each.transport.close()
                return True
        return False

    def shutdown(self) -> None:
        """Let the connection end: after its next response, or when the time for idle connections is over.

        Idle connections may also be closed at once, but for new ones: their clients may be sending the first request.
        """
        self.graceful_shutdown.has_begun = True
        if self.graceful_shutdown.closes_idle and self.requests_received and self.is_idle and not self.has_unread_bytes:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        if self.is_idle and self.has_unread_bytes:
            self.start_keep_alive()
            return
        super().timeout_keep_alive_handler()
        self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn tells only the request that arrived last.
        for cycle in (self.running, self.cycle):
            if cycle is not None and not cycle.response_complete:
                self.abandon(cycle)
        self.pipeline.clear()
        self._unparsed = b""
        self._waiting_for_client = None
        self._unset_keepalive_if_required()
        self._stop_request_timer()
        if self._reading_timer:
            self._reading_timer.cancel()
        super().connection_lost(exc)

    # Requests

    def data_received(self, data: bytes) -> None:
        if self.is_refused or self.has_received_last:
            return  # the connection is closed after the current response
        if self.flow.is_held:
            self._unparsed += data  # read before reading was paused
        else:
            self._parse_slices(data)
            self.begin_arrived(at_once=True)

    def _parse_slices(self, data: bytes) -> None:
        """Parse the data as far as no request waits for the response before it."""
        if len(data) <= _SLICE_BYTES:
            self.parse(data)
        else:
            for start in range(0, len(data), _SLICE_BYTES):
                if self.is_refused:
                    break
                if self.pipeline:
                    self._unparsed = data[start:]
                    break
                self.parse(data[start : start + _SLICE_BYTES])
        if self.is_refused or not self.is_receiving:
            self._stop_request_timer()
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(self.limits.request_seconds, self._refuse_slow_request)
        if self.pipeline and not self.is_refused:
            self.flow.hold()
            self._stop_request_timer()  # the client cannot send the rest of a request now

    def _refuse_slow_request(self) -> None:
        self._request_timer = None
        self.refuse(refusal(408, f"The request did not arrive within {self.limits.request_seconds:g} seconds."))

    def _stop_request_timer(self) -> None:
        if self._request_timer:
            self._request_timer.cancel()
            self._request_timer = None

    # Responses

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        if self.flow.write_paused:
            self._waiting_for_client = (cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def abandon(self, cycle: RequestResponseCycle) -> None:
        super().abandon(cycle)
        if self._waiting_for_client and self._waiting_for_client[0] is cycle:
            self._waiting_for_client = None

    def refuse(self, error: HTTPError) -> None:
        self._unset_keepalive_if_required()
        super().refuse(error)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_reading()
            return
        if self.is_receiving:
            self._unset_keepalive_if_required()  # the request timer runs
        if self.flow.is_held and not self.pipeline:
            data, self._unparsed = self._unparsed, b""
            self.flow.is_held = False
            self._parse_slices(data)
            self.begin_arrived(at_once=False)
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if waiting := self._waiting_for_client:
            self._waiting_for_client = None
            self._start_asgi_task(*waiting)

    def _watch_reading(self) -> None:
        """Start the timer that aborts the connection if the client reads nothing of what is in the write buffer."""
        if self._reading_timer is None and (unread_bytes := self.transport.get_write_buffer_size()):
            self._reading_timer = self.loop.call_later(self.limits.stalled_seconds, self._check_reading, unread_bytes)

    def _check_reading(self, unread_bytes: int) -> None:
        self._reading_timer = None
        if self.transport.get_write_buffer_size() == unread_bytes:
            self.transport.abort()
        else:
            self._watch_reading()


class _HoldableFlowControl(FlowControl):
    """uvicorn's flow control, which can hold reading: the `receive` of a request does not resume it then."""

    is_held = False

    def hold(self) -> None:
        self.is_held = True
        self.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()

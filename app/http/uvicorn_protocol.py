"""uvicorn's HTTP protocol, extended to answer repeated requests from the replay cache before they are parsed.

The replay cache is consulted for a read from the socket only if these preconditions hold. Each one prevents bytes from
being mistaken for a request, or a response from being written out of order:

- **The connection is idle**: each request that began has ended, and its response is complete. Otherwise the same bytes
  may be the rest of another request (within its body they are data, not a request), or a response may still have to be
  written before this one.
- **The client reads**: the write buffer is below its high-water mark. Otherwise a client that sends requests and reads
  no response would make the buffer grow without bound. The normal path applies back-pressure instead.
- **The transport is not closing**: nothing can be written to it.
- **The process is not about to end**: its responses then have another header.

A request is recorded for later replays only if it arrived in one read that contained nothing else, and if the client
keeps the connection open. A request that arrived in several reads has no single `data` to use as the key, and a replay
leaves the connection open, which a request with `Connection: close` does not expect.

This class relies on internals of uvicorn. `pyproject.toml` pins its minor version, and `protocol_selection.py` checks
the internals at the start; add to its tables what you use here.
"""

from typing import Any

from app.http.bounded_protocol import BoundedProtocol
from app.http.replay_cache import REPLAY_CACHE, REPLAY_RECORDER, ReplayCache, ReplayRecorder


class ReplayProtocol(BoundedProtocol):
    """One client connection. Nothing is replayed without a ReplayCache in the application's state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn's access log, which `serve` switches off, would have no line for a replayed response.
        self._replays: ReplayCache | None = None if self.access_log else self.app_state.get(REPLAY_CACHE)
        self._data: bytes | None = None  # that is being parsed
        self._received_before = 0

    def data_received(self, data: bytes) -> None:
        if self._replays is None or self.flow.write_paused or self.graceful_shutdown.has_begun or not self.is_idle:
            super().data_received(data)
            return
        if response := self._replays.get(data, self.server_state.default_headers):
            # As for a parsed request: the keep-alive timer stops, and `on_response_complete` starts it anew.
            self._unset_keepalive_if_required()
            # Two writes, because `writelines` of asyncio before Python 3.12.9 and 3.13.2 never pauses the protocol, so
            # that a client which does not read makes the buffer grow without bound (CVE-2024-12254).
            for part in response:
                self.transport.write(part)
            self.requests_received += 1
            self.on_response_complete()
            return
        self._data, self._received_before = data, self.requests_received
        super().data_received(data)
        self._data = None

    def begin_arrived(self, *, at_once: bool) -> None:
        is_one_request = self.requests_received == self._received_before + 1 and self.is_receiving is False
        if self._data and self._replays and is_one_request and self.cycle.keep_alive and not self.is_refused:
            self.scope["state"][REPLAY_RECORDER] = ReplayRecorder(self._replays, self._data)
        super().begin_arrived(at_once=at_once)

"""uvicorn's HTTP protocol, extended to answer repeated requests from the replay cache before they are parsed.

The replay cache is consulted for a read from the socket only if these preconditions hold. Each one prevents bytes from
being mistaken for a request, or a response from being written out of order:

- **The connection is idle**: each request that began has ended, and its response is complete. Otherwise the same bytes
  may be the rest of another request (within its body they are data, not a request), or a response may still have to be
  written before this one.
- **The client reads**: the write buffer is below its high-water mark. Otherwise a client that sends requests and reads
  no response would make the buffer grow without bound. The parser's way waits for the client instead.
- **The transport is not closing**: nothing can be written to it.

A request is recorded for later replays only if it arrived in one read that contained nothing else, and if the client
keeps the connection open. A request that arrived in several reads has no single `data` to use as the key, and a replay
leaves the connection open, which a request with `Connection: close` does not expect.

This class relies on internals of uvicorn. `pyproject.toml` pins its minor version, and `protocol_selection.py` checks
the internals at the start; add to its tables what you use here.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.replay_cache import REPLAY_CACHE, REPLAY_RECORDER, ReplayCache, ReplayRecorder


class ReplayProtocol(HttpToolsProtocol):
    """One client connection. Without a ReplayCache in the application's state, it is uvicorn's own protocol."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replays: ReplayCache | None = self.app_state.get(REPLAY_CACHE)
        self._requests_begun = 0
        self._requests_ended = 0

    def data_received(self, data: bytes) -> None:
        if self._replays is None or not self._is_idle:
            super().data_received(data)
            return
        if response := self._replays.get(data, self.server_state.default_headers):
            self._unset_keepalive_if_required()
            self.transport.writelines(response)
            self.on_response_complete()
            return
        begun_before = self._requests_begun
        super().data_received(data)
        # The request's task exists, but runs only after this method returns, so that the endpoint finds the recorder.
        if self._requests_begun == self._requests_ended == begun_before + 1 and self.cycle.keep_alive:
            self.scope["state"][REPLAY_RECORDER] = ReplayRecorder(self._replays, data)

    def on_message_begin(self) -> None:
        self._requests_begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # After an upgrade the parser no longer sees requests, so that the connection never counts as idle again.
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self._requests_ended += 1

    @property
    def _is_idle(self) -> bool:
        return (
            self._requests_begun == self._requests_ended
            and (not self._requests_ended or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

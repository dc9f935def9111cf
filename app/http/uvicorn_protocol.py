"""uvicorn's protocol, which answers requests that come again byte by byte before it reads them.

Only where nothing else is under way on the connection: a request that came in parts, follows another one closely or
meets a client that reads too slowly goes the ordinary way, and so does one that asks for the connection to be closed.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.replay_cache import STATE, ReplayCache


class Protocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._repeats: ReplayCache | None = self.app_state.get(STATE)
        self._begun = 0
        self._ended = 0

    def data_received(self, data: bytes) -> None:
        if self._repeats is None or not self._is_idle:
            super().data_received(data)
            return
        if answer := self._repeats.get(data, self.server_state.default_headers):
            self._unset_keepalive_if_required()
            self.transport.writelines(answer)
            self.on_response_complete()
            return
        begun = self._begun
        super().data_received(data)
        if self._begun == self._ended == begun + 1 and self.cycle.keep_alive:
            self.scope["state"]["bytes"] = data

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self._ended += 1

    @property
    def _is_idle(self) -> bool:
        return (
            self._begun == self._ended
            and (not self._ended or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

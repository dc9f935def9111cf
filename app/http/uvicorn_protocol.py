"""uvicorn's HTTP protocol, extended to recognise requests with a known head before they are parsed.

Known heads (known_heads.py) are only used for a read from the socket if these preconditions hold. Each one prevents
bytes from being mistaken for a request, or a response from being written out of order:

- **The connection is idle**: each request that began has ended, and its response is complete. Otherwise the same bytes
  may be the rest of another request (within its body they are data, not a request), or a response may still have to be
  written before this one.
- **The client reads**: the write buffer is below its high-water mark. Otherwise a client that sends requests and reads
  no response would make the buffer grow without bound. The normal path applies back-pressure instead.
- **The transport is not closing**: nothing can be written to it.
- **The process is not about to end**: its responses then have another header.
- **uvicorn has nothing to do for each request**: neither a line of its access log, nor a limit of concurrency to check.

A head is learned from a request only if it arrived in one read that contained nothing else, and was not refused.

This class relies on internals of uvicorn. `pyproject.toml` pins its minor version, and `protocol_selection.py` checks
the internals at the start; add to its tables what you use here.
"""

import functools
from collections.abc import Sequence
from typing import Any, cast

from app.http.bounded_protocol import BoundedProtocol
from app.http.known_heads import KNOWN_HEADS, KnownHead, KnownHeads, scope_of
from app.http.raw_request import Header, RawRequest, split_request
from app.http.response_cycle import LeanCycle


class GatewayProtocol(BoundedProtocol):
    """One client connection. No head is known without KnownHeads in the application's state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_observed = self.access_log or self.limit_concurrency is not None
        self._heads: KnownHeads | None = None if is_observed else self.app_state.get(KNOWN_HEADS)
        self._repeated: RawRequest | None = None  # the request that is being parsed, if its head came before
        self._received_before = 0

    def data_received(self, data: bytes) -> None:
        heads = self._heads
        if heads is None or self.flow.write_paused or self.graceful_shutdown.has_begun or not self.is_idle:
            super().data_received(data)
            return
        raw = split_request(data)
        if raw and (known := heads.get(raw)):
            self._respond(heads, known, raw)
            return
        self._repeated = raw if raw and heads.is_repeated(raw) else None
        self._received_before = self.requests_received
        super().data_received(data)
        self._repeated = None

    def _respond(self, heads: KnownHeads, known: KnownHead, raw: RawRequest) -> None:
        # As for a parsed request: the keep-alive timer stops, and `on_response_complete` starts it anew.
        self._unset_keepalive_if_required()
        self.requests_received += 1
        if response := heads.answer(known, raw, self.server_state.default_headers):
            # No `writelines`, because that of asyncio before Python 3.12.9 and 3.13.2 never pauses the protocol, so
            # that a client which does not read makes the buffer grow without bound (CVE-2024-12254).
            for part in response:
                self.transport.write(part)
            self.on_response_complete()
        else:
            self.expect_100_continue = False
            self.cycle = self._create_cycle(LeanCycle, scope_of(known, raw, self.app_state), keep_alive=True)
            self.cycle.more_body = False
            self.begin_at_once(self.cycle, heads)

    def begin_arrived(self, *, at_once: bool) -> None:
        cycle = self.cycle
        is_one_request = self.requests_received == self._received_before + 1 and not self.is_receiving
        if self._repeated and is_one_request and not self.is_refused and isinstance(cycle, LeanCycle):
            cycle.on_start = functools.partial(self._learn, self._repeated, cycle)
        super().begin_arrived(at_once=at_once)

    def _learn(self, raw: RawRequest, cycle: LeanCycle, status: int, headers: Sequence[Header]) -> None:
        if self._heads and status in {200, 304} and not self.graceful_shutdown.has_begun:
            self._heads.learn(raw, cast("dict[str, Any]", cycle.scope), headers)

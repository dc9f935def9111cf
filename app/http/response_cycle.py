"""uvicorn's request-response cycle, which writes a usual response with fewer steps.

uvicorn searches each name and each value of a header by a regular expression. Here, all lines are checked at once.
A usual response has `Content-Length`, names in lower case and one piece of body, and its client reads. uvicorn's own
code writes all others, and raises its own errors.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_NAME_CHARACTERS: Final = f"{string.ascii_lowercase}{string.digits}-".encode()
_LINE_CHARACTERS: Final = bytes({*range(256)} - {*range(32), 127} | {ord("\t")})
"""All but control characters."""
_FRAMING_NAMES: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class LeanCycle(RequestResponseCycle):
    """One request and its response. `on_start`: called with status and headers when the response starts."""

    on_start: Callable[[int, Sequence[tuple[bytes, bytes]]], None] | None = None

    async def send(self, message: Any) -> None:
        if self.on_start is not None and message["type"] == "http.response.start":
            self.on_start(message["status"], message["headers"])
        is_usual = not (self.disconnected or self.flow.write_paused or self.access_log)
        if is_usual and not self.response_started and self._start(message):
            return
        if is_usual and self.response_started and self._complete(message):
            return
        await super().send(message)

    def _start(self, message: Any) -> bool:
        """Write the head. Returns whether it is a usual one; if not, nothing is written."""
        if message["type"] != "http.response.start":
            return False
        headers = [*self.default_headers, *message["headers"]]
        names = [name for name, _ in headers]
        lines = b"".join([b"%b: %b\r\n" % line for line in headers])
        # What is left of each line is its end. Of a value with a line end in it, more is left.
        is_plain = lines.translate(None, _LINE_CHARACTERS) == b"\r\n" * len(headers)
        if not is_plain or b"".join(names).translate(None, _NAME_CHARACTERS):
            return False
        framing = [header for header in headers if header[0] in _FRAMING_NAMES]
        if len(framing) != 1 or framing[0][0] != b"content-length" or not framing[0][1].isdigit():
            return False
        self.response_started = True
        self.waiting_for_100_continue = False
        self.expected_content_length = int(framing[0][1])
        self.chunked_encoding = False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join([STATUS_LINE[message["status"]], lines, end]))
        return True

    def _complete(self, message: Any) -> bool:
        """Write the body. Returns whether it is a usual one; if not, nothing is written."""
        if message["type"] != "http.response.body" or self.response_complete or self.chunked_encoding is not False:
            return False
        body = message["body"]
        is_whole = len(body) == self.expected_content_length and not message.get("more_body")
        if not is_whole or self.scope["method"] == "HEAD":
            return False
        self.expected_content_length = 0
        self.transport.write(body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True

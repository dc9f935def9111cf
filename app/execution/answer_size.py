"""The bound of an answer, which holds while the answer is built: nothing larger is ever in memory."""

from typing import Any, Final

import msgspec

from app.errors import ResultTooLargeError

MAX_BYTES: Final = 32 * 1024 * 1024
"""Size of `data` as JSON."""
MAX_OBJECTS: Final = 100_000
"""Items in the lists of an answer. Each takes memory and time before its JSON has any size."""
_KEPT_BYTES: Final = 256 * 1024
"""Length of the buffer that is kept. Most answers fit in it, and a buffer that is used again costs no page faults."""
_ADVICE: Final = "Ask for fewer objects at a time, for fewer fields, or for a large value under one alias only."


class AnswerSize:
    """Counts the items in the lists of one answer while they are completed."""

    def __init__(self) -> None:
        self.objects = 0

    def add(self, objects: int) -> None:
        """Count the items of a list. Raises ResultTooLargeError beyond MAX_OBJECTS."""
        self.objects += objects
        if self.objects > MAX_OBJECTS:
            raise _too_many_objects_error()

    def check(self) -> None:
        """Raises ResultTooLargeError if more was counted than is allowed, although the error came to nothing."""
        if self.objects > MAX_OBJECTS:
            raise _too_many_objects_error()


class AnswerEncoder:
    """Encodes answers as JSON, into a buffer that does not grow beyond MAX_BYTES.

    Python refuses to resize a bytearray while a memoryview of it exists, so that msgspec stops at its end.
    """

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()
        self._kept = self._buffer(_KEPT_BYTES)

    def encode(self, answer: Any) -> msgspec.Raw:
        """The answer as JSON. Raises ResultTooLargeError, and whatever msgspec raises for a value without JSON."""
        try:
            return self._encode_into(self._kept, _KEPT_BYTES, answer)
        except BufferError:
            pass
        try:
            return self._encode_into(self._buffer(MAX_BYTES), MAX_BYTES, answer)
        except BufferError:
            raise too_many_bytes_error() from None

    def _encode_into(self, buffer: bytearray, length: int, answer: Any) -> msgspec.Raw:
        if len(buffer) != length:  # the last answer has shortened it
            self._lengthen(buffer, length)
        with memoryview(buffer):
            self._encoder.encode_into(answer, buffer)
        return msgspec.Raw(bytes(buffer))

    def _buffer(self, length: int) -> bytearray:
        buffer = bytearray()
        self._lengthen(buffer, length)
        return buffer

    def _lengthen(self, buffer: bytearray, length: int) -> None:
        # Unlike Python's own ways to lengthen a bytearray, this one does not fill it with zeros.
        self._encoder.encode_into(0, buffer, length - 1)


def too_many_bytes_error() -> ResultTooLargeError:
    """The error of an answer that is larger than MAX_BYTES, with all of its parts."""
    message = f"The answer is larger than {MAX_BYTES // 1024**2} MiB, which is the limit. {_ADVICE}"
    return ResultTooLargeError(message, limit=MAX_BYTES)


def _too_many_objects_error() -> ResultTooLargeError:
    message = f"The answer has more than {MAX_OBJECTS} objects in its lists, which is the limit. {_ADVICE}"
    return ResultTooLargeError(message, limit=MAX_OBJECTS)

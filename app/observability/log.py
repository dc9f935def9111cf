"""Structured logging with structlog: lines for a console, or JSON lines.

Events are named by what happened: `operation` (one line for each operation), `internal_error`, `upstream_failed`,
`circuit_breaker_opened`, `redis_unavailable` and so on. No line contains a credential.
"""

import asyncio
import atexit
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from app.observability.operation_lines import OperationLines, Record
from app.observability.request_id import add_request_id

_FLUSH_SECONDS: Final = 0.02
_MAX_BUFFERED_LINES: Final = 1000
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def create_log(
    log_format: Literal["console", "json"],
    level: Literal["debug", "info", "warning", "error"],
    out: TextIO | None = None,
) -> FilteringBoundLogger:
    """A logger that writes lines of at least `level` to `out`, by default to the standard error with a buffer.

    The logger is independent: structlog's and logging's global configuration stay as they are.
    """
    out = out or cast(TextIO, BufferedLines(sys.stderr))
    processors: list[Processor] = [
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render = None
    if log_format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_as_json)]
    else:
        # If `rich` is installed, the default traceback prints the variables of every frame, and some hold credentials.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
        processors.append(renderer)
        render = functools.partial(renderer, None, "info")
    log: Any = structlog.wrap_logger(
        _LineLogger(out, OperationLines(out, render)),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    bound: FilteringBoundLogger = log.bind()
    return bound


class _LineLogger(structlog.PrintLogger):
    """The logger below structlog's processors, with a shorter way for the lines of operations."""

    def __init__(self, out: TextIO, operations: OperationLines) -> None:
        super().__init__(out)
        self.operations = operations


def operation_log(log: FilteringBoundLogger) -> Callable[[Record], None]:
    """Writes a record as `log.info("operation", **record)` does, but sooner. `log`: made by `create_log`."""
    logger = log._logger  # type: ignore[attr-defined]  # noqa: SLF001 - structlog has no public way to it
    if not isinstance(logger, _LineLogger):
        raise TypeError("The log was not made by create_log.")
    return logger.operations.write if log.is_enabled_for(logging.INFO) else lambda _: None


class BufferedLines:
    """A text stream that writes the lines of 20 ms with one system call.

    A system call for each line would cost as much as everything else about an operation that is answered from the
    response cache. The buffer is written when it reaches 1000 lines, at once if no event loop runs, and at exit.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._buffer: list[str] = []
        self._is_flush_scheduled = False
        self.isatty = out.isatty
        atexit.register(self._write_buffer)

    def write(self, text: str) -> None:
        self._buffer.append(text)

    def flush(self) -> None:
        """Write the buffer soon. structlog calls this after every line."""
        if self._is_flush_scheduled and len(self._buffer) < _MAX_BUFFERED_LINES:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_buffer()
            return
        if self._is_flush_scheduled:
            self._write_buffer()
        else:
            self._is_flush_scheduled = True
            loop.call_later(_FLUSH_SECONDS, self._write_buffer)

    def _write_buffer(self) -> None:
        text, self._buffer, self._is_flush_scheduled = "".join(self._buffer), [], False
        if text and not self._out.closed:
            self._out.write(text)
            self._out.flush()


def _as_json(values: dict[str, Any], **_: Any) -> str:
    # orjson takes a tenth of the time that the standard library takes for a line.
    return orjson.dumps(values, default=repr).decode()

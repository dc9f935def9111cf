"""Logs: structlog, for a console or as JSON lines. Nothing here ever sees a credential."""

import asyncio
import atexit
import logging
import sys
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

_MOMENT: Final = 0.02
"""Seconds."""
_MOST_HELD: Final = 1000
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def create_log(
    form: Literal["console", "json"], level: Literal["debug", "info", "warning", "error"], out: TextIO | None = None
) -> FilteringBoundLogger:
    """A logger of its own: nothing global is configured."""
    out = out or cast(TextIO, BufferedLines(sys.stderr))
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_as_json)]
    else:
        # The default prints every frame's variables where `rich` is installed, and credentials are among them.
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain))
    log: Any = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    bound: FilteringBoundLogger = log.bind()
    return bound


class BufferedLines:
    """Writes what comes within a moment together: a line each costs as much as all else about a kept answer.

    Nothing waits where no event loop runs, or where there is much of it; the rest is written when the process ends.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._held: list[str] = []
        self._is_due = False
        self.isatty = out.isatty
        atexit.register(self._write_out)

    def write(self, text: str) -> None:
        self._held.append(text)

    def flush(self) -> None:
        if self._is_due and len(self._held) < _MOST_HELD:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._write_out()
            return
        if self._is_due:
            self._write_out()
        else:
            self._is_due = True
            loop.call_later(_MOMENT, self._write_out)

    def _write_out(self) -> None:
        text, self._held, self._is_due = "".join(self._held), [], False
        if text and not self._out.closed:
            self._out.write(text)
            self._out.flush()


def _as_json(values: dict[str, Any], **_: Any) -> str:
    # A tenth of what the standard library takes for a line.
    return orjson.dumps(values, default=repr).decode()

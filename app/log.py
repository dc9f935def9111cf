"""Logs: structlog, for a console or as JSON lines. Nothing here ever sees a credential."""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def create_log(
    form: Literal["console", "json"], level: Literal["debug", "info", "warning", "error"], out: TextIO | None = None
) -> FilteringBoundLogger:
    """A logger of its own: nothing global is configured."""
    out = out or sys.stderr
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


def _as_json(values: dict[str, Any], **_: Any) -> str:
    # A tenth of what the standard library takes for a line.
    return orjson.dumps(values, default=repr).decode()

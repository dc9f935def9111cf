"""Limits on client connections. `BoundedProtocol` applies them; see its class."""

import resource
from dataclasses import dataclass
from typing import Final

_RESERVED_FILES: Final = 200
"""Open files that connections leave to the rest of the process: LangSmith, Redis, and connections being refused."""


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """
    Args:
        request_seconds: time from the first byte of a request to its last.
        stalled_seconds: time in which a client must read at least one byte of a response that waits for it.
        max_connections: open connections of one process.
    """

    request_seconds: float = 10
    stalled_seconds: float = 60
    max_connections: int = 1000


def limits_of_process() -> ConnectionLimits:
    """The limits, with no more connections than this process may open files (`ulimit -n`) after its other needs.

    Without that, the operating system would refuse connections to LangSmith for the sake of clients' connections.
    """
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return ConnectionLimits()
    return ConnectionLimits(max_connections=max(1, min(ConnectionLimits.max_connections, open_files - _RESERVED_FILES)))

"""The directory in which worker processes add up their metrics.

prometheus_client maps files of this directory into memory. A write to a mapped page for which the disk has no room
kills the process with SIGBUS, which no handler can turn into an error, and each worker that replaces it would end the
same way. So the room is checked before workers start. Without room, each worker counts for itself.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from structlog.typing import FilteringBoundLogger

from app.observability.metrics import MULTIPROCESS_DIRECTORY

_BYTES_PER_WORKER: Final = 1 << 20
"""Room for the files of one worker. Observed: five files of 64 KiB each, which double when they are full."""
_ATTEMPTS_TO_REMOVE: Final = 5
_TEMPORARY: Final = "_SESSIONS_GATEWAY_METRICS"
"""Environment variable with the directory, if it is to be removed at the end."""


def has_room(free_bytes: int, workers: int) -> bool:
    """Whether a disk with so many free bytes has room for the metrics of so many workers."""
    return free_bytes >= workers * _BYTES_PER_WORKER


class MetricsDirectory:
    """The directory that the environment names. Only processes that start with the variable set use it.

    log: gets one warning if the workers cannot add up their metrics.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def require_room(self, workers: int) -> None:
        """Take the directory out of the environment if it has no room for so many workers, which are to be started."""
        if (path := os.environ.get(MULTIPROCESS_DIRECTORY)) is None:
            return
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
            problem = None if has_room(shutil.disk_usage(path).free, workers) else "No space left on device"
        except OSError as exc:
            problem = exc.strerror
        if problem:
            del os.environ[MULTIPROCESS_DIRECTORY]
            self.warn(problem)

    def warn(self, reason: str | None) -> None:
        self._log.warning("metrics_per_worker", reason=reason)


@contextmanager
def metrics_directory(log: FilteringBoundLogger) -> Iterator[MetricsDirectory]:
    """The directory that the environment names, or a temporary one."""
    directory = MetricsDirectory(log)
    if MULTIPROCESS_DIRECTORY in os.environ:
        yield directory
        return
    try:
        path = mkdtemp(prefix="sessions-gateway-")
    except OSError as exc:
        directory.warn(exc.strerror)
        yield directory
        return
    os.environ.update({MULTIPROCESS_DIRECTORY: path, _TEMPORARY: path})
    try:
        yield directory
    finally:
        os.environ.pop(MULTIPROCESS_DIRECTORY, None)
        remove_temporary_directory()


def remove_temporary_directory() -> None:
    """Remove the directory, unless somebody else chose it. A worker does this if its supervisor was killed."""
    if path := os.environ.pop(_TEMPORARY, None):
        # Another worker that ends at the same time may write its last file while this one removes the others.
        for _ in range(_ATTEMPTS_TO_REMOVE):
            shutil.rmtree(path, ignore_errors=True)
            if not Path(path).exists():
                break

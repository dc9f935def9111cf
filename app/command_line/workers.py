"""Several worker processes, and the supervisor that starts, watches and replaces them.

The supervisor is uvicorn's. It answers signals: SIGTERM and SIGINT end all workers gracefully, SIGHUP replaces them one
after another, each when its successor is ready.
"""

import atexit
import multiprocessing
import os
import signal
import socket
import threading
from typing import Final

import uvicorn
from structlog.typing import FilteringBoundLogger
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from app.command_line.metrics_directory import MetricsDirectory, remove_temporary_directory

HEALTH_CHECK_SECONDS: Final = 20
"""Time in which a worker must answer its supervisor. uvicorn's own 5 seconds are too short for a start without CPU."""


class Workers(Multiprocess):
    """uvicorn's supervisor, which here says why a worker ended, and stops at a second signal without waiting.

    Args:
        config: uvicorn's configuration; its app is an import string.
        listener: the socket that all workers accept connections from.
        log: gets a line for each worker that is replaced.
        metrics: where the workers add up their metrics.
    """

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, log: FilteringBoundLogger, metrics: MetricsDirectory
    ) -> None:
        super().__init__(config, [listener])
        self._log = log
        self._metrics = metrics
        self.failed_to_start = False

    def init_processes(self) -> None:
        self._metrics.require_room(self.processes_num)
        super().init_processes()

    def keep_subprocess_alive(self) -> None:
        for each in self.processes:
            each.child_conn.close()  # the worker has its own, and so a ping to one that dies ends with it
        was_alive = {each: each.process.is_alive() for each in self.processes}
        if ended := [each for each, is_alive in was_alive.items() if not is_alive]:
            self._metrics.require_room(len(ended))
        super().keep_subprocess_alive()
        self.failed_to_start = any(each.exitcode == STARTUP_FAILURE for each in self.processes)
        for each in was_alive.keys() - self.processes:
            self._log.warning("worker_replaced", worker=each.pid, reason=_reason(each, was_alive=was_alive[each]))

    def restart_all(self) -> None:
        self._metrics.require_room(1)
        super().restart_all()

    def terminate_all(self) -> None:
        """Send SIGTERM to the workers, which are the only ones then that hold the listening socket.

        While this process held it too, connections would wait there for nobody.
        """
        super().terminate_all()
        for each in self.sockets:
            each.close()

    def join_all(self) -> None:
        """Wait for the workers. uvicorn's own version ignores signals meanwhile."""
        while running := [each.process for each in self.processes if each.process.is_alive()]:
            if {signal.SIGINT, signal.SIGTERM}.intersection(self.signal_queue):
                for process in running:
                    process.kill()
            running[0].join(timeout=0.1)


def _reason(ended: Process, *, was_alive: bool) -> str:
    """Why a worker was replaced. One that hung was killed by its supervisor."""
    code = ended.exitcode or 0
    if was_alive and code == -signal.SIGKILL:
        return f"no answer for {HEALTH_CHECK_SECONDS} seconds"
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name


def end_with_supervisor() -> None:
    """End this worker when its supervisor is gone, however it ended, so that it does not keep the port.

    The listening socket is closed at once, and requests in flight are finished, as after SIGINT. A worker that holds
    the interpreter's lock for long ends when it releases it: what Linux can send to it at the end of its supervisor
    (PR_SET_PDEATHSIG) is either handled by Python too, or ends it without finishing requests.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()  # waits for a pipe that only the supervisor holds
        atexit.register(remove_temporary_directory)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()

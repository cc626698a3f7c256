"""The process that writes the signed log, as the supervisor's child.

Law: it ends when its supervisor does, however that ended, but not before the last worker: the lifeline and SIGTERM only
say that it may.
"""

import contextlib
import signal
import socket
from typing import Final

from authz.serve.log_writer import LogWriter
from authz.serve.supervisor.worker import LISTENING
from authz.serve.supervisor.worker_context import WorkerContext
from authz.settings import Settings
from authz.system import signals
from authz.system.clock import SystemClock
from authz.system.threads import Background

_MARGIN_S: Final = 5.0
_END: Final = frozenset({signal.SIGTERM, signal.SIGINT})


class _Ending:
    """Whether the process is to end. A plain value: a signal's handler may set it wherever the thread is."""

    def __init__(self) -> None:
        self.now = False

    def set(self) -> None:
        self.now = True


def run(settings: Settings, context: WorkerContext) -> int:
    """Write the log until supervisor and workers have ended; returns the exit status.

    Raises:
        ConfigError: the log cannot be written, or is not what was signed; or a key cannot be used.
        AuditBrokenError: the log was changed by something else while it was written.
    """
    ending, shutdown = _Ending(), settings.shutdown
    with socket.socket(fileno=context.lifeline) as lifeline, signals.handled(ending.set, lambda: None):
        # The supervisor blocks signals, and we inherit that: one that came while we started must find its handler.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        writer = LogWriter(settings, SystemClock(), lambda text: print(text, flush=True))  # noqa: T201 what it is for
        Background(_follow, args=(lifeline, ending), name="lifeline").start()
        writer.begin()
        with contextlib.suppress(OSError):  # the supervisor is gone
            lifeline.sendall(LISTENING)
        status = writer.run(lambda: ending.now, shutdown.longest + _MARGIN_S)
        signal.pthread_sigmask(signal.SIG_BLOCK, _END)  # one that comes now must not end us badly
        return status


def _follow(lifeline: socket.socket, ending: _Ending) -> None:
    """Wait for the supervisor's end, the only event on this socket."""
    with contextlib.suppress(OSError):
        while lifeline.recv(1):
            pass
    ending.set()

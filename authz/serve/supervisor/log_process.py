"""The process that writes the signed log, as the supervisor's child.

Law: it ends when its supervisor does, however that ended, but not before the last worker: the lifeline and SIGTERM only
say that it may.
"""

import contextlib
import logging
import signal
import socket
import time
from pathlib import Path
from typing import Final

from authz.serve.log_writer import LogWriter, say_unwritable
from authz.serve.supervisor.worker import LISTENING
from authz.serve.supervisor.worker_context import WorkerContext
from authz.settings import Settings
from authz.system import signals
from authz.system.clock import SystemClock
from authz.system.threads import Background

log = logging.getLogger(__name__)

_MARGIN_S: Final = 5.0
_RETRY_S: Final = 0.25


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
        Background(_follow, args=(lifeline, ending), name="lifeline").start()
        listens = _Listens(lifeline)
        writer = _opened(settings, ending, listens)
        if writer is None:
            return 1
        writer.begin()
        listens.say()
        return writer.run(lambda: ending.now, shutdown.longest + _MARGIN_S)


class _Listens:
    """Tells the supervisor, once, that workers can start."""

    def __init__(self, lifeline: socket.socket) -> None:
        self._lifeline: socket.socket | None = lifeline

    def say(self) -> None:
        lifeline, self._lifeline = self._lifeline, None
        if lifeline is not None:
            with contextlib.suppress(OSError):  # the supervisor is gone
                lifeline.sendall(LISTENING)


def _opened(settings: Settings, ending: _Ending, listens: _Listens) -> LogWriter | None:
    """The writer, as soon as the log's disk lets it be opened; None if the end comes before.

    It is tried once also at the end: what the workers left is still to be logged.
    """
    clock, said = SystemClock(), ""
    while True:
        try:
            return LogWriter(settings, clock, lambda text: print(text, flush=True))  # noqa: T201 what it is for
        except OSError as error:
            text = say_unwritable(Path(settings.spool), clock, error)
        if text != said:
            log.error("%s", text)
        said = text
        if ending.now:
            return None
        listens.say()  # workers refuse or count until then: the settings say which
        time.sleep(_RETRY_S)


def _follow(lifeline: socket.socket, ending: _Ending) -> None:
    """Wait for the supervisor's end, the only event on this socket."""
    with contextlib.suppress(OSError):
        while lifeline.recv(1):
            pass
    ending.set()

"""Handles the signals that mean something to the gate, and ignores those that must not end it.

Law: a signal that is sent by mistake, to the wrong process or too early, is ignored. SIGTERM and SIGINT end the gate,
SIGHUP reopens the log and reads the policy once the process serves. All others keep their meaning.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

MEANINGLESS: Final = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGHUP})


def ignore() -> None:
    """Ignore these signals; SIGHUP until the process handles it. Main thread only.

    New programs that this process starts inherit this, so that such a signal never ends a worker while it starts.
    """
    for number in MEANINGLESS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def handled(stop: Callable[[], None], hang_up: Callable[[], None]) -> Iterator[None]:
    """Handle SIGTERM, SIGINT and SIGHUP; only the main thread may: elsewhere (in tests) this does nothing.

    Afterwards they are ignored: what is left is to end in order, and one more signal is not to end the process in the
    middle of that. To block them would not do: a signal to a process goes to any of its threads that does not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())
    signal.signal(signal.SIGHUP, lambda _number, _frame: hang_up())
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

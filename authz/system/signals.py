"""Ignores signals that have no meaning for the gate, and must not end it.

Law: a signal that is sent by mistake, to the wrong process or too early, is ignored. SIGTERM and SIGINT end the gate,
SIGHUP reopens the log and reads the policy once the process serves. All others keep their meaning.
"""

import signal
from typing import Final

MEANINGLESS: Final = frozenset({signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGHUP})


def ignore() -> None:
    """Ignore these signals; SIGHUP until the process handles it. Main thread only.

    New programs that this process starts inherit this, so that such a signal never ends a worker while it starts.
    """
    for number in MEANINGLESS:
        signal.signal(number, signal.SIG_IGN)

"""A command in a real terminal of a given width: what it prints there, and how it ends."""

import fcntl
import functools
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

COLOR = re.compile(r"\x1b\[[0-9;]*m")
_PATIENCE_S = 60


class Shown(NamedTuple):
    """What was written, and the exit status."""

    text: str
    status: int

    @property
    def lines(self):
        """The lines as people see them, without colours."""
        return COLOR.sub("", self.text).splitlines()


def in_terminal(*words, folder, columns=80, until="", **environment):
    """Run `authz` with these words in a terminal; standard output and errors are both there.

    A command that does not end by itself is interrupted when it has written `until`.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: text for name, text in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    environment = {**inherited, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "authz", *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        interrupt = functools.partial(process.send_signal, signal.SIGINT)
        text = _all(ours, time.monotonic() + _PATIENCE_S, until.encode(), interrupt)
        status = process.wait(_PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return Shown(text.decode().replace("\r\n", "\n"), status)


def _all(terminal, deadline, until, interrupt):
    """Everything until the last one who can write has gone; `interrupt` is called once, when `until` was written."""
    found = b""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        try:
            more = os.read(terminal, 1 << 16) if ready else b""
        except OSError:  # EIO: no one has it open any more
            break
        if not more:
            break
        found += more
        if until and until in found:
            interrupt()
            until = b""
    return found

"""Free ports for programs whose address must be known before they listen.

A port that the system picks (bind to port 0) is free again as soon as the socket is closed, and the system may give it
to the next outgoing connection. So these come from below the ranges that systems pick from (Linux from 32768, others
from 49152), and one counter per user, which processes share, repeats none of them within 12,000.
"""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
FIRST: Final = 20_000
END: Final = 32_000


def free_ports(count: int) -> range:
    """`count` TCP ports in a row that nothing uses on the loopback address.

    Raises:
        OSError: there are none, or the counter's file cannot be opened.
    """
    counter = Path(tempfile.gettempdir()) / f"authz-ports-{os.getuid()}"
    with os.fdopen(os.open(counter, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        start = int(text) if text.isdecimal() else random.randrange(FIRST, END)  # noqa: S311 no secret
        for _ in range(FIRST, END, count):
            if not FIRST <= start <= END - count:
                start = FIRST
            ports = range(start, start := start + count)
            if _are_free(ports):
                file.seek(0)
                file.write(str(start))
                file.truncate()
                return ports
    raise OSError(f"no {count} ports in a row between {FIRST} and {END} are free on {HOST}")


def _are_free(ports: range) -> bool:
    with ExitStack() as held:
        try:
            for port in ports:
                held.enter_context(socket.socket()).bind((HOST, port))
        except OSError:
            return False
    return True

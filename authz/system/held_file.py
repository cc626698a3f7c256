"""Files that one process holds for as long as it runs: it has the lock, and no other gets it.

Law: the system frees the lock with the last descriptor, however the process ended. A file itself says nothing.
"""

import fcntl
import logging
import os
import time
from pathlib import Path
from typing import Final

from authz.system.regular_file import open_regular

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.05


def held(path: Path, wait_s: float = 0.0) -> int:
    """Hold a file, made when it is missing; returns the descriptor that holds it.

    `wait_s`: so long is waited for another process that holds it, and that is logged.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be opened.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    until, logged = time.monotonic() + wait_s, wait_s < 1.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                if not logged:
                    log.warning("another process holds %s: waiting up to %.0f s for its end", path, wait_s)
                    logged = True
                time.sleep(_LOOK_S)
                continue
            os.close(descriptor)
            raise
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def is_held(path: Path) -> bool:
    """Whether a process holds the file.

    Raises:
        OSError: it cannot be known.
    """
    if not path.exists():
        return False
    try:
        os.close(held(path))
    except BlockingIOError:
        return True
    return False

"""One gate per state folder: two would restore each other's policy.

Law: the lock is the kernel's, on a file in the folder, and belongs to the process that holds it: the supervisor, or the
one process of a gate without workers. It ends with that process, however that ends, so a restart after a kill finds
nothing left over; replaced workers do not affect it. If the folder cannot be locked for another reason, that is logged,
and the gate serves (Law 4 of `authz.system.state_folder`).
"""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem
from authz.system.regular_file import open_regular, why
from authz.system.state_folder import opened_folder

log = logging.getLogger(__name__)

_NAME: Final = ".lock"
_LONGEST: Final = 300


@contextlib.contextmanager
def held(path: Path | None, settings: str) -> Iterator[None]:
    """Hold the folder during the block; without a folder there is nothing to hold.

    Raises:
        ConfigError: another gate holds it.
    """
    descriptor = _locked(path, settings) if path is not None else None
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(path: Path, settings: str) -> int | None:
    try:
        with opened_folder(path, make=True) as folder:
            place = Path(f"/proc/self/fd/{folder}/{_NAME}")
            descriptor = open_regular(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.error("state: %s cannot be locked: %s", path, why(error))  # noqa: TRY400 the text says it all
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, _LONGEST, 0).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        message = f"state: another gate has the folder {path}: {holder}"
        hint = "give each gate a folder of its own, or end the other one first"
        raise ConfigError([Problem(settings, 0, 0, message, hint)]) from None
    except OSError as error:
        log.error("state: %s cannot be locked: %s", path, why(error))  # noqa: TRY400 the text says it all
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return descriptor

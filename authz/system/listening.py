"""Makes room for a Unix socket where an earlier process may have left one, and says why a TCP address is not available.

Law: only the socket of a process that is gone is removed. A socket that answers, or any other file, stays: an error.
"""

import contextlib
import socket
import stat
from pathlib import Path
from typing import Final

from authz.core.addresses import is_port

_PATIENCE_S: Final = 1.0  # a live process may be too busy to accept


def clear_the_way(address: str) -> None:
    """Remove the socket file of a process that is gone. TCP addresses need nothing.

    Raises:
        OSError: a process listens there, or the path is something else.
    """
    if not address.startswith("unix:"):
        return
    path = Path(address.removeprefix("unix:"))
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"cannot listen on {address}: a file that is not a socket is in the way")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PATIENCE_S)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
            except (TimeoutError, BlockingIOError):  # its backlog is full
                pass
        raise OSError(f"cannot listen on {address}: another process does")


def why_not(address: str) -> str:
    """`: ` and the system's reason why nothing can listen at a TCP address; "" where there is none, or it is unknown.

    gRPC keeps the reason to itself, so the system is asked again.
    """
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or not is_port(port):
        return ""
    try:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        socket.create_server((host.strip("[]"), int(port)), family=family).close()
    except OSError as error:
        return f": {error.strerror}"
    return ""

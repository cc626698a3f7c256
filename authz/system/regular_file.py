"""Opens and reads files that another user may have put there: settings, policy, keys, secrets, logs.

Law 1: opening never waits. A FIFO in place of a file would otherwise block the thread until a writer comes, which may
be never.
Law 2: only a regular file is a file. A folder, a FIFO, a socket and a device are refused by kind, whatever is behind
them.
Law 3: the size is checked before the first byte is read, and no more than the limit is ever read: a file of three
gigabytes costs nothing. A file that grows meanwhile is cut off and refused.
Every refusal is an `OSError` whose `strerror` says what is wrong; it never holds a byte of the file.
"""

import contextlib
import os
import stat
from errno import EFBIG, EINVAL
from pathlib import Path
from typing import Final

from authz.core.documents.quantities import size_text

MOST_SECRET_BYTES: Final = 1 << 20
"""Largest key, certificate, token or secret that is read."""

_FLAGS: Final = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(
    path: str | os.PathLike[str], flags: int = os.O_RDONLY, mode: int = 0o600, *, devices: bool = False
) -> int:
    """The descriptor of the regular file at `path`; the caller closes it.

    With `devices` it may also be a character device such as `/dev/null`, for what is written and never read.

    Raises:
        OSError: it cannot be opened, or it is not a file.
    """
    try:
        with contextlib.suppress(FileNotFoundError):  # opening a device may already do something
            refuse_others(Path(path).stat(follow_symlinks=not flags & os.O_NOFOLLOW).st_mode, path, devices=devices)
        descriptor = os.open(path, flags | _FLAGS, mode)
    except ValueError:
        raise OSError(EINVAL, "the path holds NUL, or a character that file names cannot have") from None
    try:
        refuse_others(os.fstat(descriptor).st_mode, path, devices=devices)  # the name may stand for another file by now
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The bytes of the regular file at `path`.

    Raises:
        OSError: it cannot be opened, is not a file, or holds more than `most_bytes`.
    """
    return read_with_status(path, most_bytes)[0]


def read_with_status(path: str | os.PathLike[str], most_bytes: int) -> tuple[bytes, os.stat_result]:
    """As `read_regular`, with the system's status of exactly that file before it was read."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        data = file.read(most_bytes + 1) if status.st_size <= most_bytes else None
    if data is None or len(data) > most_bytes:
        raise OSError(EFBIG, f"it is larger than {size_text(most_bytes)}", os.fspath(path))
    return data, status


def read_secret(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a small file: a key, a certificate, a token or a secret.

    Raises:
        OSError: see `read_regular`.
    """
    return read_regular(path, MOST_SECRET_BYTES)


def why(error: OSError) -> str:
    """What is wrong, in one phrase without the path."""
    return error.strerror or str(error)


def refuse_others(mode: int, path: str | os.PathLike[str], *, devices: bool) -> None:
    """Raise an OSError that names the kind of file if a file of this mode is not a regular file."""
    if devices and stat.S_ISCHR(mode):
        return
    if stat.S_ISREG(mode) or stat.S_ISLNK(mode):  # a link that must not be followed is refused by the system
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise OSError(EINVAL, f"it is {kind}, not a regular file", os.fspath(path))

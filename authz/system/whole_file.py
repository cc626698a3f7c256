"""Writes a file whole or not at all: keys, secrets, tables, and others that a reader must never see half-written.

Law 1: the bytes go into a draft beside the file, with the file's mode from its first byte on. Only a draft that is
complete, and on the disk, gets the file's name, in one step.
Law 2: a killed writer's left-over never blocks a later one: drafts have random names (process ids are reused, in a
container each is 1). The next writer removes drafts without a living writer, which holds a lock on its draft.
"""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from authz.system.regular_file import open_regular

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS: Final = 0o077


def write_whole(
    path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o600, replace: bool = False, durable: bool = True
) -> bool:
    """Make the file `path` with these bytes. Returns False if there is one already, unless it may be replaced.

    Args:
        path: where; its folder must exist.
        data: the content, whole or in pieces.
        mode: of the new file; if others may read it too, less the process's umask.
        replace: whether a file that is there is replaced.
        durable: whether it is on the disk when this returns. Without it a loss of power may leave half a file.

    Raises:
        OSError: it cannot be written; what was there stays as it was.
    """
    _remove_left_overs(path)
    draft, descriptor = _draft(path, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if not mode & _OTHERS:
                os.fchmod(descriptor, mode)
            file.writelines([data] if isinstance(data, bytes) else data)
            file.flush()
            if durable:
                os.fsync(descriptor)
            if replace:
                draft.replace(path)
            else:
                try:
                    os.link(draft, path)  # unlike a rename, this leaves a file alone that another process just made
                except FileExistsError:
                    return False
    finally:
        draft.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _draft(path: Path, mode: int) -> tuple[Path, int]:
    """A new draft, and its descriptor, whose lock shows that the draft's writer is alive."""
    while True:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
        descriptor = os.open(draft, _FLAGS, mode)
        with contextlib.suppress(OSError):  # another writer looks at it just now, or locks do not work here
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if draft.exists():
            return draft, descriptor
        os.close(descriptor)  # removed as a left-over just before it was locked


def _remove_left_overs(path: Path) -> None:
    """Remove the drafts whose writers were killed. A draft that cannot be removed does no harm."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.draft")
    for draft in path.parent.iterdir():
        if ours.fullmatch(draft.name) is None:
            continue
        with contextlib.suppress(OSError):
            descriptor = open_regular(draft, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.unlink()
            finally:
                os.close(descriptor)

"""Closed files: compressed when there is time, and removed when they are old enough.

Law 1: a file has its compressed form whole, and on the disk, before the other one is removed.
Law 2: only files leave, oldest first. The tiles stay, so that what was signed can still be continued and proved.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from authz.audit.layout import FILE_MODE, ClosedFile, closed_files, compressed
from authz.system.regular_file import open_regular
from authz.system.whole_file import write_whole

_CHUNK: Final = 1 << 20
_LEVEL: Final = 6
_GZIP: Final = 16 + zlib.MAX_WBITS


def compress_one(folder: Path) -> Path | None:
    """Compress the oldest closed file that is not; returns its new place, None if there is nothing to do.

    Nothing else may remove closed files meanwhile: `AuditLog.compress` sees to that.

    Raises:
        OSError: it stays as it was.
    """
    for file in closed_files(folder):
        if not file.is_compressed:
            place = compressed(file.path)
            status = file.path.stat()
            write_whole(place, _gzip(file.path), mode=FILE_MODE, replace=True)
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
            file.path.unlink(missing_ok=True)
            return place
        file.path.with_suffix("").unlink(missing_ok=True)  # a killed process left it, complete in both forms
    return None


def _gzip(path: Path) -> Iterator[bytes]:
    """The compressed bytes. They follow from the content alone: no name and no time is in them."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    descriptor = open_regular(path, os.O_RDONLY | os.O_NOFOLLOW)  # a link may lead out of the log
    with os.fdopen(descriptor, "rb") as file:
        while data := file.read(_CHUNK):
            yield packer.compress(data)
    yield packer.flush()


def outdated(files: Sequence[ClosedFile], *, now: float, seconds: float, most_bytes: int) -> list[ClosedFile]:
    """Which of the closed files, oldest first, are to be removed; 0 is no limit. `now` is in seconds since the epoch.

    Raises:
        OSError: a file's size and time cannot be read.
    """
    status = [file.path.stat() for file in files]
    total = sum(one.st_size for one in status)
    found = []
    for file, one in zip(files, status, strict=True):
        if not (seconds and now - one.st_mtime > seconds) and not (most_bytes and total > most_bytes):
            break
        found.append(file)
        total -= one.st_size
    return found

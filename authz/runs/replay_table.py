"""Replay cache of used proofs: one table in shared memory, for the workers of one gate only.

Law 1: `first` returns True once for a digest until its time is over, whichever process asks. A process killed in the
middle does not change that: its lock goes with it, and a half-made entry belongs to a call that got no answer. A half
entry never takes another's place: the entry that it replaces is evicted first, the digest is written next, and the time
that makes it valid last, in one aligned store.
Law 2: bounded, and fails closed when full. Digests are spread over buckets of `BUCKET` entries by a hash with the
table's own secret, so that a caller cannot aim at one. A bucket with only valid entries raises ReplaysFullError: with
half of the slots in use for fewer than one call in a million, with three quarters for one in sixty. A call takes a slot
for 61 s, or up to 121 s if the task's clock is ahead: half of 2**17 slots (3 MB) is a thousand calls a second.
Law 3: neither a clock that steps back nor a new table lets a used proof through. Each bucket records the latest end of
all that it evicted; a digest that ends no later may be one of those, and is not `first`. So after a step back calls are
refused where entries were evicted meanwhile, for a minute at most, and none is let through twice. A new table begins as
if it had evicted everything that could be used before it existed (`floor`).
Law 4: the file is ours alone: made in one step with mode 0600, opened without following a link, in a folder that only
we may write to; otherwise it is not used. Of a proof it holds only a keyed hash.

An open table belongs to the process that opened it; a fork would share its lock, and must not use it.
"""

import contextlib
import fcntl
import mmap
import os
import stat
import struct
import threading
import time
from collections.abc import Iterator
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Final

from authz.core.errors import ReplaysFullError
from authz.core.reasons import Reason
from authz.system.whole_file import write_whole

BUCKET: Final = 64
DIGEST_BYTES: Final = 16

_MAGIC: Final = b"authz replays 1\n"
_SECRET_BYTES: Final = 32
_HEADER: Final = struct.Struct(f"<{len(_MAGIC)}sQ{_SECRET_BYTES}s")
_HEADER_BYTES: Final = 64
_TIME_BYTES: Final = 8
_TIMES: Final = struct.Struct(f"<{BUCKET}d")
# A bucket: the latest end of what it evicted, the ends of its entries (0 where there is none), their digests.
_ENDS: Final = _TIME_BYTES
_DIGESTS: Final = _ENDS + BUCKET * _TIME_BYTES
_STRIDE: Final = _DIGESTS + BUCKET * DIGEST_BYTES
_SAMPLE: Final = 128  # buckets
_MODE: Final = 0o600
_PRIVATE: Final = 0o077
_FOREIGN_WRITE: Final = 0o022
_LOCK_S: Final = 0.002  # the serving thread waits no longer for another process, which holds a bucket for some 10 µs
_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of Linux on 64 bits: type, whence, start, length, pid


class Replays:
    """The table in the file `path`, made when it is missing. The folder may be a symbolic link, the file may not.

    Args:
        path: where it is, the same for all workers.
        slots: maximum number of entries, rounded up to whole buckets.
        floor: in a new table, a digest that ends no later than this is not `first`.

    Raises:
        OSError: the file cannot be made or used, is not ours alone, or was made for another number of slots.
    """

    def __init__(self, path: Path, slots: int, *, floor: float = 0.0) -> None:
        if slots < 1:
            raise ValueError("a replay table needs slots")
        self._buckets = -(-slots // BUCKET)
        self._process = os.getpid()
        self._thread = threading.Lock()
        self._descriptor = _opened(path.parent.resolve() / path.name, self._buckets, floor)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._descriptor)
            self._secret = _secret(self._descriptor, self._buckets, path.name)
            self._map = mmap.mmap(self._descriptor, _size(self._buckets))
            undo.pop_all()
        self._times = memoryview(self._map).cast("d")

    @property
    def slots(self) -> int:
        """Maximum number of entries."""
        return self._buckets * BUCKET

    def first(self, digest: bytes, until: float, now: float) -> bool:
        """Whether `digest` is new; it is kept until the time `until`. Times are wall times.

        False also if that cannot be known: the clock went back, or `until` is over.

        Raises:
            ReplaysFullError: there is no room for it, or another process holds its bucket.
        """
        if len(digest) != DIGEST_BYTES or not isfinite(until) or os.getpid() != self._process:
            raise ValueError("not a digest, not a time, or a process that shares its lock with another")
        if not until > now:
            return False
        kept = blake2b(digest, digest_size=DIGEST_BYTES, key=self._secret).digest()
        bucket = int.from_bytes(kept[:8], "little") % self._buckets
        with self._thread:
            self._lock(bucket)
            try:
                return self._insert(_HEADER_BYTES + bucket * _STRIDE, kept, until, now)
            finally:
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, bucket))

    def used(self, now: float) -> float:
        """How much of the table is valid at the wall time `now`, 0 to 1, by a sample of buckets; nothing is locked."""
        step = max(1, self._buckets // _SAMPLE)
        looked_at = range(0, self._buckets, step)
        counting = 0
        for bucket in looked_at:
            ends = _TIMES.unpack_from(self._map, _HEADER_BYTES + bucket * _STRIDE + _ENDS)
            counting += sum(end > now for end in ends)
        return counting / (len(looked_at) * BUCKET)

    def close(self) -> None:
        """Close the file, which stays."""
        self._times.release()
        self._map.close()
        os.close(self._descriptor)

    def _insert(self, start: int, kept: bytes, until: float, now: float) -> bool:
        """`first`, with the bucket at `start` locked."""
        times = self._times
        given_up = start // _TIME_BYTES
        if until <= times[given_up]:
            return False
        ends = _TIMES.unpack_from(self._map, start + _ENDS)
        place = self._find(start + _DIGESTS, kept)
        if place is not None and ends[place] > now:
            return False
        oldest = min(ends)
        if oldest > now:
            raise ReplaysFullError(f"all {BUCKET} entries of a bucket are valid for another {oldest - now:.0f} s")
        place = ends.index(oldest) if place is None else place
        # In this order, whatever happens in between (Law 1).
        times[given_up] = max(times[given_up], ends[place])
        times[given_up + 1 + place] = 0.0
        self._map[start + _DIGESTS + place * DIGEST_BYTES : start + _DIGESTS + (place + 1) * DIGEST_BYTES] = kept
        times[given_up + 1 + place] = until
        return True

    def _find(self, digests: int, kept: bytes) -> int | None:
        """Where in the bucket the digest is."""
        end = digests + BUCKET * DIGEST_BYTES
        found = self._map.find(kept, digests, end)
        while found >= 0 and (found - digests) % DIGEST_BYTES:  # the end of one digest and the beginning of the next
            found = self._map.find(kept, found + 1, end)
        return None if found < 0 else (found - digests) // DIGEST_BYTES

    def _lock(self, bucket: int) -> None:
        """Lock the bucket for this open file. The kernel releases the lock of a process that is killed.

        The lock belongs to the open file, not to the process, so that two tables of one process exclude each other too
        and none loses its lock because another one is closed. This does not wait for a process that was stopped while
        it held the lock.
        """
        wanted = _range(fcntl.F_WRLCK, bucket)
        deadline = 0.0
        while True:
            try:
                fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, wanted)
            except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that another process holds
                now = time.monotonic()
                deadline = deadline or now + _LOCK_S
                if now > deadline:
                    text = f"another process has held a bucket for more than {_LOCK_S} s"
                    raise ReplaysFullError(text, Reason.REPLAY_CACHE_LOCKED) from None
                time.sleep(0)
            else:
                return


def _range(kind: int, bucket: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, bucket, 1, 0)


def _size(buckets: int) -> int:
    return _HEADER_BYTES + buckets * _STRIDE


def _opened(path: Path, buckets: int, floor: float) -> int:
    """The file, made when it is missing: whole or not at all, even if several processes make it at the same time."""
    folder = path.parent.stat()
    if folder.st_uid not in {os.geteuid(), 0} or folder.st_mode & _FOREIGN_WRITE:
        raise PermissionError(f"{path.parent} is not a folder that only we may write to")
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    # Every byte is written: a full disk is an error now, not a signal later.
    write_whole(path, _empty(buckets, floor), mode=_MODE, durable=False)
    return os.open(path, flags)


def _empty(buckets: int, floor: float) -> Iterator[bytes]:
    """The bytes of a new table."""
    yield _HEADER.pack(_MAGIC, buckets, os.urandom(_SECRET_BYTES)).ljust(_HEADER_BYTES, b"\0")
    empty = struct.pack("<d", floor).ljust(_STRIDE, b"\0")
    for _ in range(buckets):
        yield empty


def _secret(descriptor: int, buckets: int, name: str) -> bytes:
    """The secret in the file, which must be one of ours, with that many buckets, and closed to all other users."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _PRIVATE:
        raise PermissionError(f"{name} is not a file that only we may read and write")
    head = os.pread(descriptor, _HEADER_BYTES, 0)
    if len(head) != _HEADER_BYTES or status.st_size != _size(buckets):
        raise OSError(f"{name} was made for another number of slots, or is not a replay table: remove it")
    magic, made_for, secret = _HEADER.unpack_from(head)
    if magic != _MAGIC or made_for != buckets:
        raise OSError(f"{name} was made for another number of slots, or is not a replay table: remove it")
    return bytes(secret)

"""A process that writes a log and is killed, at a call of the system of the test's choice or whenever the test likes.

    python -m tests.support.rigs.killed_writer each FOLDER    for n = 1, 2, …: a process is killed at its n-th call
    python -m tests.support.rigs.killed_writer on FOLDER      writes until it is killed

`each` writes a line for each n on standard output: n, whether it was killed, and how many appends had returned, the
log in FOLDER/n. `on` writes `number index` when the append of a record has returned.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from authz.audit.log import AuditLog, Limits
from authz.system.clock import SystemClock
from tests.support.factories.written_logs import KEY, line

LIMITS = Limits(records=4, seconds=1e9, file_bytes=900, keep_bytes=2500)
ON = Limits(records=50, file_bytes=20_000, keep_bytes=int(os.environ.get("KEEP", "0")))
APPENDS = 12
CALLS = (
    "open",
    "write",
    "pread",
    "listdir",
    "fsync",
    "ftruncate",
    "rename",
    "replace",
    "unlink",
    "link",
    "mkdir",
    "utime",
    "stat",
)
WRITE = os.write


def main():
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "on":
        write_on(folder)
    number, killed = 1, True
    while killed:
        done = folder / str(number)
        killed, returned = in_child(done, number, write_some)
        WRITE(1, b"%d %d %d\n" % (number, killed, returned))
        number += 1


def in_child(folder, number, run):
    """Run in a child that is killed at its call with this number; whether it was, and how often it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        killed_at(number)
        run(folder, writer)
        os._exit(0)
    os.close(writer)
    returned = 0
    while data := os.read(reader, 4096):
        returned += len(data)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status:
        sys.exit("the writer failed")
    return os.WIFSIGNALED(status), returned


def killed_at(number):
    """Have this process killed at a call: before it, or, of a write, when half of it is done."""
    left = [number]

    def counted(name, call):
        def instead(*arguments, **options):
            left[0] -= 1
            if not left[0]:
                if name == "write" and len(arguments[1]) > 1:
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return instead

    for name in CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


def write_some(folder, acknowledge):
    log = AuditLog(folder, [KEY], gate="eu-1", clock=SystemClock(), limits=LIMITS)
    for number in range(APPENDS):
        log.append([line(number), line(number, 100)])
        WRITE(acknowledge, b".")
        log.tend()
        if number % 4 == 3:
            log.remove_old()
            log.compress()
    log.close()


def write_on(folder):
    log = AuditLog(folder, [KEY], gate="eu-1", clock=SystemClock(), limits=ON)
    begun = int(os.environ.get("BEGIN", "0"))
    threading.Thread(target=compress_on, args=(log,), daemon=True).start()
    for number in range(begun, begun + 1_000_000):
        index = log.append([line(number, number % 300)])
        WRITE(1, b"%d %d\n" % (number, index))
        log.tend()


def compress_on(log):
    while True:
        if log.compress() is None:
            time.sleep(0.001)


if __name__ == "__main__":
    main()

"""Workers and the reader of their spool, each in processes that are killed at a call of the system or whenever.

    python -m tests.support.rigs.killed_drain reader FOLDER    for n = 1, 2, …: a reader is killed at its n-th call
    python -m tests.support.rigs.killed_drain worker FOLDER    for n = 1, 2, …: a worker is killed at its n-th call
    python -m tests.support.rigs.killed_drain drain FOLDER     reads until it is killed
    python -m tests.support.rigs.killed_drain put FOLDER N     writes as worker N until it is killed: numbers on stdout

The first two write a line for each n: n, whether it was killed, and how many records had been handed over.
"""

import os
import sys
from itertools import count
from pathlib import Path

from authz.audit.drain import Drain
from authz.audit.log import AuditLog, Limits
from authz.audit.spool import SpoolWriter, current_file, made_spool
from authz.core.errors import AuditUnavailableError
from authz.system.clock import SystemClock
from tests.support.factories.written_logs import KEY
from tests.support.rigs.killed_writer import WRITE, in_child

RECORDS = 12
SEGMENT = 300


def record(worker, number):
    return b'{"v":1,"type":"decision","id":"%d-%d","gate":"eu-1","worker":%d,"text":"%s"}\n' % (
        worker,
        number,
        worker,
        b"x" * (number % 50),
    )


def put_all(spool, worker, acknowledge=-1, records=RECORDS):
    writer = SpoolWriter(spool, worker, segment_bytes=SEGMENT)
    for number in range(records):
        writer.put(record(worker, number))
        if acknowledge >= 0:
            WRITE(acknowledge, b".")
    writer.close()


def reader(folder, _acknowledge=-1):
    limits = Limits(records=5, seconds=1e9, file_bytes=1500)
    log = AuditLog(folder / "audit", [KEY], gate="eu-1", clock=SystemClock(), limits=limits)
    drain = Drain(folder / "spool", folder / "audit", log, SystemClock(), turn_s=0)
    for turn in range(4):
        drain.drain()
        if turn < 2:  # another worker's records come meanwhile
            put_all(folder / "spool", 2 + turn, records=4)
            drain.drain()
        drain.tend()
        drain.save()
    drain.finish()
    log.close()


def each(folder, run, prepare):
    number, killed = 1, True
    while killed:
        place = folder / str(number)
        place.mkdir()
        made_spool(place / "spool")
        prepare(place)
        killed, returned = in_child(place, number, run)
        WRITE(1, b"%d %d %d\n" % (number, killed, returned))
        number += 1


def drain_on(folder):
    log = AuditLog(folder / "audit", [KEY], gate="eu-1", clock=SystemClock(), limits=Limits(file_bytes=50_000))
    drain = Drain(folder / "spool", folder / "audit", log, SystemClock(), turn_s=0)
    WRITE(1, b"started\n")
    for turn in count():
        drain.drain()
        drain.tend()
        if turn % 20 == 19:
            drain.save()


def put_on(folder, worker):
    begin = int(os.environ["BEGIN"])
    writer = SpoolWriter(folder / "spool", worker, segment_bytes=5000, most_segments=100)
    for number in count(begin):
        while True:
            try:
                writer.put(record(worker, number), current_file(folder / "spool"))
                break
            except AuditUnavailableError:  # the reader is killed, or slow
                os.sched_yield()
        WRITE(1, b"%d\n" % number)


def main():
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "reader":
        each(folder, reader, lambda place: [put_all(place / "spool", worker) for worker in range(2)])
    elif what == "worker":
        each(folder, lambda place, acknowledge: put_all(place / "spool", 0, acknowledge), lambda place: None)
    elif what == "drain":
        drain_on(folder)
    else:
        put_on(folder, int(sys.argv[3]))


if __name__ == "__main__":
    main()

"""What it costs to hand a record over: to the queue of today's decision log, and to a spool that survives `kill -9`.

    python -m bench.handover [--records N] [--bytes N] [--rounds N]

Microseconds of CPU a record, the best of all rounds: of the calling thread (what a check waits for), and of the whole
process. `drained` is what the log's process pays: read, hash, append, sign.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from authz.audit.drain import Drain
from authz.audit.log import AuditLog, Limits
from authz.audit.signing import load_keys
from authz.audit.spool import SpoolWriter, made_spool
from authz.ops.decision_log import DecisionSink
from authz.system.clock import SystemClock

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 the folder is made with a name of its own
BATCHES = (1, 4, 16)


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.handover", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--bytes", type=int, default=800, help="of a record")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    best = {}
    for _ in range(options.rounds):
        for name, cost in measured(options):
            best[name] = min(best.get(name, cost), cost)
    sys.stdout.write(f"{options.bytes} bytes a record; µs of CPU: the calling thread, the process\n")
    for name, (thread, process) in best.items():
        sys.stdout.write(f"{name:24} {thread:6.2f} {process:6.2f}\n")
    return 0


def measured(options):
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        yield "today's queue", queued(Path(place), options)
        for batch in BATCHES:
            spool = Path(place, f"spool-{batch}")
            made_spool(spool)
            yield f"spool, {batch} a write", spooled(spool, batch, options)
        yield "drained", drained(Path(place), options)


def queued(place, options):
    sink = DecisionSink(place / "decisions.jsonl", capacity=options.records)
    line = record(options.bytes)
    begin = time.thread_time(), time.process_time()
    for _ in range(options.records):
        sink.put(line)
    thread = time.thread_time() - begin[0]
    sink.flush(60)
    cost = per(options, thread, time.process_time() - begin[1])
    sink.close()
    return cost


def spooled(spool, batch, options):
    writer = SpoolWriter(spool, 0, most_segments=1 << 20)
    line = record(options.bytes) * batch
    begin = time.thread_time(), time.process_time()
    for _ in range(options.records // batch):
        writer.put(line)
    cost = per(options, time.thread_time() - begin[0], time.process_time() - begin[1])
    writer.close()
    return cost


def drained(place, options):
    keys = load_keys([place / "key.pem"], "gate.example/audit/bench")
    log = AuditLog(place / "audit", keys, gate="bench", clock=SystemClock(), limits=Limits())
    drain = Drain(place / "spool-1", place / "audit", log, SystemClock())
    begin = time.thread_time(), time.process_time()
    while drain.drain():
        log.tend()
    drain.save()
    cost = per(options, time.thread_time() - begin[0], time.process_time() - begin[1])
    if log.size < options.records:
        sys.exit("records are missing")
    log.close()
    return cost


def record(size):
    start = b'{"v":1,"type":"decision","id":"0123456789abcdef01234567","gate":"bench","worker":0,"text":"'
    return start + b"x" * (size - len(start) - 3) + b'"}\n'


def per(options, *seconds):
    return tuple(one / options.records * 1e6 for one in seconds)


if __name__ == "__main__":
    sys.exit(main())

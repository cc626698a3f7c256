"""What the signed log costs its writer, a record, and how long `authz audit verify` takes.

    python -m bench.audit_log [--records N] [--bytes N] [--batch N] [--folder DIR]

Writes a log with files of 256 MiB, the closed ones compressed, and verifies it. Exit 1 if either misses its goal.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from authz.audit.closed_files import compress_one
from authz.audit.log import AuditLog, Limits
from authz.audit.signing import load_keys
from authz.audit.verifying import verify
from authz.system.clock import SystemClock

GOAL_US = 15.0
GOAL_S_A_MILLION = 5.0


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.audit_log", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--bytes", type=int, default=800, help="of a record")
    parser.add_argument("--batch", type=int, default=100, help="records that are appended at once")
    parser.add_argument("--folder", help="where; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folder = Path(place, "audit")
        keys = load_keys([Path(place, "key.pem")], "gate.example/audit/bench")
        cost = written(folder, keys, options)
        seconds = verified(folder, keys, options.records)
    return 1 if cost > GOAL_US or seconds > GOAL_S_A_MILLION * options.records / 1e6 else 0


def written(folder, keys, options):
    """Microseconds of CPU a record."""
    lines = [record(number, options.bytes) for number in range(options.batch)]
    begin, wall = time.process_time(), time.perf_counter()
    log = AuditLog(folder, keys, gate="bench", clock=SystemClock(), limits=Limits())
    for _ in range(options.records // options.batch):
        log.append(lines)
        log.tend()
    log.close()
    cost = (time.process_time() - begin) / options.records * 1e6
    passed = (time.perf_counter() - wall) / options.records * 1e6
    sys.stdout.write(f"written   {cost:.2f} µs of CPU, {passed:.2f} µs a record ({options.bytes} bytes)\n")
    begin, compressed = time.process_time(), 0
    while compress_one(folder) is not None:
        compressed += 1
    cost_of_files = (time.process_time() - begin) / options.records * 1e6
    sys.stdout.write(f"compressed {compressed} files, {cost_of_files:.2f} µs of CPU a record, outside the writer\n")
    return cost


def record(number, size):
    """A line as a decision's: half of it differs from the others."""
    start = b'{"v":1,"type":"decision","id":"%024x","more":"%s","text":"' % (
        number,
        os.urandom(size // 8).hex().encode(),
    )
    return start + b"x" * (size - len(start) - 2) + b'"}'


def verified(folder, keys, records):
    begin = time.perf_counter()
    report = verify(folder, [key.public for key in keys])
    seconds = time.perf_counter() - begin
    if report.findings or report.lines < records:
        sys.exit(f"the log does not verify: {report}")
    sys.stdout.write(f"verified  {report.lines:,} records in {seconds:.2f} s\n")
    return seconds


if __name__ == "__main__":
    sys.exit(main())

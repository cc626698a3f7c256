"""Workers that really race: a proof counts once among processes, whatever happens to them in the middle.

Each process is a fresh interpreter, as a worker is. They are told what to do on one line of standard input each.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from authz.runs.replay_table import BUCKET, Replays

PROOFS = 10_000
RACERS = 4

# Told "from to": tries all these proofs in order and answers with those that it was first with.
RACER = """
import sys
from hashlib import sha256
from pathlib import Path
from authz.core.errors import ReplaysFullError
from authz.runs.replay_table import Replays
table = Replays(Path(sys.argv[1]), int(sys.argv[2]))
def first(number):
    digest = sha256(str(number).encode()).digest()[:16]
    try:
        return table.first(digest, 1060.0, 1000.0)
    except ReplaysFullError:  # another one was stopped by the kernel while it had the bucket
        return first(number)
print("ready", flush=True)
for line in sys.stdin:
    begin, end = map(int, line.split())
    for number in range(begin, end):
        if first(number):
            print(number, flush=len(sys.argv) > 3)
    print("done", flush=True)
"""


@pytest.fixture
def racers(tmp_path):
    """Starts interpreters at the table, each ready to go; ends them all."""
    tmp_path.chmod(0o700)
    with contextlib.ExitStack() as stack:

        def start(slots, *more):
            process = subprocess.Popen(
                [sys.executable, "-c", RACER, tmp_path / "replays", str(slots), *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield start


def tell(process, begin, end):
    process.stdin.write(f"{begin} {end}\n")
    process.stdin.flush()


def won(process):
    numbers = []
    for line in process.stdout:
        if line == "done\n":
            return numbers
        numbers.append(int(line))
    raise AssertionError("the process ended before it was done")


def digest(number):
    return sha256(str(number).encode()).digest()[:16]


def test_of_several_processes_exactly_one_is_first_with_each_proof(racers):
    processes = [racers(8 * PROOFS) for _ in range(RACERS)]
    for process in processes:
        tell(process, 0, PROOFS)
    winners = [number for process in processes for number in won(process)]
    assert sorted(winners) == list(range(PROOFS))


def test_processes_that_make_the_table_at_once_have_one(racers, tmp_path):
    for turn in range(5):
        processes = [racers(8 * BUCKET) for _ in range(RACERS)]
        for process in processes:
            tell(process, 0, 100)
        winners = [number for process in processes for number in won(process)]
        assert sorted(winners) == list(range(100)), turn
        (tmp_path / "replays").unlink()


def test_a_killed_process_loses_no_used_proof_and_delays_no_other_process(racers, tmp_path):
    """What it said to be first with stays used; what it did not get to is first with somebody else, once."""
    slots = 8 * PROOFS
    table = Replays(tmp_path / "replays", slots)
    said, begin = set(), 0
    for turn in range(12):
        victim = racers(slots, "say each at once")
        tell(victim, begin, begin + PROOFS)
        said |= {int(victim.stdout.readline()) for _ in range(20 + 13 * turn)}
        os.kill(victim.pid, signal.SIGKILL)  # in the middle of its work, wherever that is
        victim.wait()
        said |= {int(line) for line in victim.stdout if line.endswith("\n")}
        begin += 500
    started = time.monotonic()
    mine = {number for number in range(begin) if table.first(digest(number), 1060.0, 1000.0)}
    assert time.monotonic() - started < 5
    assert not mine & said
    left = set(range(begin)) - mine - said
    assert len(left) <= 12, "at most one call of each that was killed may have got no answer"
    assert not any(table.first(digest(number), 1060.0, 1000.0) for number in range(begin))
    table.close()

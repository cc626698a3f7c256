"""What one command spends: CPU seconds, those that it would take on the reference machine, and memory.

A CPU second is not the same each time: beside a busy neighbour a core does half as much in it. So a fixed piece of
Python is timed right before and after each command, and goals hold for the seconds that the command would take where
that piece takes `REFERENCE_MS`.
"""

import os
import subprocess
import sys
import time
from typing import NamedTuple

REFERENCE_MS = 60.0  # of the fixed piece, on the reference machine


class Spent(NamedTuple):
    """CPU seconds with the start, the same at reference speed, peak memory in MB, the exit status."""

    cpu_s: float
    reference_s: float
    peak_mb: float
    status: int


def authz(arguments, output):
    """What one `authz …` spends; what it prints goes to the file `output`."""
    before = _calibrate()
    with output.open("wb") as said:
        child = subprocess.Popen([sys.executable, "-m", "authz", *arguments], stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    cpu, piece = usage.ru_utime + usage.ru_stime, (before + _calibrate()) / 2
    return Spent(cpu, cpu * REFERENCE_MS / piece, usage.ru_maxrss / 1024, child.returncode)


def _calibrate():
    """CPU milliseconds of a fixed piece of Python."""
    began = time.process_time()
    sum(number % 7 for number in range(1_000_000))
    return (time.process_time() - began) * 1000

"""What the kernel accounts to a process, who listens on a port, and what machine this is.

CPU time is that of the process's own CPU clock (`clock_getcpuclockid(3)`): user and system time of all its threads, in
nanoseconds, also of threads that have ended. `/proc/PID/stat` shows the same sum in ticks of 10 ms.
"""

import contextlib
import os
import platform
import subprocess
import time
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[1]
_LISTEN = "0A"


def cpu_ns(pid):
    return time.clock_gettime_ns((~pid << 3) | 2)


def family(pid):
    """The process and all that descend from it."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread that ended just now
                found += map(int, children.read_text().split())
    return found


def family_cpu_ns(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # one that ended just now
            total += cpu_ns(pid)
    return total


def memory_mb(pid, field="VmHWM"):
    """`VmHWM` is the peak, `VmRSS` what is resident now; in MB of 1,000,000 bytes."""
    with contextlib.suppress(OSError):  # one that ended just now
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def largest_mb(pid, field="VmHWM"):
    """Of the largest process of a family: the worker, where a supervisor stands beside it."""
    return max(memory_mb(member, field) for member in family(pid))


def listener_of(port):
    """The process that listens on a TCP port of this machine, or None where that cannot be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{columns[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) in inodes:
                return int(link.parts[2])
    return None


class Foreigners:
    """How busy others kept the machine between two moments: a result from a busy machine is none.

    Ours is this process and all children that have ended by then; what the hypervisor took is told apart.
    """

    def __init__(self):
        self._before = self._read()

    @staticmethod
    def _read():
        columns = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, idle, wait, irq, softirq, stolen = (
            int(column) / os.sysconf("SC_CLK_TCK") for column in columns[:8]
        )
        busy = user + nice + system + irq + softirq
        return busy, stolen, busy + idle + wait + stolen, sum(os.times()[:4])

    def percent(self):
        """Of all CPU time: what other processes used, and what was stolen."""
        busy, stolen, total, own = (after - before for after, before in zip(self._read(), self._before, strict=True))
        return {
            "others_percent": round(max(0.0, busy - own) / total * 100, 1),
            "stolen_percent": round(stolen / total * 100, 1),
        }


def describe():
    """The machine and the versions, for the head of the report."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "load_before": round(os.getloadavg()[0], 2),
    }

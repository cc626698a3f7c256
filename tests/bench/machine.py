"""What the kernel accounts to a process, who listens on a port, and what machine this is.

CPU time is that of the process's own CPU clock (`clock_getcpuclockid(3)`): user and system time of all its threads, in
nanoseconds, also of threads that have ended. `/proc/PID/stat` shows the same sum in ticks of 10 ms.
"""

import contextlib
import os
import platform
import socket
import subprocess
import time
from pathlib import Path

import grpc

ROOT = Path(__file__).resolve().parents[2]
_LISTEN = "0A"


def cpu_ns(pid):
    return time.clock_gettime_ns((~pid << 3) | 2)


def family(pid):
    """The process and all that descend from it."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
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


def free_ports(count):
    """The first of `count` ports in a row that nobody uses."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            base = first.getsockname()[1]
            try:
                for port in range(base + 1, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return base


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

"""How many processors this process may use: its affinity and the CPU quotas of its control groups (v1 and v2).

Law: reads only `/proc` and `/sys`; what cannot be read or understood sets no limit. The answer is never less than 1. A
quota is rounded down: two workers on one and a half processors would be throttled in the middle of checks.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_MOUNT_FIELDS: Final = 10  # of a line in /proc/self/mountinfo, see proc_pid_mountinfo(5)


def usable(root: Path = Path("/"), affinity: int | None = None) -> int:
    """The number of processors; tests set where `proc` and `sys` are, and how many processors there are."""
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    return max(1, int(min((float(allowed), *_quotas(root)))))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each of this process's groups may use, from its own up to the outermost visible one."""
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        unified = number == "0" and not controllers
        if unified or "cpu" in controllers.split(","):
            for folder in _folders(root, PurePosixPath(group), unified=unified):
                quota = _v2(folder) if unified else _v1(folder)
                if quota is not None:
                    yield quota


def _folders(root: Path, group: PurePosixPath, *, unified: bool) -> Iterator[Path]:
    """The group's folder and those above it, in every place where its hierarchy is mounted.

    Inside a container the mount often shows only a part of the hierarchy, or `/proc/self/cgroup` names a path of the
    host that is not visible here; then the mount point itself is the group.
    """
    for line in _lines(root / "proc/self/mountinfo"):
        fields = line.split(" ")
        if len(fields) < _MOUNT_FIELDS or "-" not in fields:
            continue
        kind, _source, options = fields[fields.index("-") + 1 :][:3]
        if kind != "cgroup2" if unified else (kind != "cgroup" or "cpu" not in options.split(",")):
            continue
        mount = root / fields[4].lstrip("/")
        shown = PurePosixPath(fields[3])
        inside = group.relative_to(shown) if group.is_relative_to(shown) else PurePosixPath()
        if ".." in inside.parts:  # the process is outside of what its namespace shows
            inside = PurePosixPath()
        for part in (inside, *inside.parents):
            yield mount / part


def _v2(folder: Path) -> float | None:
    """`cpu.max` holds `QUOTA PERIOD` or `max PERIOD`, in microseconds."""
    quota, _, period = "".join(_lines(folder / "cpu.max")).partition(" ")
    return _ratio(quota, period)


def _v1(folder: Path) -> float | None:
    """`cpu.cfs_quota_us` is -1 if there is no limit."""
    return _ratio(*("".join(_lines(folder / name)) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")))


def _ratio(quota: str, period: str) -> float | None:
    try:
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except ValueError:
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []

"""Time since the machine started: it cannot be set back, but is comparable only within one boot, which has an id."""

import time
from pathlib import Path
from typing import NamedTuple


class Boot(NamedTuple):
    """One boot of the machine, by the kernel's id for it ("" if there is none), and the seconds since it began."""

    id: str
    seconds: float


def this_boot() -> Boot:
    """The current boot; time that the machine sleeps counts (CLOCK_BOOTTIME)."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        name = ""
    return Boot(name, time.clock_gettime(time.CLOCK_BOOTTIME))

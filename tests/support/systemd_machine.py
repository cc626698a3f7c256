"""This machine's files under a systemd of its own: units are started as on a real machine, and nothing of it stays.

Namespaces of mounts, processes and control groups, without an image: the root is an overlay over this machine's, with
all that is written in memory. The network is this machine's. It ends by its process handle, and with it all that
systemd has started.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_for

SYSTEMD = Path("/lib/systemd/systemd")
GROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))  # where the hierarchy of version 2 may be
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What would change this machine, or is about its hardware.
NOT_STARTED = (
    *("modprobe@.service", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "systemd-modules-load.service"),
    *("systemd-random-seed.service", "systemd-sysctl.service", "systemd-tmpfiles-setup-dev.service"),
    *("systemd-udevd.service", "systemd-update-utmp.service"),
)
START = """
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
for folder in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
chmod 755 run
mkdir -p run/systemd/system
for name in $3; do ln -sf /dev/null run/systemd/system/$name; done
printf '[Unit]\\nDefaultDependencies=no\\nWants=systemd-journald.service\\n' > run/systemd/system/bare.target
: > etc/fstab
mkdir mnt/given mnt/outside
mount --bind "$2" mnt/given
pivot_root . mnt/outside
cd /
umount -l mnt/outside
mount --make-rshared / # as systemd expects of what starts it: credentials reach services by it
exec env -i container=test /lib/systemd/systemd --unit=bare.target --show-status=no
"""


class Machine:
    """Starts on entry. `given` is a folder that it sees as /mnt/given; `refused` is why it does not start, or ""."""

    def __init__(self, folder: Path, given: Path) -> None:
        self._place, self._given, self._log = folder / "machine", given, folder / "machine.log"
        self._group: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.refused = ""

    def __enter__(self) -> Self:
        self._place.mkdir()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        found = [path for path in GROUPS if (path / "cgroup.procs").exists()]
        if not found or not SYSTEMD.exists() or os.geteuid() != 0:
            self.refused = "it needs root, systemd and control groups of version 2"
            return
        self._group = found[0] / f"authz-test-{os.getpid()}"
        self._group.mkdir()
        enter = f'echo $$ > {self._group}/cgroup.procs; exec "$@"'
        apart = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--cgroup")
        inside = ("sh", "-c", START, "-", self._place, self._given, " ".join(NOT_STARTED))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", enter, "-", *apart, *inside], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            self.refused = self._log.read_text().strip() or f"status {self._process.returncode}"
            return True
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._pid = int(children[0]) if children else 0
        return bool(self._pid) and self.run("systemctl", "is-active", "bare.target").returncode == 0

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as root."""
        enter = ("nsenter", "--target", str(self._pid), *("--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root"))
        return subprocess.run(
            [*enter, "sh", "-c", 'cd /; exec "$@"', "-", *command],
            env={**os.environ, "PATH": PATH, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    def ran(self, *command: str | Path, **environment: str) -> str:
        """The output of a command that must succeed."""
        done = self.run(*command, **environment)
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def file(self, path: str) -> Path:
        """A file inside, as seen from outside."""
        return Path(f"/proc/{self._pid}/root{path}")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._group is not None:
            end = time.monotonic() + 20
            while self._group.exists() and time.monotonic() < end:
                for folder in sorted(self._group.rglob("*/"), reverse=True):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                with contextlib.suppress(OSError):  # what is in it is still ending
                    self._group.rmdir()
                time.sleep(0.05)

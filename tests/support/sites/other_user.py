"""Programs that run as another user of this machine: one without an account, who owns nothing but what it is given.

`OtherUser(folder)` is for tests that run as root. `.folder` is the user's own; `.python` and `.path` are an interpreter
and modules that it can read. They are the environment's own where everybody can reach these, and hard links (or copies)
below `folder` where they are in somebody's closed home.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

UID = 61_515
NAME = "worker"  # there is no such account: only what the environment calls it
ROOT = Path(__file__).parents[3]
OTHERS_MAY_ENTER = 0o001
NEEDLESS = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "ensurepip", "config-*")


class OtherUser:
    """A user with a folder of its own below `folder`, which everybody can reach. `path`: more folders of modules."""

    def __init__(self, folder: Path, path=()):
        assert _reachable(folder), f"{folder} is closed to other users"
        self.folder = folder / "own"
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, UID, UID)
        self._copies = folder / "copies"
        self.python, self._library = self._interpreter()
        self.path = [
            *map(str, path),
            str(self._reachable_tree(ROOT / "authz").parent),
            str(self._reachable_tree(_site_packages())),
        ]

    uid = UID

    @property
    def environment(self):
        """What its programs need; nothing is inherited from the tests' environment."""
        return {
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LOGNAME": NAME,
            "USER": NAME,
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.pathsep.join(self.path),
            "PYTHONUNBUFFERED": "1",
            **self._library,
        }

    def _interpreter(self):
        base = Path(sys.base_prefix)
        if _reachable(base):
            return Path(sys.executable).resolve(), {}
        copy = self._copies / "python"
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (copy / "bin").mkdir(parents=True)
        (copy / "lib").mkdir()
        _link_or_copy(base / "bin" / name, copy / "bin" / name)
        for library in (base / "lib").glob("libpython*.so*"):
            _link_or_copy(library, copy / "lib" / library.name)
        shutil.copytree(base / "lib" / name, copy / "lib" / name, copy_function=_link_or_copy, ignore=NEEDLESS)
        return copy / "bin" / name, {"LD_LIBRARY_PATH": str(copy / "lib")}

    def _reachable_tree(self, folder):
        if _reachable(folder):
            return folder
        copy = self._copies / "modules" / folder.name
        shutil.copytree(folder, copy, copy_function=_link_or_copy)
        return copy


def _site_packages():
    return Path(sysconfig.get_path("purelib"))


def _reachable(path):
    """Whether everybody may enter all folders on the way there."""
    return all(folder.stat().st_mode & OTHERS_MAY_ENTER for folder in (path.resolve(), *path.resolve().parents))


def _link_or_copy(source, target):
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target

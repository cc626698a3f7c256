"""Two builds of the product, side by side: each a folder of its own that holds the package `authz` and nothing else.

Both run on this interpreter with the same dependencies. What is imported is decided by PYTHONPATH and `-P` alone (no
folder of the caller's), and `Build.prove` says whose code that is.
"""

import compileall
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import machine

THIS = "this tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build: `name` for people, `folder` with its package."""

    name: str
    folder: Path

    @property
    def environment(self):
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    @property
    def command(self):
        """What comes before the arguments of `authz`."""
        return [sys.executable, "-P", "-m", "authz"]

    def prove(self):
        """The file of the package as a process of this build imports it.

        Raises:
            RuntimeError: it is not this build's.
        """
        command = [sys.executable, "-P", "-c", "import authz; print(authz.__file__)"]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        file = Path(done.stdout.strip() or "/").resolve()
        if done.returncode or file.parent.parent != self.folder.resolve():
            raise RuntimeError(f"{self.name} would run {file}: {done.stderr}")
        return file


def make(wanted, folder):
    """The build of a commit, of a folder that holds a package `authz`, or of `THIS` tree, copied to `folder`.

    Raises:
        RuntimeError: there is no such commit, or no package in it.
    """
    folder.mkdir(parents=True)
    source = machine.ROOT if wanted == THIS else Path(wanted)
    if (source / "authz" / "__init__.py").is_file():
        shutil.copytree(source / "authz", folder / "authz", ignore=shutil.ignore_patterns("__pycache__"))
        name = _git("describe", "--always", "--dirty") if wanted == THIS else str(source)
    else:
        name = _git("rev-parse", "--short", f"{wanted}^{{commit}}")
        archive = folder / "authz.tar"
        _git("archive", "--output", archive, name, "authz")
        shutil.unpack_archive(archive, folder, filter="data")
        archive.unlink()
    compileall.compile_dir(folder, quiet=1)  # so that no process that is measured has to
    return Build(name=name, folder=folder)


def _git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=machine.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout.strip()

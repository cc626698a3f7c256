"""The revision before this one: its tree, unpacked beside ours, and its `authz`, run with this environment's packages.

Law: the tree is what Git has. The one before is the newest tag below HEAD; while there is no tag, the commit that the
test pins. A clone without that commit (a shallow one) cannot tell, and says so.
"""

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.missing import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
BEFORE_TAGS = "5a96a0a5873d8cea777a08bbf3772fb38ce7d21c"
"""Has all that a gate needs in these tests, and does not know `*:change`, `include` and `grantable`."""
BEFORE_TAGS_SIGNED = "3b88b8f3fd87b677e06102c59ee3173861502682"
"""Signs its log, as that one does not, and knows no witnesses, and no entries about what tasks read."""


def before(pinned=BEFORE_TAGS):
    """The name of the revision before this one."""
    newest = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD~1")
    name = newest.stdout.decode().strip() if newest.returncode == 0 else pinned
    if _git("cat-file", "-e", f"{name}^{{commit}}").returncode:
        missing = f"Git has no {name} here: the test needs the whole history (git fetch --unshallow --tags)"
        if _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            pytest.skip(missing)  # in CI too: what clones may not have been asked
        skip_or_fail(missing)
    return name


def unpacked(name, folder):
    """The package `authz` of a revision, in the folder."""
    archive = _git("archive", "--format=tar", name, "authz")
    assert archive.returncode == 0, archive.stderr.decode()
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def program(tree, folder):
    """A command `authz` of that tree. Its imports come from there alone, all others from this environment."""
    made = folder / "authz"
    made.write_text(f"#!/bin/sh\nPYTHONPATH='{tree}' exec '{sys.executable}' -P -m authz \"$@\"\n")
    made.chmod(0o755)
    return made


def takes(command, policy, folder):
    """Whether this `authz` takes the text of a policy; else it says what it does not know."""
    file = folder / "asked.yaml"
    file.write_text(policy)
    done = subprocess.run([command, "lint", file], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0 or ": unknown " in done.stdout + done.stderr, done
    return done.returncode == 0


def _git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)

"""A policy and the files that it names as they are in a revision of a Git repository.

Law: read-only. Paths are those of the folder that the command runs in, as everywhere on a command line.
"""

import posixpath
import subprocess
from collections.abc import Iterator

from authz.core.errors import ConfigError, Problem
from authz.core.policy import Bundle
from authz.core.policy.bundle import Part, matches, named


def bundle_of(revision: str, path: str) -> Bundle:
    """The policy file `path` of a revision, and the files that it names there.

    Raises:
        ConfigError: there is no such file in that revision.
    """
    data = content(revision, path)
    return Bundle(data, path, tuple(_parts(revision, path, data)))


def _parts(revision: str, path: str, data: bytes) -> Iterator[Part]:
    patterns = named(data)
    if not patterns:
        return
    folder = posixpath.dirname(path) or "."
    listed = _git(revision, path, "ls-tree", "-r", "-z", "--name-only", revision, f"{folder}/").decode().split("\0")
    there = {posixpath.relpath(name, folder): name for name in listed if name}
    wanted = {pattern for pattern in patterns if "*" not in pattern}
    found = {name for name in there if any(matches(pattern, name) for pattern in patterns)}
    for name in sorted((wanted | found) - {posixpath.basename(path)}):
        if name in there:
            yield Part(name, content(revision, there[name]))
        else:
            yield Part(name, b"", f"it is not in {revision}")


def content(revision: str, path: str) -> bytes:
    """A file of a revision.

    Raises:
        ConfigError: there is no such file in that revision.
    """
    return _git(revision, path, "show", f"{revision}:./{path}")


def _git(revision: str, path: str, *arguments: str) -> bytes:
    """What Git prints."""
    shown = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607
    if shown.returncode != 0:
        said = shown.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no answer"]
        hint = "name a revision, and the path of a file in it"
        raise ConfigError([Problem(f"git:{revision}:{path}", 0, 0, f"git has no such policy: {said[0]}", hint)])
    return shown.stdout

"""A policy and the files that it names as they are in a revision of a Git repository.

Law: read-only. What is read is what a checkout would have, or it is refused: a symbolic link, a submodule, a folder,
and a file whose attributes let Git write other bytes than it keeps. Paths are those of the folder that the command runs
in, as everywhere on a command line.

The attributes are those of the revision itself, through an index of its own in a temporary folder: `--source` of
`git check-attr` is younger than the Git of some systems. Line ends (`text`, `eol`) are no reason to refuse: YAML reads
CRLF as LF, and a checkout may convert them by its own configuration, which no revision shows.
"""

import os
import posixpath
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, NoReturn

from authz.core.documents.quantities import size_text
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import ConfigError, Problem
from authz.core.policy import Bundle
from authz.core.policy.bundle import MOST_FILES, MOST_INCLUDED_BYTES, Part, included, named, segment_matches
from authz.ops.named_files import INCLUDED_TOO_LARGE, TOO_LARGE

_CONVERTING: Final = ("working-tree-encoding", "filter", "ident", "export-subst")
"""Attributes by which a checkout, or an archive, has other bytes than the revision."""
_OTHERWISE: Final = {"120000": "a symbolic link", "160000": "a submodule"}
_FILES: Final = ("100644", "100755")
_HINT: Final = "name a revision, and the path of a file in it"
_CHECK_OUT: Final = "check the revision out, and name the file there in place of git:…"
_commit: Final = re.compile(rb"[0-9a-f]{40,64}\n").fullmatch


class _Entry(NamedTuple):
    """What a revision has at a path: the mode in octal digits, and the name of the object."""

    mode: str
    sha: str


def bundle_of(revision: str, path: str) -> Bundle:
    """The policy file `path` of a revision, and the files that it names there.

    Raises:
        ConfigError: there is no such file in that revision, or a checkout of it would have other bytes.
    """
    return _Revision(revision, path).bundle()


def content(revision: str, path: str) -> bytes:
    """A file of a revision.

    Raises:
        ConfigError: there is no such file in that revision, or a checkout of it would have other bytes.
    """
    return _Revision(revision, path).content()


class _Revision:
    """The files of one commit, as `git ls-tree` lists them. Names that are no UTF-8 are like those of the disk."""

    def __init__(self, revision: str, path: str) -> None:
        self._revision, self._path = revision, path
        commit = self._git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        if not _commit(commit):  # as ^HEAD, which Git takes for what to leave out
            self._refuse(f"git has no such policy: {revision} is not one commit", _HINT)
        self._commit = commit.decode().strip()
        self._prefix = os.fsdecode(self._git("rev-parse", "--show-prefix").removesuffix(b"\n")).rstrip("/")
        self._entries: dict[str, _Entry] = {}
        for line in self._git("ls-tree", "-r", "-z", "--full-tree", self._commit).split(b"\0")[:-1]:
            about, _, name = line.partition(b"\t")
            mode, _, sha = about.decode().split()
            if os.fsdecode(name) in self._entries:
                self._refuse(f"the revision has `{os.fsdecode(name)}` twice", "let `git fsck` check the repository")
            self._entries[os.fsdecode(name)] = _Entry(mode, sha)
        self._file = self._full(path)

    def content(self) -> bytes:
        """The bytes of the file that was named."""
        entry = self._entry(self._file)
        if entry is None:
            self._refuse(f"git has no such policy: {self._revision} has no `{self._file}`", _HINT)
        self._check_attributes([self._file])
        if (size := self._sizes([entry.sha])[entry.sha]) > MAX_BYTES:
            self._refuse(f"the file has {size} bytes", f"the limit is {size_text(MAX_BYTES)}")
        return self._git("cat-file", "blob", entry.sha)

    def bundle(self) -> Bundle:
        """The policy file that was named, and those that it names."""
        data = self.content()
        return Bundle(data, self._path, tuple(self._parts(data)))

    def _parts(self, data: bytes) -> Iterator[Part]:
        folder = posixpath.dirname(self._file)
        names = {name for pattern in named(data) for name in self._expanded(pattern, folder)}
        listed = sorted(names - {posixpath.basename(self._file)})[: MOST_FILES + 1]
        full = {name: posixpath.join(folder, name) for name in listed}
        there = {name: entry for name in listed if (entry := self._entry(full[name]))}
        if there:
            self._check_attributes([full[name] for name in there])
        sizes = self._sizes([entry.sha for entry in there.values()])
        own, left = included(data), MAX_BYTES - len(data)
        for name in listed:
            if name not in there:
                yield Part(name, b"", f"it is not in {self._revision}")
                continue
            size = sizes[there[name].sha]
            if size > (MOST_INCLUDED_BYTES if name in own else left):
                yield Part(name, b"", INCLUDED_TOO_LARGE if name in own else TOO_LARGE)
                continue
            left -= 0 if name in own else size
            yield Part(name, self._git("cat-file", "blob", there[name].sha))

    def _expanded(self, pattern: str, folder: str) -> Iterator[str]:
        """The names that a pattern stands for, as on the disk; also a link among the folders, to be refused."""
        if "*" not in pattern:
            yield pattern
            return
        wanted = pattern.split("/")
        for path, entry in self._entries.items():
            if folder and not path.startswith(f"{folder}/"):
                continue
            segments = path.removeprefix(f"{folder}/" if folder else "").split("/")[: len(wanted)]
            if all(map(segment_matches, wanted, segments)) and (
                len(segments) == len(wanted) or entry.mode in _OTHERWISE
            ):
                yield "/".join(segments)

    def _full(self, path: str) -> str:
        """The path from the top of the repository. A folder that `..` leaves again must be one all the same."""
        names = self._prefix.split("/") if self._prefix else []
        for position, name in enumerate(path.split("/")):
            if name == ".." and names:
                names.pop()
            elif name == ".." or (name == "" and position == 0):
                self._refuse("git has no such policy: the path leaves the repository", _HINT)
            elif name not in {"", "."}:
                names.append(name)
                self._refuse_other("/".join(names), self._entries.get("/".join(names)))
        return "/".join(names)

    def _entry(self, path: str) -> _Entry | None:
        """The file at a path, None where nothing is.

        Raises:
            ConfigError: it is no file, or what leads to it is no folder.
        """
        names = path.split("/")
        for count in range(1, len(names)):
            above = "/".join(names[:count])
            self._refuse_other(above, self._entries.get(above))
        found = self._entries.get(path)
        self._refuse_other(path, found)
        if found is None and any(other.startswith(f"{path}/") for other in self._entries):
            self._refuse(f"`{path}` is a folder there", _HINT)
        return found

    def _refuse_other(self, path: str, entry: _Entry | None) -> None:
        if entry is not None and entry.mode not in _FILES:
            what = _OTHERWISE.get(entry.mode, f"no file that Git writes today (mode {entry.mode})")
            self._refuse(f"`{path}` is {what} there, and the revision does not say what it leads to", _CHECK_OUT)

    def _check_attributes(self, paths: Iterable[str]) -> None:
        """Refuse files of which a checkout has other bytes."""
        asked = b"".join(os.fsencode(posixpath.relpath(path, self._prefix or ".")) + b"\0" for path in paths)
        with tempfile.TemporaryDirectory(prefix="authz-") as folder:
            index = {"GIT_INDEX_FILE": os.path.join(folder, "index")}  # noqa: PTH118 a text for the environment
            plain = ("-c", "core.splitIndex=false", "-c", "index.sparse=false")
            self._git(*plain, "read-tree", self._commit, environment=index)
            answer = self._git("check-attr", "--cached", "-z", "--stdin", *_CONVERTING, asked=asked, environment=index)
        fields = iter(os.fsdecode(answer).split("\0")[:-1])
        for path, attribute, value in zip(fields, fields, fields, strict=True):
            if value not in {"unspecified", "unset"}:
                message = f"`{path}` has the attribute `{attribute}`, so a checkout may have another text"
                self._refuse(message, f"remove the attribute, or {_CHECK_OUT}")

    def _sizes(self, shas: list[str]) -> dict[str, int]:
        asked = "".join(f"{sha}\n" for sha in shas).encode()
        answer = self._git("cat-file", "--batch-check=%(objectsize)", asked=asked) if shas else b""
        sizes = dict(zip(shas, answer.decode().splitlines(), strict=True))
        if any(not size.isdigit() for size in sizes.values()):  # "… missing"
            self._refuse("git has no such policy: the repository has not all files of the revision", "fetch it whole")
        return {sha: int(size) for sha, size in sizes.items()}

    def _git(self, *arguments: str, asked: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
        """What Git prints."""
        shown = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            input=asked,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            check=False,
        )
        if shown.returncode != 0:
            said = shown.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no answer"]
            self._refuse(f"git has no such policy: {said[0]}", _HINT)
        return shown.stdout

    def _refuse(self, message: str, hint: str) -> NoReturn:
        raise ConfigError([Problem(f"git:{self._revision}:{self._path}", 0, 0, message, hint)])

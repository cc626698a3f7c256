"""The files of one policy as one value: the policy file, and the files that it names, read together.

Law: pure. A bundle is one generation: it is loaded, compared, kept for a restart and identified as a whole, never file
by file. The policy file names the others above everything that half of it could lack (see `named`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePath
from typing import Any, Final

from authz.core.documents.wording import Mistake
from authz.core.documents.yaml_document import head
from authz.core.policy.patterns import parse_glob

MOST_FILES: Final = 1000
"""Files that a policy file may name, patterns expanded."""

BODY: Final = frozenset({"issuers", "teams", "roles", "rules", "grantable", "callers", "tests", "never"})
"""The sections below which no other file may be named: half of the policy file would not name it."""

INCLUDE: Final = "include"
"""The key that names files with rules of teams (`authz.core.policy.included`)."""

NAMING: Final = ("test_files", INCLUDE)
"""The keys that name other files."""

MOST_INCLUDED: Final = 200
"""Files that `include` may name."""

MOST_INCLUDED_BYTES: Final = 256 * 1024
"""Of each file that `include` names. It is a limit of its own, so that no team takes the room of another one."""

AS_FOUND: Final = ""
LAST_GOOD: Final = "last good"
LEFT_OUT: Final = "left out"
"""What a part is: what the file has; or, because that has a mistake, an older content of it, or nothing at all."""

_SUFFIXES: Final = (".yaml", ".yml")
_UNREADABLE: Final = "unreadable: "


@dataclass(frozen=True, slots=True)
class Part:
    """A file that the policy file names, relative to the policy's folder: its bytes, or why there are none.

    `status` is AS_FOUND, LAST_GOOD or LEFT_OUT. Of a part that is left out, `data` is its last good content, which is
    kept, but does not count.
    """

    name: str
    data: bytes = field(repr=False)
    problem: str = ""
    status: str = AS_FOUND


@dataclass(frozen=True, slots=True)
class Bundle:
    """The bytes of a policy file, its path as people wrote it, and the files that it names, sorted by name.

    `airflow` is the version of the catalogue in place of the one that the file names, "" for that: for questions about
    another Airflow. Only what is loaded from files by their own words is ever in force.
    """

    data: bytes = field(repr=False)
    file: str
    parts: tuple[Part, ...] = ()
    airflow: str = ""

    @property
    def revision(self) -> str:
        """The digest that identifies the bundle, in hex: of one file, the SHA-256 of its bytes.

        Of several, the SHA-256 of what `sha256sum` prints for them, the policy file first. For a file that is left out
        the line says so in place of a digest.
        """
        whole = sha256(self.data)
        if self.parts:
            lines = [f"{whole.hexdigest()}  {PurePath(self.file).name}\n", *map(_line, self.parts)]
            whole = sha256("".join(lines).encode())
        return whole.hexdigest()

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return len(self.data) + sum(len(part.data) for part in self.parts)

    def path_of(self, part: Part) -> str:
        """The path of a part, for problems."""
        return beside(self.file, part.name)

    def packed(self) -> bytes:
        """All files as one text; of one file, its own bytes. `unpacked` is the other way."""
        if not self.parts:
            return self.data
        index = [["", len(self.data)], *(_packed(part) for part in self.parts)]
        return b"".join([json.dumps(index).encode(), b"\n", self.data, *(part.data for part in self.parts)])


def unpacked(data: bytes, file: str, *, several: bool) -> Bundle:
    """The bundle of a policy file from what `packed` made of it.

    Raises:
        ValueError: it made no such thing.
    """
    if not several:
        return Bundle(data, file)
    index, _, rest = data.partition(b"\n")
    parts, at = [], 0
    try:
        for name, size, *status in json.loads(index):
            parts.append(Part(str(name), rest[at : at + size], status=str(*status)))
            at += size
    except (ValueError, TypeError, RecursionError):
        at = -1
    if not parts or at != len(rest):
        raise ValueError("it cannot be divided into its files")
    return Bundle(parts[0].data, file, tuple(parts[1:]))


def named(data: bytes) -> tuple[str, ...]:
    """The names and patterns of other files in a policy file; the loader reports what is not such a name.

    Only what stands above the sections of the policy is read: a file of any size is answered at once.
    """
    top = head(data, BODY)
    names = [name for key in NAMING for name in listed(top, key)]
    return tuple(dict.fromkeys(name for name in names if _is_name(name)))


def included(data: bytes) -> frozenset[str]:
    """Those of the names that `include` lists."""
    return frozenset(name for name in listed(head(data, BODY), INCLUDE) if _is_name(name))


def listed(top: Mapping[str, Any], key: str) -> Sequence[Any]:
    """The names under a key that names files, in its order; those of `include` stand in mappings."""
    found = top.get(key)
    entries = found if isinstance(found, tuple) else ()
    return [entry.get("file") if isinstance(entry, dict) else None for entry in entries] if key == INCLUDE else entries


def parse_name(value: str) -> str:
    """The name or pattern of another file, relative to the policy file's folder, and not outside it."""
    segments = value.split("/")
    if value.startswith("/") or ".." in segments:
        raise Mistake(f"`{value}` leaves the policy's folder", "name files in it or below it, relative to it")
    if "" in segments or "." in segments or not value.isprintable() or "\\" in value:
        raise Mistake(f"`{value}` is not the name of a file", "folders and a file joined with single `/`")
    if not value.endswith(_SUFFIXES):
        raise Mistake(f"`{value}` does not end in .yaml", "test files are YAML: tests/sales.yaml, or tests/*.yaml")
    for segment in segments:
        parse_glob(segment)
    return value


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern stands for the name of a file. No `*` stands for the beginning of a hidden file's name."""
    wanted, found = pattern.split("/"), name.split("/")
    return len(wanted) == len(found) and all(map(segment_matches, wanted, found))


def segment_matches(wanted: str, found: str) -> bool:
    """Whether one segment of a pattern stands for a name in a folder."""
    if "*" not in wanted:
        return wanted == found
    return (wanted[0] == "." or found[0] != ".") and parse_glob(wanted).matches(found)


def unmatched(patterns: Iterable[str], parts: Iterable[Part]) -> Iterator[int]:
    """The positions of patterns that stand for none of the parts."""
    names = [part.name for part in parts]
    for position, pattern in enumerate(patterns):
        if not any(matches(pattern, name) for name in names):
            yield position


def beside(file: str, name: str) -> str:
    """A path that the file names, relative to the file."""
    return str(PurePath(file).parent / name)


def _is_name(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_name(value))
    except Mistake:
        return False


def _line(part: Part) -> str:
    if part.status == LEFT_OUT:
        return f"{LEFT_OUT}  {part.name}\n"
    return f"{_UNREADABLE + part.problem if part.problem else sha256(part.data).hexdigest()}  {part.name}\n"


def _packed(part: Part) -> list[str | int]:
    return [part.name, len(part.data), *([part.status] if part.status else [])]

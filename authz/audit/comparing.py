"""Compares lines with the leaf hashes that the tree has for them, and names the first one that differs.

Law: only places, indexes and counts: no text repeats what a line says.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from authz.core.audit.entry import is_line, line_hashes
from authz.core.audit.hashing import HASH_BYTES
from authz.core.characters import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it was logged: where (a file or a URL), and what. Its text is one line.

    `line` counts from 1, 0 where no line is meant. `index` is that of the record in the log, from 0; None for none.
    """

    path: Path | str
    text: str
    line: int = 0
    index: int | None = None

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        record = "" if self.index is None else f"record {self.index}: "
        return one_line(f"{place}: {record}{self.text}")


def compare(lines: list[bytes], leaves: bytes, *, path: Path, line: int, index: int) -> Finding | None:
    """The first of these lines that differs from its leaf hash; None if there is none.

    `line` and `index` are those of the first line. There may be more lines than leaf hashes: those are not compared.
    """
    signed = lines[: len(leaves) // HASH_BYTES]
    with contextlib.suppress(ValueError):  # one of them is no line
        if leaves.startswith(line_hashes(signed)):
            return None
    found, wanted = [line_hashes([one]) if is_line(one) else b"" for one in lines], _split(leaves)
    at = next(at for at, one in enumerate(wanted) if one != found[at])
    text = _what(found[at:], wanted[at:], index + at)
    return Finding(path=path, line=line + at, index=index + at, text=text)


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _what(found: list[bytes], wanted: list[bytes], index: int) -> str:
    """What was done, as far as the lines that follow show it."""
    if not found[0]:
        return "it is no line that a log has: it was changed"
    later = wanted.index(found[0]) if found[0] in wanted else 0
    moved = found.index(wanted[0]) if wanted[0] in found else 0
    if later and moved:
        return f"record {index + later} stands here: records were reordered"
    if later:
        missing = f"record {index} is" if later == 1 else f"records {index} to {index + later - 1} are"
        return f"record {index + later} stands here: {missing} missing"
    if moved:
        return f"{moved} {'line was' if moved == 1 else 'lines were'} inserted here"
    return "the line is not what was logged: it was changed"

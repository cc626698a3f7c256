"""What a start finds in a log's folder, and whether that is the log that was signed.

Law 1: the tiles must have the root of the checkpoint, and each line of the open file that the checkpoint covers must
have its leaf hash. If not, the first bad record is named, and nothing is changed. Closed files are not read here.
Law 2: lines after the checkpoint are taken as they are: nothing says what they were. They are counted.
Law 3: a log that has less than what witnesses have cosigned of it, or other records, is not continued.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.audit.comparing import Finding, compare
from authz.audit.layout import CHECKPOINT, OPEN_FILE, WITNESSED, closed_files, is_a_log
from authz.audit.signing import OtherLogError, read_signed
from authz.audit.tile_files import TileEdge, TileFiles
from authz.audit.verifying import first_index, verify
from authz.core.audit import note
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.entry import is_line, line_hashes
from authz.core.audit.frontier import Frontier
from authz.core.audit.keys import VerifierKey
from authz.core.audit.tiles import Tree
from authz.core.errors import AuditBrokenError
from authz.ops.log_reader import LogReader
from authz.system.regular_file import read_regular

log = logging.getLogger(__name__)

_KEY_HINT: Final = "after a change of keys, name the old one behind the new one"
_NAME_HINT: Final = (
    "a log is continued under its own name only, the host of `assertion.issuer` and `gate`: set these as they were, or"
    " move the folder away to begin a new log"
)
_HINT: Final = "move the folder away to begin a new log"


@dataclass(slots=True, kw_only=True)
class Found:
    """A log that can be continued.

    Attributes:
        head: the last checkpoint.
        key_ids: those of the keys that had signed it, in the log's name.
        frontier, edge: the tree with all lines, also those after the checkpoint.
        first: the index of the first line of the open file.
        bytes: those of its whole lines.
        began: the time of its first entry, "" if it has none.
        unsigned: how many lines there are after the checkpoint.
        cut: the bytes after the last whole line.
        before: the name of the last closed file, "" if there is none.
        witnessed: how many lines the checkpoint with a quorum of cosignatures covers, 0 if there is none.
    """

    head: Checkpoint
    key_ids: frozenset[bytes]
    frontier: Frontier
    edge: TileEdge
    first: int
    before: str
    bytes: int = 0
    began: str = ""
    unsigned: int = 0
    cut: int = 0
    witnessed: int = 0


def has_log(folder: Path) -> bool:
    """Whether there is a log to continue; else the folder is empty of any.

    Raises:
        AuditBrokenError: there is a part of a log, but no checkpoint.
        OSError: the folder cannot be read.
    """
    if (folder / CHECKPOINT).exists():
        return True
    if is_a_log(folder):
        raise AuditBrokenError(f"{folder} has lines or tiles of a log, but no checkpoint ({_HINT})")
    return False


def recover(folder: Path, keys: tuple[VerifierKey, ...]) -> Found:
    """The log in the folder.

    Raises:
        AuditBrokenError: it is not the log that its checkpoint signed, with the first bad record; or none of the keys
            has signed it.
        OSError: it cannot be read.
    """
    path = folder / CHECKPOINT
    try:
        data = read_regular(path, note.MOST_BYTES)
        head, _ = read_signed(data, keys)
    except AuditBrokenError as error:
        hint = _NAME_HINT if isinstance(error, OtherLogError) else _KEY_HINT
        raise AuditBrokenError(f"{path}: {error} ({hint})") from None
    tiles = TileFiles(folder)
    frontier = _frontier(folder, head, keys)
    witnessed = _witnessed(folder / WITNESSED, head, keys, tiles)
    closed = closed_files(folder)
    found = Found(
        head=head,
        key_ids=frozenset(one.key_id for one in note.parse(data).signatures if one.name == head.origin),
        frontier=frontier,
        edge=TileEdge(tiles, head.size),
        first=head.size,
        before=closed[-1].path.name if closed else "",
        witnessed=witnessed,
    )
    _read_open_file(folder / OPEN_FILE, found, tiles)
    if closed and closed[-1].first >= frontier.size:
        text = f"by its name it begins with record {closed[-1].first}, and the log has {frontier.size}"
        raise _broken(Finding(path=closed[-1].path, text=f"it is not of this log: {text}"))
    if found.first == head.size and not found.bytes:
        end = closed[-1].first + sum(len(lines) for _, lines in LogReader().batches(closed[-1].path)) if closed else 0
        if end != head.size:
            raise _missing(folder / OPEN_FILE, 1, end, head.size)
    elif closed and closed[-1].first >= found.first:
        raise AuditBrokenError(f"{closed[-1].path} has records that {folder / OPEN_FILE} has too")
    return found


def _witnessed(path: Path, head: Checkpoint, keys: tuple[VerifierKey, ...], tiles: TileFiles) -> int:
    """How many records witnesses have cosigned; 0 if the file is missing, or our keys did not sign it."""
    try:
        kept, _ = read_signed(read_regular(path, note.MOST_BYTES), keys)
    except FileNotFoundError:
        return 0
    except AuditBrokenError as error:  # it proves nothing, so it is replaced by the next one
        log.warning("%s is not used: %s", path, error)
        return 0
    if kept.size > head.size:
        text = (
            f"witnesses cosigned {kept.size} records of the log, and it has {head.size} now: it was cut or rolled back"
        )
        raise _broken(Finding(path=path, text=text))
    tree = Tree(head.size, tiles.read)
    if kept.size and tree.root(0, kept.size) != kept.root:
        text = f"the first {kept.size} records of the log are not those that witnesses cosigned: it was replaced"
        raise _broken(Finding(path=path, text=text))
    return kept.size


def _frontier(folder: Path, head: Checkpoint, keys: tuple[VerifierKey, ...]) -> Frontier:
    try:
        frontier = Frontier.stored(head.size, TileFiles(folder).read)
        if frontier.root() == head.root:
            return frontier
        text = "the tiles do not have the root that the checkpoint signed"
    except AuditBrokenError as error:
        text = str(error)
    findings = verify(folder, keys).findings
    raise AuditBrokenError(str(findings[0]) if findings else f"{folder / 'tile'}: {text}")


def _read_open_file(path: Path, found: Found, tiles: TileFiles) -> None:
    """Compare what the checkpoint covers, and add the lines after it to the tree."""
    try:
        size = path.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return
    reader = LogReader()
    index = covered = found.head.size
    for number, batch in reader.batches(path):
        if reader.is_torn:
            break
        if number == 1:
            first = first_index(batch[0])
            if first is None or first[0] > covered:
                raise _broken(Finding(path=path, line=1, text="the first line does not say which record it is"))
            index, found.began = first
            found.first = index
        leaves = tiles.leaves(index, min(index + len(batch), covered), covered) if index < covered else b""
        differs = compare(batch, leaves, path=path, line=number, index=index)
        if differs is not None:
            raise _broken(differs)
        later = batch[max(0, covered - index) :]
        strange = next((at for at, line in enumerate(later) if not is_line(line)), None)
        if strange is not None:
            at = len(batch) - len(later) + strange
            raise _broken(Finding(path=path, line=number + at, index=index + at, text="it is no line that a log has"))
        found.edge.add(found.frontier.append(line_hashes(later)))
        found.unsigned += len(later)
        found.bytes += sum(map(len, batch)) + len(batch)
        index += len(batch)
    if reader.damages:
        raise _broken(Finding(path=path, line=reader.damages[0].line, text=reader.damages[0].text))
    if found.bytes > size:
        raise AuditBrokenError(f"{path} is compressed: only closed files are")
    if found.bytes and index < covered:
        raise _missing(path, index - found.first + 1, index, covered)
    found.cut = size - found.bytes


def _missing(path: Path, line: int, index: int, size: int) -> AuditBrokenError:
    return _broken(Finding(path=path, line=line, index=index, text=f"it and all up to record {size - 1} are missing"))


def _broken(finding: Finding) -> AuditBrokenError:
    return AuditBrokenError(str(finding))

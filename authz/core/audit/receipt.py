"""Receipts: the proof of one entry, in a file that needs no connection to the log (c2sp.org/tlog-proof@v1).

Law 1: a receipt has no entry in it. Who checks brings the entry's bytes, and the keys that count.
Law 2: the extra data is signed by no one. Nothing here reads it.
"""

from dataclasses import dataclass
from typing import Final

from authz.core.audit import checkpoint
from authz.core.audit.hashing import MOST_ENTRY_BYTES, leaf_hash
from authz.core.audit.note import MOST_BYTES as MOST_NOTE_BYTES
from authz.core.audit.proving import Proof
from authz.core.audit.texts import decoded, encoded, read_hash, read_number
from authz.core.audit.verifying import verify_inclusion
from authz.core.errors import AuditBrokenError

MOST_EXTRA_BYTES: Final = 65_535

_FIRST: Final = "c2sp.org/tlog-proof@v1"
_EXTRA: Final = "extra "
_INDEX: Final = "index "
_MOST_HASHES: Final = 63
_MOST_BYTES: Final = MOST_NOTE_BYTES + MOST_EXTRA_BYTES * 2


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the entry is, from 0, the path from it to the root, the bytes of a signed checkpoint, and extra data."""

    index: int
    proof: Proof
    checkpoint: bytes
    extra: bytes = b""


@dataclass(frozen=True, slots=True)
class Proved:
    """An entry's place in the log, and the checkpoint that covers it."""

    index: int
    head: checkpoint.Verified


def write(receipt: Receipt) -> bytes:
    """The file; AuditBrokenError if it could not be read again."""
    lines = [_FIRST]
    if receipt.extra:
        lines.append(_EXTRA + encoded(receipt.extra))
    lines += [f"{_INDEX}{receipt.index}", *map(encoded, receipt.proof), "", ""]
    data = "\n".join(lines).encode() + receipt.checkpoint
    parse(data)
    return data


def parse(data: bytes) -> Receipt:
    """The receipt with exactly these bytes, nothing verified; AuditBrokenError for everything else."""
    if len(data) > _MOST_BYTES:
        raise AuditBrokenError(f"a receipt has more than {_MOST_BYTES} bytes")
    head, empty_line, signed = data.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise AuditBrokenError("not a receipt") from None
    extra = b""
    if lines and lines[0].startswith(_EXTRA):
        extra = decoded(lines.pop(0).removeprefix(_EXTRA))
        if not 0 < len(extra) <= MOST_EXTRA_BYTES:
            raise AuditBrokenError("the extra data of a receipt is empty or too long")
    if first != _FIRST or not empty_line or not lines or not lines[0].startswith(_INDEX):
        raise AuditBrokenError("not a receipt")
    index, *path = lines
    if len(path) > _MOST_HASHES:
        raise AuditBrokenError(f"the proof of a receipt has more than {_MOST_HASHES} hashes")
    return Receipt(read_number(index.removeprefix(_INDEX)), tuple(map(read_hash, path)), signed, extra)


def verify(data: bytes, entry: bytes, trust: checkpoint.Trust) -> Proved:
    """The place of the entry in the log that `trust` names.

    Raises:
        AuditBrokenError: the receipt is malformed, it does not prove this entry, or its checkpoint does not count.
    """
    if len(entry) > MOST_ENTRY_BYTES:
        raise AuditBrokenError(f"no entry of a log has more than {MOST_ENTRY_BYTES} bytes")
    receipt = parse(data)
    head = checkpoint.verify(receipt.checkpoint, trust)
    verify_inclusion(
        leaf=leaf_hash(entry),
        index=receipt.index,
        size=head.checkpoint.size,
        root=head.checkpoint.root,
        proof=receipt.proof,
    )
    return Proved(receipt.index, head)

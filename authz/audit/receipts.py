"""The receipt of one record: a proof that anyone checks with the log's public key alone (c2sp.org/tlog-proof@v1).

Law 1: the receipt has the record's entry in its extra data, so that one file is enough. That is only what is to be
checked: the proof says whether it is true.
Law 2: only records that the checkpoint covers have a receipt, and a receipt is checked before it is handed out.
Law 3: it has the checkpoint that a quorum of witnesses cosigned, as soon as that covers the record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.audit.comparing import Finding, compare
from authz.audit.layout import CHECKPOINT, WITNESSED
from authz.audit.reading import files_of
from authz.audit.signing import read_signed
from authz.audit.tile_files import TileFiles
from authz.audit.witnessed import Demand
from authz.core.audit import note, proving, receipt
from authz.core.audit.checkpoint import Trust
from authz.core.audit.entry import entry_of
from authz.core.audit.keys import VerifierKey
from authz.core.audit.receipt import Receipt
from authz.core.errors import AuditBrokenError
from authz.core.record import DecisionParts, decision_in
from authz.ops.log_reader import LogReader
from authz.system.regular_file import read_regular

MOST_BYTES: Final = 1 << 20
"""Of a receipt's file."""


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the log, its index from 0, and where it was found: a file, and the line's number from 1."""

    index: int
    line: bytes
    path: Path
    number: int


def find(folder: Path, decision: str) -> Record | None:
    """The record of the decision with this id; None if no file has it.

    Raises:
        OSError: a file cannot be read.
    """
    wanted = f'"id":"{decision}"'.encode()
    for path, first in reversed(files_of(folder)):  # what is asked about is rarely old
        for number, lines in LogReader().batches(path):
            for at, line in enumerate(lines):
                if wanted in line and _is_of(line, decision):
                    return Record(first + number - 1 + at, line, path, number + at)
    return None


def _is_of(line: bytes, decision: str) -> bool:
    parts = decision_in(line)
    return isinstance(parts, DecisionParts) and parts.id == decision


def prove(folder: Path, record: Record, keys: Sequence[VerifierKey]) -> bytes:
    """The receipt of a record, with the log's witnessed checkpoint or else its last one: a receipt that proves it.

    Raises:
        AuditBrokenError: none of the keys signed the checkpoint, it does not cover the record yet, or the record or the
            tiles are not what was signed.
        OSError: something cannot be read.
    """
    path = folder / WITNESSED
    if not (data := _witnessed(folder, record, keys)):
        path = folder / CHECKPOINT
        data = read_regular(path, note.MOST_BYTES)
    try:
        head, signers = read_signed(data, keys)
    except AuditBrokenError as error:
        raise AuditBrokenError(f"{path}: {error}") from None
    if record.index >= head.size:
        raise AuditBrokenError(
            f"record {record.index} is newer than the last checkpoint, which covers {head.size}: wait for the next one"
        )
    tiles = TileFiles(folder)
    leaf = tiles.leaves(record.index, record.index + 1, head.size)
    differs = compare([record.line], leaf, path=record.path, line=record.number, index=record.index)
    if differs is not None:
        raise AuditBrokenError(str(differs))
    entry = entry_of(record.line)
    made = receipt.write(Receipt(record.index, proving.inclusion(record.index, head.size, tiles.read), data, entry))
    try:
        receipt.verify(made, entry, Trust(log=min(signers, key=str)))
    except AuditBrokenError:
        text = "the tiles do not lead from it to the root that the checkpoint signed: `authz audit verify` says more"
        found = Finding(path=record.path, line=record.number, index=record.index, text=text)
        raise AuditBrokenError(str(found)) from None
    return made


def _witnessed(folder: Path, record: Record, keys: Sequence[VerifierKey]) -> bytes:
    """The log's witnessed checkpoint; nothing if it does not cover the record, or none of the keys signed it."""
    try:
        data = read_regular(folder / WITNESSED, note.MOST_BYTES)
        covers = record.index < read_signed(data, keys)[0].size
    except (FileNotFoundError, AuditBrokenError):
        return b""
    return data if covers else b""


def check(data: bytes, demand: Demand, line: bytes | None = None) -> tuple[receipt.Proved, bytes]:
    """The place of a record in the log of one of these keys, and its entry: that of `line`, or else the receipt's.

    Raises:
        AuditBrokenError: the receipt does not prove it, or its checkpoint is not cosigned as demanded.
        ValueError: `line` is no line of a log, or there is no key.
    """
    if not demand.keys:
        raise ValueError("no key was given")
    made = receipt.parse(data)
    entry = made.extra if line is None else entry_of(line)
    return receipt.verify(data, entry, demand.trust_in(made.checkpoint)), entry

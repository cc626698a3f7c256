"""Checkpoints: what a log was at one time, signed by the log and cosigned by witnesses (c2sp.org/tlog-checkpoint).

Law 1: the text is three lines, origin, size and root. Extension lines are refused: no reader of the log can check them.
Law 2: the name of the log's key is the origin, so that a checkpoint of one log cannot pass for one of another.
Law 3: a checkpoint says nothing about time, and a log may show others another history. Witnesses answer both: `Trust`
says how many must have cosigned, and a witness counts once.
"""

from dataclasses import dataclass
from typing import Final

from authz.core.audit import note
from authz.core.audit.hashing import EMPTY_ROOT, HASH_BYTES
from authz.core.audit.keys import SignatureType, VerifierKey, cosigned_at
from authz.core.audit.proving import Proof
from authz.core.audit.texts import encoded, is_name, read_hash, read_number
from authz.core.audit.tiles import LARGEST_SIZE
from authz.core.audit.verifying import verify_consistency
from authz.core.errors import AuditBrokenError

_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of a log: its name, the number of its entries, and the root over them.

    Raises:
        ValueError: no log has such an origin, size or root.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_name(self.origin) or not 0 <= self.size <= LARGEST_SIZE or len(self.root) != HASH_BYTES:
            raise ValueError("no log has this origin, size or root")
        if not self.size and self.root != EMPTY_ROOT:
            raise ValueError("not the root of a log without entries")

    @property
    def text(self) -> str:
        """What is signed: three lines, each with a newline."""
        return f"{self.origin}\n{self.size}\n{encoded(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint with exactly this text; AuditBrokenError for everything else."""
        lines = text.split("\n")
        if len(lines) != _LINES + 1 or lines[_LINES]:
            raise AuditBrokenError("a checkpoint does not have three lines")
        origin, size, root, _ = lines
        try:
            return cls(origin, read_number(size), read_hash(root))
        except ValueError:
            raise AuditBrokenError("no log has this origin, size or root") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose checkpoints count: the key of the log, and how many of these witnesses must have cosigned.

    Raises:
        ValueError: a key is of the wrong type, two keys are the same, or more witnesses must cosign than there are.
    """

    log: VerifierKey
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        if self.log.type is not SignatureType.ED25519:
            raise ValueError("the log's key is not of the type of a log's key")
        if any(witness.type is not SignatureType.COSIGNATURE for witness in self.witnesses):
            raise ValueError("a witness's key is not of the type of a witness's key")
        if len({key.public_key for key in (self.log, *self.witnesses)}) <= len(self.witnesses):
            raise ValueError("two of log and witnesses have the same public key")
        if not 0 <= self.quorum <= len(self.witnesses):
            raise ValueError("the quorum is not a number of the witnesses")


@dataclass(frozen=True, slots=True)
class Verified:
    """A checkpoint that counts, and the time at which each witness cosigned it, in seconds since the epoch."""

    checkpoint: Checkpoint
    cosigned: dict[VerifierKey, int]


def verify(data: bytes, trust: Trust) -> Verified:
    """The checkpoint in a signed note.

    Raises:
        AuditBrokenError: it is malformed, of another log, not signed by the log, or by fewer witnesses than must have.
    """
    read = note.parse(data)
    signed = note.verify(read, (trust.log, *trust.witnesses))
    if signed.pop(trust.log, None) is None:
        raise AuditBrokenError("the checkpoint is not signed by its log")
    checkpoint = Checkpoint.parse(read.text)
    if checkpoint.origin != trust.log.name:
        raise AuditBrokenError("the checkpoint is of another log")
    if len(signed) < trust.quorum:
        raise AuditBrokenError(f"{len(signed)} witnesses cosigned the checkpoint, {trust.quorum} must have")
    return Verified(checkpoint, {witness: cosigned_at(value) for witness, value in signed.items()})


def verify_continues(older: Checkpoint, newer: Checkpoint, proof: Proof) -> None:
    """Check that the log only grew between two checkpoints that were verified.

    Raises:
        AuditBrokenError: they are of two logs, or the newer log does not begin with the older one.
    """
    if older.origin != newer.origin:
        raise AuditBrokenError("the two checkpoints are of different logs")
    verify_consistency(first=older.size, first_root=older.root, second=newer.size, second_root=newer.root, proof=proof)

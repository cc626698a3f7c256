"""What a log and its witnesses say to each other (c2sp.org/tlog-witness, `add-checkpoint` and monitor retrieval).

Law 1: what a witness answers is nothing before it verified: a cosignature over exactly the checkpoint that was sent, by
the key that is known for this witness, with a time. Cosignatures of other keys are ignored.
Law 2: a size in an answer is a claim that no one signed. It chooses the proof that is sent next, and it can raise an
alarm. It changes nothing else.
"""

from hashlib import sha256
from typing import Final

from authz.core.audit import note
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.keys import VerifierKey, cosigned_at
from authz.core.audit.note import Signature
from authz.core.audit.proving import Proof
from authz.core.audit.texts import encoded, read_number
from authz.core.errors import AuditBrokenError

SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of the answer 409, which has the size that the witness knows."""
_MOST_HASHES: Final = 63
_LONGEST_SIZE: Final = 20


def add_checkpoint(old: int, proof: Proof, signed: bytes) -> bytes:
    """The body of a request to cosign the checkpoint in a signed note; `proof` leads there from the size `old`.

    Raises:
        ValueError: the proof has more hashes than a witness reads.
    """
    if len(proof) > _MOST_HASHES:
        raise ValueError(f"a consistency proof has more than {_MOST_HASHES} hashes")
    return "\n".join([f"old {old}", *map(encoded, proof), "", ""]).encode() + signed


def read_size(data: bytes) -> int:
    """The size in an answer 409; AuditBrokenError for anything else than a decimal number and a newline."""
    if len(data) > _LONGEST_SIZE or not data.endswith(b"\n"):
        raise AuditBrokenError("not the size of a log")
    return read_number(data[:-1].decode("latin-1"))


def read_cosignature(data: bytes, head: Checkpoint, witness: VerifierKey) -> Signature:
    """The witness's cosignature of this checkpoint, in the signature lines of an answer 200.

    Raises:
        AuditBrokenError: the lines are malformed, or the witness has not cosigned this checkpoint, or without a time.
    """
    answer = note.parse(head.text.encode() + b"\n" + data)
    if answer.text != head.text:
        raise AuditBrokenError("the answer has more than signature lines")
    value = note.verify(answer, (witness,))[witness]
    if cosigned_at(value) == 0:
        raise AuditBrokenError("the cosignature says no time")
    return Signature(witness.name, witness.key_id, value)


def checkpoint_path(origin: str) -> str:
    """Where a witness shows the last checkpoint of the log that it cosigned, below its monitoring prefix."""
    return f"/{sha256(origin.encode()).hexdigest()}/checkpoint"

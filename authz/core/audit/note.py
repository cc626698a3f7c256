"""Signed notes: a text, an empty line, and a line for each signature (c2sp.org/signed-note).

Law: a text is nothing before `verify` returned. Signatures of unknown keys are ignored, because a log's checkpoint
collects them; a known key that signed wrongly, or more than once, makes the whole note invalid.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from authz.core.audit.keys import KEY_ID_BYTES, Sign, VerifierKey
from authz.core.audit.texts import decoded, encoded, is_name
from authz.core.errors import AuditBrokenError

MOST_SIGNATURES: Final = 64
MOST_BYTES: Final = 1 << 19  # 64 signatures of the longest kind, which is nearly 5,000 bytes long

_BEGIN: Final = "— "
_control: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Signature(NamedTuple):
    """One signature line: the name and id of a key, and 1 or more bytes, whose form depends on the key's type."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_BEGIN}{self.name} {encoded(self.key_id + self.value)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and its signatures, not verified."""

    text: str
    signatures: tuple[Signature, ...]


def sign(text: str, key: VerifierKey, make: Sign, time: int = 0) -> Signature:
    """The key's signature of this text; the arguments and errors are those of `VerifierKey.sign`."""
    return Signature(key.name, key.key_id, key.sign(text, make, time))


def write(text: str, signatures: Iterable[Signature]) -> bytes:
    """The note's bytes; AuditBrokenError if `parse` would not give the same text and signatures."""
    made = Note(text, tuple(signatures))
    data = "\n".join([text, *map(str, made.signatures), ""]).encode()
    if parse(data) != made:
        raise AuditBrokenError("not the text and the signatures of a note")
    return data


def parse(data: bytes) -> Note:
    """The note with exactly these bytes; AuditBrokenError for everything else."""
    if len(data) > MOST_BYTES:
        raise AuditBrokenError(f"a note has more than {MOST_BYTES} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise AuditBrokenError("a note is not UTF-8") from None
    text, empty_line, block = whole.rpartition("\n\n")
    *lines, after = block.split("\n")
    if not empty_line or not lines or after or _control.search(whole):
        raise AuditBrokenError("not a text, an empty line and signature lines")
    if len(lines) > MOST_SIGNATURES:
        raise AuditBrokenError(f"a note has more than {MOST_SIGNATURES} signatures")
    return Note(f"{text}\n", tuple(map(_signature, lines)))


def verify(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, bytes]:
    """The keys that signed the note, each with its signature: one at least.

    Raises:
        AuditBrokenError: none of the keys signed it, or one of them wrongly, or more than once.
        ValueError: two of the keys have the same name and key id.
    """
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise ValueError("two keys have the same name and key id")
    signed: dict[VerifierKey, bytes] = {}
    for name, key_id, value in note.signatures:
        signer = known.get((name, key_id))
        if signer is None:
            continue
        if signer in signed:
            raise AuditBrokenError(f"{signer.name} signed more than once")
        if not signer.is_signed(note.text, value):
            raise AuditBrokenError(f"the signature of {signer.name} is wrong")
        signed[signer] = value
    if not signed:
        raise AuditBrokenError("no known key signed the note")
    return signed


def _signature(line: str) -> Signature:
    name, _, value = line.removeprefix(_BEGIN).partition(" ")
    data = decoded(value)
    if not line.startswith(_BEGIN) or not is_name(name) or len(data) <= KEY_ID_BYTES:
        raise AuditBrokenError("not a signature line")
    return Signature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])

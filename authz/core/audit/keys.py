"""Verifier keys and what they sign: notes, and cosignatures of checkpoints (c2sp.org/signed-note, tlog-cosignature).

Law 1: a key has one purpose, its type; the same public key in another type has another key id. Types that we do not
make are unknown.
Law 2: a cosignature's message begins with a line that no checkpoint of ours can begin with. It does not have the
witness's name in it, so one public key under two names is one witness.
Law 3: private keys are never here: the caller gives a function that signs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from authz.core.audit.texts import decoded, encoded, is_name
from authz.core.errors import AuditBrokenError
from authz.core.jose.weak_ed25519 import is_weak

KEY_ID_BYTES: Final = 4
MOST_NAME_BYTES: Final = 255
"""The longest name of a log or witness: newer cosignatures count it in one byte (c2sp.org/tlog-cosignature)."""
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_LATEST: Final = (1 << 63) - 1

Sign = Callable[[bytes], bytes]
"""Makes the Ed25519 signature, 64 bytes, of a message."""


class SignatureType(IntEnum):
    """The types that we know (c2sp.org/signed-note, "Signature types")."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """An Ed25519 public key of 32 bytes, with the name of its owner and its purpose. Its text is the verifier key.

    Raises:
        ValueError: the name cannot name a key, or the key has another length, or anyone can sign for it.
    """

    name: str
    type: SignatureType
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name) or len(self.name.encode()) > MOST_NAME_BYTES:
            raise ValueError("not the name of a key")
        if len(self.public_key) != _KEY_BYTES or is_weak(self.public_key):
            raise ValueError("not an Ed25519 public key that only its owner can sign for")

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """The key with exactly this text: `name+key id+base64`; AuditBrokenError for everything else."""
        name, _, rest = text.partition("+")
        key_id, _, material = rest.partition("+")
        data = decoded(material)
        try:
            key = cls(name, SignatureType(data[0]), data[1:])
        except (IndexError, ValueError):
            raise AuditBrokenError("not a verifier key of a type that is known here") from None
        if key.key_id.hex() != key_id:
            raise AuditBrokenError("the key id of the verifier key does not belong to its name and key")
        return key

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of the hash over name, type and key."""
        return sha256(b"%s\n%c%s" % (self.name.encode(), self.type, self.public_key)).digest()[:KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encoded(bytes([self.type]) + self.public_key)}"

    def is_signed(self, text: str, signature: bytes) -> bool:
        """Whether the key made this signature over the text of a note."""
        message, at = text.encode(), 0
        if self.type is SignatureType.COSIGNATURE:
            message, at = _cosigned(text, cosigned_at(signature)), _TIME_BYTES
            if cosigned_at(signature) > _LATEST:
                return False
        if len(signature) != at + _SIGNATURE_BYTES:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature[at:], message)
        except InvalidSignature:
            return False
        return True

    def sign(self, text: str, make: Sign, time: int = 0) -> bytes:
        """The signature over the text of a note; a cosignature says `time`, in seconds since the epoch.

        Raises:
            ValueError: `make` does not sign with the private key of this key, or the time is not below 2^63.
        """
        if self.type is SignatureType.COSIGNATURE:
            value = time.to_bytes(_TIME_BYTES, "big") + make(_cosigned(text, time))
        else:
            value = make(text.encode())
        if not self.is_signed(text, value):
            raise ValueError("what was signed does not verify with this key")
        return value


def cosigned_at(cosignature: bytes) -> int:
    """The time in a cosignature, in seconds since the epoch."""
    return int.from_bytes(cosignature[:_TIME_BYTES], "big")


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()

"""A log's tree in memory, as its writer would store it, and keys that sign for it."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.core.audit import checkpoint, note, proving, receipt
from authz.core.audit.frontier import Frontier
from authz.core.audit.hashing import HASH_BYTES, leaf_hashes
from authz.core.audit.keys import SignatureType, VerifierKey
from authz.core.audit.tiles import WIDTH

ORIGIN = "gate.example/audit/eu-1"


class Key:
    """A private key; `seed` makes it the same in each run."""

    def __init__(self, name, seed, type_=SignatureType.ED25519):
        private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self.sign = private.sign
        self.public = VerifierKey(name, type_, private.public_key().public_bytes_raw())

    def signature(self, text, time=0):
        return note.sign(text, self.public, self.sign, time)


LOG = Key(ORIGIN, 1)
WITNESSES = [Key(f"witness.example/w{number}", 10 + number, SignatureType.COSIGNATURE) for number in range(3)]
BOTH = checkpoint.Trust(log=LOG.public, witnesses=tuple(key.public for key in WITNESSES), quorum=2)
ALONE = checkpoint.Trust(log=LOG.public)


class StoredLog:
    """Appends entries and keeps all tiles, each level in one text."""

    def __init__(self, entries=()):
        self.frontier = Frontier()
        self.levels = []
        self.reads = []
        self.append(entries)

    def append(self, entries):
        new = self.frontier.append(leaf_hashes(list(entries)))
        self.levels += [b""] * (len(new) - len(self.levels))
        for level, hashes in enumerate(new):
            self.levels[level] += hashes

    def read(self, level, index, width):
        self.reads.append((level, index, width))
        begin = index * WIDTH * HASH_BYTES
        return self.levels[level][begin : begin + width * HASH_BYTES]

    def root(self, size):
        return proving.root(size, self.read)

    def inclusion(self, index, size):
        return proving.inclusion(index, size, self.read)

    def consistency(self, first, second):
        return proving.consistency(first, second, self.read)

    def checkpoint(self, size, *keys, origin=ORIGIN, time=1_700_000_000):
        """A signed checkpoint; each key signs in its own way."""
        text = checkpoint.Checkpoint(origin, size, self.root(size)).text
        return note.write(text, [key.signature(text, time) for key in keys])

    def receipt(self, index, size, *keys, extra=b""):
        made = receipt.Receipt(index, self.inclusion(index, size), self.checkpoint(size, *keys), extra)
        return receipt.write(made)

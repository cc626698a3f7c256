"""The hashes of a log's tree, with SHA-256 (RFC 6962 §2.1). Many hashes are one text of bytes, 32 for each.

Law: a leaf's hash begins with 0x00 and a node's with 0x01, so that no entry can pass for a node. Everything that is
hashed as a node is 64 bytes long.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a log without entries."""
MOST_ENTRY_BYTES: Final = 65_535
"""The longest entry: its length has two bytes where entries are served (c2sp.org/tlog-tiles, "Log entries")."""

_PAIR: Final = 2 * HASH_BYTES


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry; ValueError if it is longer than MOST_ENTRY_BYTES."""
    return leaf_hashes((entry,))


def leaf_hashes(entries: Sequence[bytes]) -> bytes:
    """The hashes of entries, in their order; ValueError if one is longer than MOST_ENTRY_BYTES."""
    if max(map(len, entries), default=0) > MOST_ENTRY_BYTES:
        raise ValueError(f"an entry has more than {MOST_ENTRY_BYTES} bytes")
    return b"".join([sha256(b"\0" + entry).digest() for entry in entries])


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two hashes of 32 bytes."""
    return sha256(b"\1" + left + right).digest()


def parents(hashes: bytes) -> bytes:
    """The hash above each pair, for an even number of hashes."""
    return b"".join([sha256(b"\1" + hashes[at : at + _PAIR]).digest() for at in range(0, len(hashes), _PAIR)])


def top(hashes: bytes) -> bytes:
    """The root above 1, 2, 4, 8 … hashes."""
    while len(hashes) > HASH_BYTES:
        hashes = parents(hashes)
    return hashes

"""Proofs about a log, made from its tiles: root, inclusion and consistency (RFC 6962 §2.1, §2.1.1, §2.1.2).

Law: a proof is a tuple of hashes of 32 bytes, lowest first, at most 63 for inclusion and 64 for consistency. It has no
index and no size: a checkpoint and a receipt give them.
"""

from authz.core.audit.hashing import EMPTY_ROOT
from authz.core.audit.tiles import Read, Tree, left_part

Proof = tuple[bytes, ...]


def root(size: int, read: Read) -> bytes:
    """The root of the first `size` entries; ValueError for a size that no log has."""
    tree = Tree(size, read)
    return tree.root(0, size) if size else EMPTY_ROOT


def inclusion(index: int, size: int, read: Read) -> Proof:
    """The proof that the log of `size` entries has a certain entry at `index`, from 0.

    Raises:
        AuditBrokenError: a tile has another length than its width says.
        ValueError: the log has no such entry.
    """
    tree = Tree(size, read)
    if not 0 <= index < size:
        raise ValueError("the log has no entry with this index")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + left_part(high - low)
        if index < middle:
            path.append(tree.root(middle, high))
            high = middle
        else:
            path.append(tree.root(low, middle))
            low = middle
    return tuple(reversed(path))


def consistency(first: int, second: int, read: Read) -> Proof:
    """The proof that the first `first` entries of the log of `second` entries are those of its older self.

    Empty for the same size, and for the older log without entries.

    Raises:
        AuditBrokenError: a tile has another length than its width says.
        ValueError: the sizes are in the wrong order.
    """
    tree = Tree(second, read)
    if not 0 <= first <= second:
        raise ValueError("the older log cannot be the longer one")
    path: list[bytes] = []
    low, high = 0, second if first else 0
    while first != high:
        middle = low + left_part(high - low)
        if first <= middle:
            path.append(tree.root(middle, high))
            high = middle
        else:
            path.append(tree.root(low, middle))
            low = middle
    if low:
        path.append(tree.root(low, high))
    return tuple(reversed(path))

"""Checks of proofs: an entry is in a log, and a log is a beginning of another (RFC 9162 §2.1.3.2, §2.1.4.2).

Law: a check returns nothing or raises `AuditBrokenError`. It sees hashes only, and no tiles.

A proof is about roots. That a root belongs to a size is what a checkpoint's signature says: with the same root, a proof
verifies for each size in which the path has the same turns. So a size and its root come from one checkpoint.
"""

from collections.abc import Sequence

from authz.core.audit.hashing import EMPTY_ROOT, HASH_BYTES, node_hash
from authz.core.errors import AuditBrokenError


def verify_inclusion(*, leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `size` entries with this root has the leaf hash at `index`.

    Raises:
        AuditBrokenError: the proof does not show it.
    """
    _check_lengths(leaf, root, *proof)
    if not 0 <= index < size:
        raise AuditBrokenError("the index is not below the size of the log")
    place, last, above = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise AuditBrokenError("the inclusion proof is too long")
        if place & 1 or place == last:
            above = node_hash(sibling, above)
            place, last = _up(place, last)
        else:
            above = node_hash(above, sibling)
        place, last = place >> 1, last >> 1
    if last or above != root:
        raise AuditBrokenError("the inclusion proof does not lead from the entry to the root")


def verify_consistency(
    *, first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `first` entries is a beginning of the tree of `second` entries.

    Raises:
        AuditBrokenError: the proof does not show it.
    """
    _check_lengths(first_root, second_root, *proof)
    if not 0 <= first <= second:
        raise AuditBrokenError("the older log is longer than the newer one")
    if first in {0, second}:
        if proof:
            raise AuditBrokenError("the consistency proof must be empty here")
        if first_root != (second_root if first else EMPTY_ROOT):
            raise AuditBrokenError("two logs of this size have different roots")
        return
    if not proof:
        raise AuditBrokenError("the consistency proof is too short")
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    below, *siblings = proof if first & (first - 1) else (first_root, *proof)
    older = newer = below
    for sibling in siblings:
        if last == 0:
            raise AuditBrokenError("the consistency proof is too long")
        if place & 1 or place == last:
            older, newer = node_hash(sibling, older), node_hash(sibling, newer)
            place, last = _up(place, last)
        else:
            newer = node_hash(newer, sibling)
        place, last = place >> 1, last >> 1
    if last or older != first_root or newer != second_root:
        raise AuditBrokenError("the consistency proof does not lead to both roots")


def _up(place: int, last: int) -> tuple[int, int]:
    """Both, at the height where the place is a right child, or the first one."""
    while place and not place & 1:
        place, last = place >> 1, last >> 1
    return place, last


def _check_lengths(*hashes: bytes) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise AuditBrokenError(f"a hash does not have {HASH_BYTES} bytes")

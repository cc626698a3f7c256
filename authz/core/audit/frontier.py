"""Appends to a log's tree: the hashes that later appends and the root need, at most 63 of them.

Law: entries are only added. The root depends on nothing but the entries: not on how many come at once, and not on
whether this object saw them all or begins with a stored tree.
"""

from authz.core.audit.hashing import EMPTY_ROOT, HASH_BYTES, node_hash, parents
from authz.core.audit.tiles import HEIGHT, LARGEST_SIZE, Read, Tree


class Frontier:
    """The right edge of a tree: its size, and the roots of its full subtrees, one for each bit of the size.

    Attributes:
        size: the number of entries.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # by height; empty where the size has no bit

    @classmethod
    def stored(cls, size: int, read: Read) -> "Frontier":
        """The frontier of a tree whose tiles are stored.

        Raises:
            AuditBrokenError: a tile has another length than its width says.
            ValueError: no tree has this size.
        """
        tree = Tree(size, read)
        made = cls()
        made.size = size
        for height in range(size.bit_length()):
            count = size >> height
            made._peaks.append(tree.node(height, count - 1) if count & 1 else b"")
        return made

    def append(self, hashes: bytes) -> tuple[bytes, ...]:
        """Add leaf hashes, in their order; returns what is new in the tiles of each level, to be appended to them.

        The first text has the hashes for the tiles of level 0, the next those for level 1, and so on, as far as there
        are any. Appending to the tree costs as many node hashes as there are leaf hashes, or one more for each height.
        """
        count, rest = divmod(len(hashes), HASH_BYTES)
        if rest or self.size + count > LARGEST_SIZE:
            raise ValueError(f"not a sequence of hashes of {HASH_BYTES} bytes, or too many of them")
        peaks = self._peaks.copy()  # an append that fails changes nothing
        new: list[bytes] = []
        height = 0
        while hashes:
            if height % HEIGHT == 0:
                new.append(hashes)
            if height == len(peaks):
                peaks.append(b"")
            nodes = peaks[height] + hashes
            paired = len(nodes) // (2 * HASH_BYTES) * 2 * HASH_BYTES
            peaks[height] = nodes[paired:]
            hashes = parents(nodes[:paired])
            height += 1
        self.size += count
        self._peaks = peaks
        return tuple(new)

    def root(self) -> bytes:
        """The root of the tree as it is now (RFC 6962 §2.1)."""
        above = b""
        for peak in self._peaks:
            if peak:
                above = node_hash(peak, above) if above else peak
        return above or EMPTY_ROOT

"""How a log's hashes are stored: tiles of 256 hashes, over eight heights of the tree (c2sp.org/tlog-tiles).

A tile of level L has hashes of the tree's height 8·L, in their order: level 0 has leaf hashes, level 1 the roots above
the full tiles of level 0. The last tile of a level may be partial. A full one never changes.

Law: geometry only. The caller gives the function that reads. What that returns is used as it is, and only its length is
checked: a changed tile makes proofs that do not verify.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.audit.hashing import HASH_BYTES, node_hash, top
from authz.core.errors import AuditBrokenError

HEIGHT: Final = 8
"""The heights of the tree that a tile spans."""
WIDTH: Final = 1 << HEIGHT
"""The hashes of a full tile."""
TILE_BYTES: Final = WIDTH * HASH_BYTES
LARGEST_SIZE: Final = (1 << 63) - 1
"""The most entries of a log, so that every size and index is a signed number of 64 bits for others too."""

Read = Callable[[int, int, int], bytes]
"""From level, index and width to the first `width` hashes of a tile; a longer file of the same tile has them too."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: `index` counts from 0 in its level; `width` is the number of its hashes, 1 to 256."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its place below the log's folder or URL: `tile/0/x001/x234/067`, or `tile/0/x001/x234/067.p/8`."""
        rest, last = divmod(self.index, 1000)
        name = f"{last:03}"
        while rest:
            rest, part = divmod(rest, 1000)
            name = f"x{part:03}/{name}"
        return f"tile/{self.level}/{name}" + (f".p/{self.width}" if self.width < WIDTH else "")


def partial_tiles(size: int) -> Iterator[Tile]:
    """The partial tiles of a tree, lowest level first: they must be there when its checkpoint is."""
    level = 0
    while size:
        index, width = divmod(size, WIDTH)
        if width:
            yield Tile(level, index, width)
        size, level = index, level + 1


class Tree:
    """The full subtrees of one tree, read from its tiles; each tile is read once, so make one for each question.

    Raises:
        ValueError: no tree has this size.
    """

    def __init__(self, size: int, read: Read) -> None:
        if not 0 <= size <= LARGEST_SIZE:
            raise ValueError("not the size of a log")
        self._size = size
        self._read = read
        self._tiles: dict[tuple[int, int], bytes] = {}

    def node(self, height: int, index: int) -> bytes:
        """The root of the full subtree over the entries from `index << height` to before `(index + 1) << height`."""
        level, above = divmod(height, HEIGHT)
        tile, at = divmod(index << above, WIDTH)
        hashes = self._tile(level, tile)
        return top(hashes[at * HASH_BYTES : (at + (1 << above)) * HASH_BYTES])

    def root(self, low: int, high: int) -> bytes:
        """The root over the entries from `low` to before `high`: MTH(D[low:high]) of RFC 6962 §2.1.

        `low` must be a multiple of the smallest power of two that is not less than their number.
        """
        count = high - low
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self.node(height, low >> height)
        middle = low + left_part(count)
        return node_hash(self.root(low, middle), self.root(middle, high))

    def _tile(self, level: int, index: int) -> bytes:
        known = self._tiles.get((level, index))
        if known is None:
            width = min(WIDTH, (self._size >> HEIGHT * level) - index * WIDTH)
            known = self._tiles[level, index] = self._read(level, index, width)
            if len(known) != width * HASH_BYTES:
                raise AuditBrokenError(f"{Tile(level, index, width).path} does not have {width} hashes")
        return known


def left_part(count: int) -> int:
    """The largest power of two less than `count`, which is 2 or more: how many entries are left of the tree's root."""
    return 1 << (count - 1).bit_length() - 1

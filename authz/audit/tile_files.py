"""The tiles of a log on the disk (c2sp.org/tlog-tiles).

Law 1: a tile is written whole and is on the disk before the checkpoint that needs it. A full one never changes.
Law 2: partial tiles are written for checkpoints only. They stay until their tile is full, so that older checkpoints
keep theirs.
Law 3: reading trusts nothing. A file of another length than its name says is as one that is missing.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from authz.audit.layout import FILE_MODE
from authz.core.audit.hashing import HASH_BYTES
from authz.core.audit.tiles import TILE_BYTES, WIDTH, Tile, partial_tiles
from authz.core.errors import AuditBrokenError
from authz.system.regular_file import open_regular
from authz.system.whole_file import sync_folder

_DRAFT: Final = ".draft"
_AT_ONCE: Final = 64  # files that are open
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW


class TileFiles:
    """The tiles below a log's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, tile: Tile) -> Path:
        """Where a tile is."""
        return self._folder / tile.path

    def read(self, level: int, index: int, width: int) -> bytes:
        """The first hashes of a tile, as `authz.core.audit.tiles.Read`; none if it is missing or cut.

        Raises:
            OSError: it cannot be read.
        """
        data = self._read(Tile(level, index, width))
        if not data and width < WIDTH:
            data = self._read(Tile(level, index))[: width * HASH_BYTES]
        return data

    def _read(self, tile: Tile) -> bytes:
        """The whole tile; none if there is no file of exactly its length."""
        size = tile.width * HASH_BYTES
        try:
            descriptor = open_regular(self.path(tile))
        except (FileNotFoundError, NotADirectoryError):
            return b""
        try:
            data = os.read(descriptor, size + 1)
        finally:
            os.close(descriptor)
        return data if len(data) == size else b""

    def leaves(self, begin: int, end: int, size: int) -> bytes:
        """The leaf hashes from `begin` to before `end` of the tree of `size` entries.

        Raises:
            AuditBrokenError: a tile is missing or cut.
            OSError: it cannot be read.
        """
        found = []
        for index in range(begin // WIDTH, -(-end // WIDTH)):
            tile = Tile(0, index, min(WIDTH, size - index * WIDTH))
            data = self.read(0, index, tile.width)
            if len(data) != tile.width * HASH_BYTES:
                raise AuditBrokenError(f"{self.path(tile)} is missing, or has another length")
            low, high = max(begin - index * WIDTH, 0), min(end - index * WIDTH, WIDTH)
            found.append(data[low * HASH_BYTES : high * HASH_BYTES])
        return b"".join(found)

    def write(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        """Write tiles, and have them on the disk.

        Many at a time are written, then synced, and then get their names: so a file system writes its journal once.

        Raises:
            OSError: some are not written; what was there stays, and all may be written again.
        """
        folders: set[Path] = set()
        for begin in range(0, len(tiles), _AT_ONCE):
            with contextlib.ExitStack() as opened:
                drafts = [
                    (self._draft(tile, hashes, opened), self.path(tile)) for tile, hashes in tiles[begin:][:_AT_ONCE]
                ]
                for (descriptor, _), _ in drafts:
                    os.fsync(descriptor)
            for (_, draft), path in drafts:
                draft.replace(path)
                folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def _draft(self, tile: Tile, hashes: bytes, opened: contextlib.ExitStack) -> tuple[int, Path]:
        path = self.path(tile)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + _DRAFT)
        descriptor = open_regular(draft, _FLAGS, FILE_MODE)
        opened.callback(os.close, descriptor)
        rest = memoryview(hashes)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return descriptor, draft

    def remove_partial(self, tile: Tile) -> None:
        """Remove the partial tiles of a full one. What cannot be removed does no harm."""
        path = self.path(tile)
        shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


class _Level:
    """The tiles of one level that are not written: hashes from the beginning of the tile `index` on."""

    __slots__ = ("hashes", "index", "stored")

    def __init__(self, index: int, hashes: bytes) -> None:
        self.index = index
        self.hashes = bytearray(hashes)
        self.stored = len(hashes)  # bytes of the partial tile that are written


class TileEdge:
    """The tiles at the right edge of a growing tree, and those that are not written yet.

    Args:
        files: the tiles.
        size: of the tree that is stored.

    Raises:
        AuditBrokenError: a tile at the edge is missing or cut.
        OSError: it cannot be read.
    """

    def __init__(self, files: TileFiles, size: int) -> None:
        self._files = files
        self._levels: list[_Level] = []
        edge = {tile.level: tile for tile in partial_tiles(size)}
        level = 0
        while size >> (8 * level):
            tile, hashes = edge.get(level), b""
            if tile is not None:
                hashes = files.read(tile.level, tile.index, tile.width)
                if len(hashes) != tile.width * HASH_BYTES:
                    raise AuditBrokenError(f"{files.path(tile)} is missing, or has another length")
            self._levels.append(_Level((size >> (8 * level)) // WIDTH, hashes))
            level += 1

    def add(self, new: tuple[bytes, ...]) -> None:
        """Add the hashes that an append made, by level, as `Frontier.append` returns them."""
        for level, hashes in enumerate(new):
            if level == len(self._levels):
                self._levels.append(_Level(0, b""))
            self._levels[level].hashes += hashes

    def store(self) -> None:
        """Write what is not written.

        Raises:
            OSError: some is not; it is written by the next call.
        """
        tiles: list[tuple[Tile, bytes]] = []
        for level, one in enumerate(self._levels):
            full, rest = divmod(len(one.hashes), TILE_BYTES)
            tiles += [(Tile(level, one.index + at), _part(one.hashes, at)) for at in range(full)]
            if rest and (full or rest > one.stored):
                tile = Tile(level, one.index + full, rest // HASH_BYTES)
                tiles.append((tile, _part(one.hashes, full)))
        self._files.write(tiles)
        for level, one in enumerate(self._levels):
            full, one.stored = divmod(len(one.hashes), TILE_BYTES)
            for at in range(full):
                self._files.remove_partial(Tile(level, one.index + at))
            one.index += full
            del one.hashes[: full * TILE_BYTES]


def _part(hashes: bytearray, at: int) -> bytes:
    """The tile with this number in the hashes of many."""
    return bytes(hashes[at * TILE_BYTES : (at + 1) * TILE_BYTES])

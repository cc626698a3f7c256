"""Logs on the disk, as the gate's writer makes them, and the ways in which someone may change them."""

import gzip
import shutil

from authz.audit.layout import CHECKPOINT, OPEN_FILE, closed_files
from authz.audit.log import AuditLog, Limits
from authz.audit.signing import LogKey, read_signed
from authz.audit.tile_files import TileEdge, TileFiles
from authz.audit.verifying import Older, verify
from authz.core.audit.entry import line_hashes
from authz.core.audit.frontier import Frontier
from tests.support.factories.audit_logs import LOG, ORIGIN, Key
from tests.support.simulators.idp import SimClock

KEY = LogKey(LOG.public, LOG.sign)
OTHER = Key(ORIGIN, 2)
NEXT_KEY = LogKey(OTHER.public, OTHER.sign)
NEVER = Limits(records=1 << 40, seconds=1e12, file_bytes=1 << 40, file_seconds=1e12)
"""No checkpoint and no new file unless the test asks for it."""


def line(number, more=0):
    """A record as a line, without its newline."""
    return b'{"v":1,"type":"decision","id":"%024x","text":"%s"}' % (number, b"x" * more)


def opened(folder, *, keys=(KEY,), limits=NEVER, clock=None):
    return AuditLog(folder, keys, gate="eu-1", clock=clock or SimClock(), limits=limits)


def written(folder, counts=(300, 300, 300), *, pack=(), closed=lambda _at: None):
    """A log of several files with so many records each; the files with the numbers in `pack` are compressed.

    `closed` is called with the number of each file that was closed.

    Of three files, the first has the records 0 to 302: `file`, `start` and `keys` come before the 300.
    """
    log = opened(folder)
    number = 0
    for at, count in enumerate(counts):
        for _ in range(count):
            log.append([line(number)])
            number += 1
        if at < len(counts) - 1:
            log.rotate()
            closed(at)
    log.close()
    for at in pack:
        path = closed_files(folder)[at].path
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return folder


def lines_of(folder):
    """All lines of a log, without their newlines, in their order."""
    paths = [file.path for file in closed_files(folder)] + [folder / OPEN_FILE]
    data = b"".join(
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in paths
        if path.exists()
    )
    return data.split(b"\n")[:-1]


def findings(folder, *keys, since=()):
    return list(map(str, verify(folder, keys or (LOG.public,), since=since).findings))


def copied(folder, to):
    shutil.copytree(folder, to)
    return to


def edit(path, change):
    """Change the lines of a file, which stays compressed if it is."""
    packed = path.suffix == ".gz"
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    lines = data.split(b"\n")[:-1]
    change(lines)
    data = b"".join(one + b"\n" for one in lines)
    path.write_bytes(gzip.compress(data) if packed else data)


def older(folder, to):
    """Keep the log's checkpoint in a file."""
    to.write_bytes(checkpoint_of(folder))
    return Older(path=to, head=read_signed(to.read_bytes(), (LOG.public,))[0])


def forged(folder):
    """Make all tiles again from the lines, as someone with the log but without its key can; returns the tree."""
    shutil.rmtree(folder / "tile")
    edge, frontier = TileEdge(TileFiles(folder), 0), Frontier()
    edge.add(frontier.append(line_hashes(lines_of(folder))))
    edge.store()
    return frontier


def tile(folder, wanted):
    """The file of a tile, or of the full one that took its place."""
    return TileFiles(folder).path(wanted)


def checkpoint_of(folder):
    return (folder / CHECKPOINT).read_bytes()

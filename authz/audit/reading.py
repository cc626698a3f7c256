"""The lines of a log from a certain index on.

Law: only whole lines, in their order, as they are: `authz.audit.verifying` says whether they are what was signed.
"""

from collections.abc import Iterator
from pathlib import Path

from authz.audit.layout import OPEN_FILE, closed_files
from authz.audit.verifying import first_index
from authz.ops.log_reader import LogReader


def files_of(folder: Path) -> list[tuple[Path, int]]:
    """The files in their order, each with the index of its first line; an open one without a line is left out.

    Raises:
        OSError: they cannot be read.
    """
    found = [(file.path, file.first) for file in closed_files(folder)]
    current = folder / OPEN_FILE
    if current.exists():
        for _number, lines in LogReader().batches(current):
            said = first_index(lines[0])
            if said is not None:
                found.append((current, said[0]))
            break
    return found


def lines_from(folder: Path, index: int) -> Iterator[bytes]:
    """The lines from `index` on. The log's own process calls it: no file is closed meanwhile.

    Raises:
        OSError: they cannot be read.
    """
    files = files_of(folder)
    for (path, first), after in zip(files, [*(one[1] for one in files[1:]), None], strict=True):
        if after is not None and after <= index:
            continue
        reader = LogReader()
        for number, lines in reader.batches(path):
            if not reader.is_torn:
                yield from lines[max(0, index - first - number + 1) :]

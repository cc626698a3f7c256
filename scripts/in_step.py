"""Files that a script makes: written, or (`--check`) compared with those that are committed."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path


def main(folder: Path, wanted: Mapping[str, str], found: Iterable[Path], *, script: str, doc: str | None) -> None:
    """A script's command line. `wanted` has the content of each file by its path in the folder; `found` are there now.

    Raises:
        SystemExit: `--check` was given, and they differ.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    check = parser.parse_args().check
    known = {str(path.relative_to(folder)): path.read_text() for path in found}
    if check:
        if known != wanted:
            place = folder.relative_to(Path(__file__).resolve().parent.parent)
            sys.exit(f"{place}/ is out of step: run {script} and commit the result")
        return
    for name in known.keys() - wanted.keys():
        (folder / name).unlink()
    for name, content in wanted.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

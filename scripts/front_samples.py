"""Render the samples in `deploy/fronts/`, or (`--check`) fail when the committed files differ.

`authz.yaml` there is a settings file that people can copy; each folder has what `authz front` makes of it, or of an
`authz.yaml` of its own.
"""

from pathlib import Path
from typing import Final

from authz import settings
from authz.fronts import worker
from authz.fronts.render import FRONTS, render
from scripts import in_step

FOLDER: Final = Path(__file__).resolve().parent.parent / "deploy" / "fronts"
SOURCE: Final = "authz.yaml"
BY_HAND: Final = {*worker.MODULES, SOURCE, "build"} - {worker.HEADERS}
_PLACE: Final = Path("/etc/authz")


def files() -> dict[str, str]:
    """All files of all fronts, as if the settings stood in `/etc/authz` and each front's files beside them."""
    made = {}
    for name in FRONTS:
        own = FOLDER / name / SOURCE
        source = own if own.exists() else FOLDER / SOURCE
        read = settings.parse(source.read_bytes(), _PLACE / SOURCE)
        made |= {f"{name}/{file}": text for file, text in render(name, read, SOURCE, _PLACE / name).items()}
    return made


if __name__ == "__main__":
    below = (path for folder in FOLDER.iterdir() if folder.is_dir() for path in folder.rglob("*") if path.is_file())
    rendered = (path for path in below if path.suffix not in {".md", ".java"} and path.name not in BY_HAND)
    in_step.main(FOLDER, files(), rendered, script="scripts/front_samples.py", doc=__doc__)

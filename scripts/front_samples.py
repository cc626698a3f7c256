"""Render the samples in `deploy/fronts/`, or (`--check`) fail when the committed files differ.

`authz.yaml` there is a settings file that people can copy; each folder has what `authz front` makes of it.
"""

from pathlib import Path
from typing import Final

from authz import settings
from authz.fronts import worker
from authz.fronts.render import FRONTS, render
from scripts import in_step

FOLDER: Final = Path(__file__).resolve().parent.parent / "deploy" / "fronts"
BY_HAND: Final = {*worker.MODULES} - {worker.HEADERS}
SOURCE: Final = "authz.yaml"
_PLACE: Final = Path("/etc/authz")


def files() -> dict[str, str]:
    """All files of all fronts, as if the settings stood in `/etc/authz` and each front's files beside them."""
    read = settings.parse((FOLDER / SOURCE).read_bytes(), _PLACE / SOURCE)
    return {
        f"{name}/{file}": text for name in FRONTS for file, text in render(name, read, SOURCE, _PLACE / name).items()
    }


if __name__ == "__main__":
    below = (path for folder in FOLDER.iterdir() if folder.is_dir() for path in folder.rglob("*") if path.is_file())
    rendered = (path for path in below if path.suffix != ".md" and path.name not in BY_HAND)
    in_step.main(FOLDER, files(), rendered, script="scripts/front_samples.py", doc=__doc__)

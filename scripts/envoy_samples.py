"""Render the samples in `envoy/`, or (`--check`) fail when the committed files differ.

`NAME.authz.yaml` is a settings file that people can copy, `NAME.yaml` what `authz envoy` makes of it.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from authz import settings
from authz.envoy_config.render import render, render_sds, to_yaml
from authz.settings import Settings

FOLDER: Final = Path(__file__).resolve().parent.parent / "envoy"
HEADER: Final = "# Rendered by scripts/envoy_samples.py; do not edit. See README.md beside this file.\n"
SOURCE: Final = ".authz.yaml"

SAMPLES: Final[Mapping[str, Settings]] = {
    path.name.replace(SOURCE, ".yaml"): settings.load(path) for path in sorted(FOLDER.glob(f"*{SOURCE}"))
}


def text(name: str) -> str:
    """What the file of a sample holds."""
    return HEADER + to_yaml(render(SAMPLES[name]))


def files() -> dict[str, str]:
    """All that is rendered in the folder: each sample, and what its Envoy finds in the folder that `sds` names."""
    made = {name: text(name) for name in SAMPLES}
    for name in ("login.yaml", "egress.yaml"):
        for path, content in render_sds(SAMPLES[name]).items():
            made[f"sds/{Path(path).name}"] = HEADER + to_yaml(content)
    return made


def main() -> None:
    """Command line: write, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files and write nothing")
    check = parser.parse_args().check
    (FOLDER / "sds").mkdir(parents=True, exist_ok=True)
    rendered = (path for path in FOLDER.rglob("*.yaml") if not path.name.endswith(SOURCE))
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in rendered}
    wanted = files()
    if check:
        if found != wanted:
            sys.exit("envoy/ is out of step with the renderer: run scripts/envoy_samples.py and commit the result")
        return
    for name in found.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()

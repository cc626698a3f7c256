"""Render the samples in `envoy/`, or (`--check`) fail when the committed files differ.

`NAME.authz.yaml` is a settings file that people can copy, `NAME.yaml` what `authz envoy` makes of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from authz import settings
from authz.envoy_config.render import render, render_sds, to_yaml
from authz.settings import Settings
from scripts import in_step

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


if __name__ == "__main__":
    rendered = (path for path in FOLDER.rglob("*.yaml") if not path.name.endswith(SOURCE))
    in_step.main(FOLDER, files(), rendered, script="scripts/envoy_samples.py", doc=__doc__)

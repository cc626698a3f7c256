"""What `pip install` would tell Python about this work tree: its entry points, from pyproject.toml as it is now."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def write_metadata(folder):
    """A dist-info in `folder`; with `folder` first on the path, Airflow finds our entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    place = folder / "airflow_envoy_authz-0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (place / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder

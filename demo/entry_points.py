"""What `pip install ./authz/airflow` would tell Python: how Airflow finds the provider and the plugin.

The demo's Airflow runs where the gate is installed, and nothing of ours is installed for Airflow there.
Law: it writes below the given folder only.
"""

import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "authz" / "airflow" / "pyproject.toml"


def write_metadata(folder: Path) -> Path:
    """Write a dist-info to `folder`, and return it: with it first on the path, Airflow finds our entry points."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    place = folder / f"{project['name'].replace('-', '_')}-0.dist-info"
    place.mkdir(parents=True, exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (place / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder

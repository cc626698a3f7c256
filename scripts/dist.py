"""Build both distributions, the server's and Airflow's: `make dist` runs this.

Built is what Git tracks, as it is in this work tree: each sdist from a copy of it in a temporary folder, and each
wheel from the unpacked sdist, so that an sdist which lacks something cannot pass. Equal sources give equal bytes,
wherever and whenever they are built: the dates in them are the last commit's (`SOURCE_DATE_EPOCH`), owners and modes
are hatchling's.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = (".", "authz/airflow")


def copy_of_tracked(target: Path) -> None:
    """Copy each file that Git tracks and that is still there; modes as Git knows them: 644 or 755."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
            place.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def date_of_last_commit() -> str:
    """Seconds since the epoch."""
    command = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()


def hatch(project: Path, kind: str, target: Path) -> Path:
    """The file that hatchling built: `kind` is `sdist` or `wheel`."""
    made = os.environ.get("SOURCE_DATE_EPOCH") or date_of_last_commit()
    command = [sys.executable, "-c", f"from hatchling.build import *; print(build_{kind}({str(target)!r}))"]
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "SOURCE_DATE_EPOCH": made}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{project}: hatchling could not build the {kind}:\n{done.stdout}{done.stderr}")
    return target / done.stdout.strip()


def build(target: Path) -> list[Path]:
    """Both sdists and both wheels, in `target`."""
    built = []
    with tempfile.TemporaryDirectory(prefix="authz-dist-") as folder:
        tree = Path(folder, "tree")
        copy_of_tracked(tree)
        for number, project in enumerate(PROJECTS):
            sdist = hatch(tree / project, "sdist", target)
            unpacked = Path(folder, str(number))
            with tarfile.open(sdist) as archive:
                archive.extractall(unpacked, filter="data")
            built += [sdist, hatch(next(unpacked.iterdir()), "wheel", target)]
    return built


def main() -> None:
    """Replace what an earlier run left in the folder; print what is there now."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "dist")
    folder: Path = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("airflow_envoy_authz*.whl"), *folder.glob("airflow_envoy_authz*.tar.gz")]:
        old.unlink()
    for path in build(folder):
        print(path)


if __name__ == "__main__":
    main()

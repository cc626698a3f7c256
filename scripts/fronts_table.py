"""What one corpus of raw requests found through each front: docs/fronts.json, and the tables of docs/fronts.md.

`make fronts-table` runs `tests/e2e/test_front_corpus.py`, which writes here what it found, and then the page. The same
test, run without that, fails where a front does not do what the table says.
"""

import datetime as dt
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "fronts.json"
NAMES = {"envoy": "Envoy", "caddy": "Caddy", "apache": "Apache httpd", "jetty": "Jetty", "worker": "Worker"}
"""How people write them, where it differs."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One front: how many requests of which seed, what became of them, and what was found.

    `commit` is the tree that was tried, with `+` if its code had changes that were not committed.
    """

    seed: str
    requests: int
    counts: dict[str, int]
    found: dict[str, str]
    day: str
    commit: str


def runs() -> dict[str, Run]:
    """What has been found, by the fronts' names."""
    read = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: Run(**run) for name, run in read.items()}


def write(name: str, seed: str, requests: int, counts: Mapping[str, int], found: Mapping[str, str]) -> None:
    """Put one front's run in the place of the one before."""
    day = dt.datetime.now(tz=dt.UTC).date().isoformat()
    commit = _git("rev-parse", "--short=8", "HEAD") + ("+" if _git("status", "--porcelain", "authz") else "")
    run = Run(seed=seed, requests=requests, counts={**counts}, found={**found}, day=day, commit=commit)
    made = {**runs(), name: run}
    first = [one for one in ("envoy",) if one in made]
    order = [*first, *sorted({*made} - {*first})]
    RESULTS.write_text(json.dumps({one: asdict(made[one]) for one in order}, indent=1, ensure_ascii=False) + "\n")


def counted() -> Iterator[str]:
    """How many requests were served, denied and refused on each front."""
    kinds = "served | denied by the gate | refused by the front | not reached"
    yield f"| front | seed | requests | {kinds} | day | commit |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, run in runs().items():
        many = " | ".join(str(run.counts[kind]) for kind in ("served", "denied", "refused", "unreached"))
        yield f"| {_shown(name)} | {run.seed} | {run.requests} | {many} | {run.day} | `{run.commit}` |"


def differing() -> Iterator[str]:
    """What differs: a row for each question, a column for each front."""
    read = runs()
    yield "| | " + " | ".join(map(_shown, read)) + " |"
    yield "| --- |" + " --- |" * len(read)
    rows = list(dict.fromkeys(row for run in read.values() for row in run.found))
    for row in rows:
        yield f"| {row} | " + " | ".join(run.found.get(row, "not tried") for run in read.values()) + " |"


def _shown(name: str) -> str:
    return NAMES.get(name, name)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()

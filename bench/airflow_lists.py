"""What our auth manager costs Airflow's lists over 1,000 DAGs, against Airflow's own SimpleAuthManager.

    python -m bench.airflow_lists [--rounds N] [--requests N]

Two Airflows with the same DAGs run side by side. In each round each of them answers each list, interleaved; what counts
is the CPU time of the API server (user and system, all its processes) per request, and a ratio is the median of the
ratios within the rounds. Everyone sees all DAGs, so that both read the same rows; the grant of 50 patterns has every
kind of pattern. Each request of ours comes with an assertion of its own, so each signature is verified.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import machine
from tests.support.sites.airflow import AirflowSite, empty_dags

DAGS = 1000
RUNS = 200
TEAMS = 50
LISTS = {
    "dags": "/api/v2/dags?limit=100",
    "ui dags": "/ui/dags?limit=100",
    "dag runs of ~": "/api/v2/dags/~/dagRuns?limit=100",
}
IDS = tuple(f"team{number % TEAMS:02}_dag{number:04}" for number in range(DAGS))
PATTERNS = [
    f"team{team:02}_*" if team % 3 else f"team{team:02}*dag*" if team % 2 else f"*m{team:02}_d*"
    for team in range(TEAMS)
]
BASE = "SimpleAuthManager"
GOAL = 1.2


def cpu_ms(site):
    """Milliseconds of CPU that the site's API server has used: all its processes."""
    return machine.family_cpu_ns(machine.family(site.running["api-server"].process.pid)) / 1e6


def measure(site, client, path, requests):
    """Milliseconds of CPU per request; each answer must list what there is."""
    before = cpu_ms(site)
    for _ in range(requests):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.json()["total_entries"] == (RUNS if "dagRuns" in path else DAGS)
    return (cpu_ms(site) - before) / requests


def start(stack, folder, manager):
    """An Airflow with the DAGs and some runs."""
    site = stack.enter_context(
        AirflowSite(
            folder, dags={f"part{part}": empty_dags(*IDS[part::10]) for part in range(10)}, auth_manager=manager
        )
    )
    with site.client("admin") as admin:
        for dag in IDS[:RUNS]:
            admin.post(f"/api/v2/dags/{dag}/dagRuns", json={"logical_date": None}).raise_for_status()
    return site


def rows(rounds, requests):
    """Run everything; returns CPU milliseconds by list and kind, one number per round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("simple", "authz"):
            (folder / name).mkdir()
        simple = start(stack, folder / "simple", "simple")
        ours = start(stack, folder / "authz", "authz")
        kinds = {
            BASE: (simple, stack.enter_context(simple.client("admin"))),
            "ours, all DAGs": (ours, stack.enter_context(ours.client("admin", dags=["*"]))),
            "ours, 50 patterns": (ours, stack.enter_context(ours.client("admin", dags=PATTERNS))),
        }
        found = {name: {kind: [] for kind in kinds} for name in LISTS}
        for number in range(rounds + 1):  # the first one warms up
            for name, path in LISTS.items():
                turn = number % len(kinds)
                for kind in [*kinds][turn:] + [*kinds][:turn]:
                    value = measure(*kinds[kind], path, requests if number else 5)
                    if number:
                        found[name][kind].append(value)
        return found


def table(found):
    """The lines of the table, and the worst ratio."""
    yield "| list | auth manager | CPU ms per request | ratio |"
    yield "| --- | --- | --- | --- |"
    worst = 0.0
    for name, kinds in found.items():
        base = kinds[BASE]
        for kind, values in kinds.items():
            ratio = statistics.median(value / other for value, other in zip(values, base, strict=True))
            worst = max(worst, ratio)
            spread = f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
            yield f"| {name} | {kind} | {spread} | {ratio:.2f} |"
    yield f"\nworst ratio {worst:.2f}, goal at most {GOAL}"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = rows(asked.rounds, asked.requests)
    for line in table(found):
        print(line)  # noqa: T201 - what this program is for
    if asked.json:
        asked.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

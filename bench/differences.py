"""What `authz diff` costs between two policies of 10,000 rules: one rule changed, and nearly everything changed.

    python -m bench.differences [--rules N] [--rounds N] [--json FILE]

Both policies have 64 roles, and rules of every kind: DAGs by prefix and by pattern, paths, deny rules, calls of
service accounts. Each row is a process of its own, with its start and the loading of both policies, which the row
"nothing" shows by itself. The goals are CPU seconds on an idle machine; the exit status is 1 where a row is over its
goal. What it would take at reference speed (`bench.spent`) compares one machine with another.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench import machine, spent
from tests.support.factories.policy_shapes import HEAD

_ROLES = 64
_RULES = 10_000


def _rule(number, *, prefix="team", turned=False):
    """The rule of that number; `turned`: half of the roles have each other's rules."""
    role, dag = number % _ROLES, f"{prefix}{number:05}"
    if turned and role % 2:
        role = (role + 2) % _ROLES
    who = f"roles: [r{role}]"
    match number % 5:
        case 0:
            rest = f'{who}, plane: inbound, operations: ["dags:read", "dag_runs:read"], dags: ["{dag}_*"]'
        case 1:
            rest = f'{who}, plane: inbound, operations: ["dag_runs:create"], dags: ["{dag}_*_daily", "{dag}_close"]'
        case 2:
            rest = f'{who}, plane: inbound, deny: true, operations: ["dag_runs:delete"], dags: ["{dag}_*"]'
        case 3:
            rest = f'{who}, plane: inbound, methods: [GET], paths: ["/{dag}/items/{{item}}", "/{dag}/**"]'
        case _:
            rest = f'{who}, plane: egress, hosts: [orders.internal], methods: [GET], paths: ["/v1/{dag}/**"]'
    return f"  - {{id: {prefix}.{number}, {rest}}}\n"


def _policy(rules):
    roles = "".join(f"  r{number}: {{groups: [g{number}]}}\n" for number in range(_ROLES))
    return f"{HEAD}roles:\n{roles}rules:\n{''.join(rules)}"


def _policies(rules):
    """For each row its new policy, and the most seconds that it may take; the old one first."""
    old = [_rule(number) for number in range(rules)]
    one = [*old]
    one[5] = one[5].replace("_*", "*")
    every = [_rule(number, prefix="unit", turned=True) for number in range(rules)]
    return _policy(old), {
        "nothing": (_policy(old), None),
        "one rule": (_policy(one), 2.0),
        "all ids, all DAG prefixes, half of the roles": (_policy(every), 10.0),
    }


def measure(rules, rounds):
    """One row per change."""
    old, rows = _policies(rules)
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        before, after, output = (Path(name) / file for file in ("old.yaml", "new.yaml", "output"))
        before.write_text(old)
        for changed, (text, goal) in rows.items():
            after.write_text(text)
            found = [spent.authz(["diff", before, after, "--fail-on-widen"], output) for _ in range(rounds)]
            widens = goal is not None
            assert {one.status for one in found} == {int(widens)}, output.read_text()[:500]
            with output.open("rb") as said:
                lines = sum(1 for _ in said)
            yield {
                "changed": changed,
                "cpu_s": round(min(one.cpu_s for one in found), 1),
                "reference_s": round(min(one.reference_s for one in found), 1),
                "goal_s": goal,
                "peak_mb": round(max(one.peak_mb for one in found)),
                "lines": lines,
            }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rules", type=int, default=_RULES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-diff.json")
    asked = parser.parse_args()
    print("| changed | CPU s | … at reference speed | goal, CPU s | peak MB | lines of the report |")  # noqa: T201 - what this is for
    print("| --- | ---: | ---: | ---: | ---: | ---: |")  # noqa: T201
    rows = []
    for row in measure(asked.rules, asked.rounds):
        rows.append(row)
        print("| " + " | ".join("-" if value is None else f"{value}" for value in row.values()) + " |", flush=True)  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": rows}, indent=1))
    return 0 if all(row["goal_s"] is None or row["cpu_s"] <= row["goal_s"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

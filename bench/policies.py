"""What a policy file of 10 MB costs `authz lint`, which loads it as a gate does: a row for each shape of file.

    python -m bench.policies [--megabytes N] [--rounds N] [--json FILE]

Each row is a process of its own: its CPU seconds, the lowest of the rounds, and the most memory that it had. The goal
is one at reference speed (`bench.spent`). The exit status is 1 where a row is over the goal.

The last line is what 1,000 tests add to a policy of 10,000 rules: both are measured in turn, and the least of each is
compared.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench import machine, spent
from tests.support.factories.policy_shapes import SHAPES, plain, sized, tested

GOAL_S = 15.0
TESTS_GOAL_S = 1.0  # more than without them
_TEAMS = 3334  # of three rules each
_TESTS = 1000
_PAIRS = 3
_EXPECTED = ({0}, {1})  # nothing that is an error, or mistakes


def measure(size, rounds):
    """One row per shape."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        path, output = Path(name) / "policy.yaml", Path(name) / "output"
        for shape, make in SHAPES.items():
            data = sized(make, size)
            path.write_bytes(data)
            found = [spent.authz(["lint", path], output) for _ in range(rounds)]
            statuses = {one.status for one in found}
            assert statuses in _EXPECTED, f"{shape}: {statuses} {output.read_text()[:500]}"
            with output.open("rb") as said:
                lines = sum(1 for _ in said)
            yield {
                "shape": shape,
                "megabytes": round(len(data) / 1e6, 1),
                "cpu_s": round(min(one.cpu_s for one in found), 1),
                "reference_s": round(min(one.reference_s for one in found), 1),
                "peak_mb": round(max(one.peak_mb for one in found)),
                "lines": lines,
                "loads": statuses == {0},
            }


def measure_tests(pairs):
    """What the tests of a policy of 10,000 rules cost, in seconds at reference speed."""
    least = {}
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        path, output = Path(name) / "policy.yaml", Path(name) / "output"
        texts = {"without": plain(_TEAMS), "with": tested(_TEAMS, _TESTS)}
        for _ in range(pairs):
            for which, text in texts.items():
                path.write_text(text)
                found = spent.authz(["lint", path], output)
                assert found.status == 0, output.read_text()[:500]
                least[which] = min(found.reference_s, least.get(which, found.reference_s))
    return {"rules": 3 * _TEAMS, "tests": _TESTS, **{which: round(taken, 2) for which, taken in least.items()}}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-policy.json")
    asked = parser.parse_args()
    print("| policy | MB | CPU s | … at reference speed | peak MB | loads | lines of lint |")  # noqa: T201 - what this is for
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: |")  # noqa: T201
    rows = []
    for row in measure(asked.megabytes * 1e6, asked.rounds):
        rows.append(row)
        values = [row["shape"], row["megabytes"], row["cpu_s"], row["reference_s"], row["peak_mb"]]
        print("| " + " | ".join(map(str, [*values, "yes" if row["loads"] else "no", row["lines"]])) + " |", flush=True)  # noqa: T201
    worst = max(row["reference_s"] for row in rows)
    print(f"\nslowest {worst} s at reference speed, goal at most {GOAL_S} s")  # noqa: T201
    tests = measure_tests(max(_PAIRS, asked.rounds))
    more = tests["with"] - tests["without"]
    text = f"{tests['tests']:,} tests of {tests['rules']:,} rules: {tests['with']} s, {tests['without']} s without"
    print(f"{text}: {more:.2f} s more, goal at most {TESTS_GOAL_S} s")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": rows, "tests": tests}, indent=1))
    return 0 if worst <= GOAL_S and more <= TESTS_GOAL_S else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a policy file of 10 MB costs `authz lint`, which loads it as a gate does: a row for each shape of file.

    python -m bench.policies [--megabytes N] [--rounds N] [--json FILE]

Each row is a process of its own: its CPU seconds (user and system, start included), the lowest of the rounds, and the
most memory that it had. A CPU second is not the same each time: beside a busy neighbour a core does half as much in it.
So a fixed piece of Python is timed right before and after each process, and the goal holds for the seconds that the
process would take where that piece takes `REFERENCE_MS`. The exit status is 1 where a row is over the goal.

The last line is what 1,000 tests add to a policy of 10,000 rules: both are measured in turn, and the least of each is
compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import machine
from tests.support.factories.policy_shapes import SHAPES, plain, sized, tested

GOAL_S = 15.0
TESTS_GOAL_S = 1.0  # more than without them
_TEAMS = 3334  # of three rules each
_TESTS = 1000
_PAIRS = 3
REFERENCE_MS = 60.0  # of the fixed piece, on the reference machine
_EXPECTED = ({0}, {1})  # nothing that is an error, or mistakes


def lint(path, output):
    """CPU seconds, those at reference speed, peak memory in MB and the exit status of one `authz lint`."""
    before = calibrate()
    with output.open("wb") as said:
        child = subprocess.Popen([sys.executable, "-m", "authz", "lint", path], stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    spent, piece = usage.ru_utime + usage.ru_stime, (before + calibrate()) / 2
    return spent, spent * REFERENCE_MS / piece, usage.ru_maxrss / 1024, child.returncode


def calibrate():
    """CPU milliseconds of a fixed piece of Python."""
    began = time.process_time()
    sum(number % 7 for number in range(1_000_000))
    return (time.process_time() - began) * 1000


def measure(size, rounds):
    """One row per shape."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        path, output = Path(name) / "policy.yaml", Path(name) / "output"
        for shape, make in SHAPES.items():
            data = sized(make, size)
            path.write_bytes(data)
            found = [lint(path, output) for _ in range(rounds)]
            statuses = {status for *_, status in found}
            assert statuses in _EXPECTED, f"{shape}: {statuses} {output.read_text()[:500]}"
            with output.open("rb") as said:
                lines = sum(1 for _ in said)
            yield {
                "shape": shape,
                "megabytes": round(len(data) / 1e6, 1),
                "cpu_s": round(min(spent for spent, *_ in found), 1),
                "reference_s": round(min(scaled for _, scaled, *_ in found), 1),
                "peak_mb": round(max(peak for *_, peak, _ in found)),
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
                _spent, scaled, _peak, status = lint(path, output)
                assert status == 0, output.read_text()[:500]
                least[which] = min(scaled, least.get(which, scaled))
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

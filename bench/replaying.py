"""How many records per CPU second `authz replay` evaluates: one process, a log with as many new requests as known ones.

    python -m bench.replaying [--records N] [--rounds N] [--json FILE]

People, programs and tasks ask: half of the records have a run id that no other one has, so that they are evaluated one
by one. The policies have 100 rules. Each row is a process of its own, with its start and the loading of the policy.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from authz.core.policy import Bundle, load
from bench import machine, rulebook
from tests.support.factories.decision_logs import traffic

GOAL = 20_000  # records per CPU second
_RULES = 100


class _Files:
    """A sink that writes into files: a child's peak of memory begins with that of its parent."""

    file = 1
    offers = ()

    def __init__(self, *files):
        self._files = files

    def put(self, lines):
        for file in self._files:
            file.write(lines)
        return True


def _replayed(log, policy):
    """Wall seconds, CPU seconds and peak memory in MB of one `authz replay`."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "authz", "replay", log, "--policy", policy, "--json"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    took, child.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
    assert child.returncode in {0, 1}, child.returncode
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(records, rounds):
    """One row for the policy of the log, and one for another; the log once as it is and once compressed."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        text = rulebook.policy(_RULES, folder / "jwks.json", egress=True)
        texts = {"the same policy": text, "another policy": text.replace('dags: ["sales_*"]', 'dags: ["sales_1*"]')}
        policy = load(Bundle(text.encode(), "policy.yaml"))
        with (
            (folder / "decisions.jsonl").open("wb") as plain,
            gzip.open(folder / "decisions.jsonl.1.gz", "wb", 6) as packed,
        ):
            traffic(policy, records, issuer=rulebook.ISSUER, group=rulebook.GROUP, sink=_Files(plain, packed))
        size = (folder / "decisions.jsonl").stat().st_size
        for title, one in texts.items():
            (folder / "policy.yaml").write_text(one)
            for log in ("decisions.jsonl", "decisions.jsonl.1.gz"):
                found = [_replayed(folder / log, folder / "policy.yaml") for _ in range(rounds)]
                yield {
                    "row": f"{title}, {log}",
                    "records": records,
                    "megabytes": round(size / 1e6),
                    "per_cpu_s": round(records / min(cpu for _took, cpu, _peak in found)),
                    "per_s": round(records / min(took for took, _cpu, _peak in found)),
                    "peak_mb": round(max(peak for _took, _cpu, peak in found)),
                }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-replay.json")
    asked = parser.parse_args()
    print("| policy and log | records | MB | records per CPU second | per second | peak MB |")  # noqa: T201 - what this is for
    print("| --- | ---: | ---: | ---: | ---: | ---: |")  # noqa: T201
    rows = []
    for row in measure(asked.records, asked.rounds):
        rows.append(row)
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)  # noqa: T201
    slowest = min(row["per_cpu_s"] for row in rows)
    print(f"\nslowest {slowest:,} records per CPU second, goal at least {GOAL:,}")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": rows}, indent=1))
    return 0 if slowest >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

"""How long `authz audit query` searches a log, without DuckDB and with it, and whether both find the same.

    python -m bench.audit_query [--records N] [--copies N] [--rounds N] [--json FILE]

People, programs and tasks ask, half of the records are about something new, as in `bench.replaying`. So many records
are made; the log is so many files of them. Each row is a process of its own, with its start. The log is deleted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from authz.core.policy import Bundle, load
from bench import machine, rulebook
from bench.replaying import _Files
from tests.support.factories.decision_logs import traffic

GOAL = 10.0  # seconds for ten million records
_MOST_BYTES = 20 << 30
_RULES = 100
_QUESTIONS = {
    "one caller": ["--subject", "p17"],
    "one user": ["--user", "p17"],
    "denied on some DAGs": ["--dag", "sales_*", "--decision", "deny"],
    "everything": [],
}
_WITHOUT = "import sys; sys.modules['duckdb'] = None; from authz.cli import main; main()"
_WITH = "from authz.cli import main; main()"


def _asked(code, folder, question):
    """Wall seconds, CPU seconds, peak memory in MB and the answer of one query."""
    words = ["audit", "query", str(folder), *question, "--format", "json"]
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", code, *words], stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        took, child.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        out.seek(0)
        assert child.returncode == 0, child.returncode
        return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read()


def _written(folder, records, copies):
    """The bytes of the log, in so many equal files."""
    text = rulebook.policy(_RULES, folder / "jwks.json", egress=True)
    policy = load(Bundle(text.encode(), "policy.yaml"))
    (folder / "log").mkdir()
    first = folder / "log" / "decisions.jsonl"
    with first.open("wb") as file:
        traffic(policy, records, issuer=rulebook.ISSUER, group=rulebook.GROUP, sink=_Files(file))
    size = first.stat().st_size * copies
    assert size <= _MOST_BYTES, f"{size:,} bytes are too many"
    for number in range(1, copies):
        (folder / "log" / f"decisions.jsonl.{number}").write_bytes(first.read_bytes())
    return size


def measure(records, copies, rounds):
    """One row for each question, without and with DuckDB."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        size = _written(folder, records, copies)
        for title, question in _QUESTIONS.items():
            answers = set()
            for how, code in {"Python": _WITHOUT, "DuckDB": _WITH}.items():
                found = [_asked(code, folder / "log", question) for _ in range(rounds)]
                answers |= {answer for *_rest, answer in found}
                best = min(took for took, *_rest in found)
                yield {
                    "question": title,
                    "with": how,
                    "records": records * copies,
                    "megabytes": round(size / 1e6),
                    "seconds": round(best, 2),
                    "cpu_s": round(min(cpu for _took, cpu, *_rest in found), 2),
                    "for_10_million_s": round(best * 1e7 / (records * copies), 1),
                    "peak_mb": round(max(peak for *_rest, peak, _answer in found)),
                }
            assert len(answers) == 1, f"{title}: the answers differ"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_query", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000, help="records in one file")
    parser.add_argument("--copies", type=int, default=10, help="files")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-query.json")
    asked = parser.parse_args()
    print("| question | with | records | MB | seconds | CPU seconds | seconds for 10 million | peak MB |")  # noqa: T201 - what this is for
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")  # noqa: T201
    rows = []
    for row in measure(asked.records, asked.copies, asked.rounds):
        rows.append(row)
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)  # noqa: T201
    slowest = max(row["for_10_million_s"] for row in rows if row["with"] == "DuckDB")
    print(f"\nslowest with DuckDB {slowest} s for ten million records, goal at most {GOAL}")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": rows}, indent=1))
    return 0 if slowest <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

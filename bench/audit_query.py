"""How long `authz audit query` takes for usual questions about ten million decisions: filters, and SQL with DuckDB.

    python -m bench.audit_query [--records N] [--rounds N] [--json FILE] [--log FOLDER]

`bench.query_log` makes the log once (about a minute) and keeps it. Each row is a process of its own, with its start and
all of its CPUs, whose files the system has in memory if they fit. What a filter finds is found in SQL too: both counts,
and up to a thousand ids, have to be the same. Rows without a goal are for comparison.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench import machine, query_log

GOAL = 10.0  # seconds for ten million records
_USUAL_LIMIT = 1000


class Question(NamedTuple):
    """What is asked: filters with the same condition in SQL, or a whole statement."""

    title: str
    filters: tuple = ()
    sql: str = ""
    has_goal: bool = True


def questions(about):
    """The questions about such a log."""
    half = about["decisions"] // query_log.BLOCK // 2
    since, until = f"{query_log.DAYS[3]}T06:00", f"{query_log.DAYS[3]}T18:00"
    window = f"time >= '{since}' AND time < '{until}'"
    select, egress = "SELECT {0}, count(*) AS n FROM decisions WHERE {1} GROUP BY ALL", "plane = 'egress'"
    run = f"scheduled__{half}-"
    return [
        Question("one subject", ("--subject", "p17"), "subject = 'p17'"),
        Question(  # the log is read once more, for the entries
            "one user",
            ("--user", "p17"),
            "identity IN (SELECT id FROM identities WHERE \"user\" = 'p17')",
            has_goal=False,
        ),
        Question(
            "denied by reason, half a day",
            ("--decision", "deny", "--reason", "no_rule", "--since", f"{since}Z", "--until", f"{until}Z"),
            f"decision = 'deny' AND reason = 'no_rule' AND {window}",
        ),
        Question("one DAG run", ("--run", f"{run}17*"), f"run.run_id LIKE '{run}17%'"),
        Question("one id", ("--id", f"{half:04x}{about['id']}"), f"id = '{half:04x}{about['id']}'"),
        Question("count by rule", (), select.format("rule", "true")),
        Question("destinations of a DAG", (), select.format("destination, host", f"{egress} AND dag = 'sales_0'")),
        Question("denied by reason, half a day", (), select.format("reason", f"decision = 'deny' AND {window}")),
        Question("all that is denied", ("--decision", "deny"), "decision = 'deny'", has_goal=False),
        Question("everything", (), "", has_goal=False),
    ]


def _run(folder, *words):
    """Wall seconds, CPU seconds, peak memory of a process in MB, output and messages of one query."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "authz", "audit", "query", str(folder), *words], stdout=out, stderr=said
        )
        _, status, usage = os.wait4(child.pid, 0)
        took, child.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        for file in (out, said):
            file.seek(0)
        found, messages = out.read(), said.read().decode()
        assert child.returncode == 0, messages
        return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, found, messages


def _best(runs):
    took, cpu = min(one[0] for one in runs), min(one[1] for one in runs)
    return {"seconds": round(took, 1), "cpu_s": round(cpu, 1), "peak_mb": round(max(one[2] for one in runs))}


def _asked(folder, question, rounds):
    """The rows of a question: with filters, and in SQL."""
    if not question.filters and question.sql:
        runs = [_run(folder, "--sql", question.sql, "--format", "json") for _ in range(rounds)]
        yield "SQL", _best(runs), runs[0][3].count(b"\n")
        return
    runs = [_run(folder, *question.filters, "--format", "json") for _ in range(rounds)]
    matched = int(re.match(r"[\d,]+", runs[0][4])[0].replace(",", ""))
    yield "filters", _best(runs), matched
    if not question.sql:
        return
    shown = f"SELECT count(*) AS n, list(id ORDER BY id)[:{_USUAL_LIMIT}] AS ids"
    sql = f"{shown} FROM decisions WHERE {question.sql}"
    again = [_run(folder, "--sql", sql, "--format", "json") for _ in range(rounds)]
    same = json.loads(again[0][3])
    assert same["n"] == matched, f"{question.title}: {matched} with filters, {same['n']} in SQL"
    if matched <= _USUAL_LIMIT:
        assert same["ids"] == sorted(json.loads(line)["id"] for line in runs[0][3].splitlines()), question.title
    yield "SQL", _best(again), matched


def measure(folder, about, rounds):
    """The rows, one after another."""
    for question in questions(about):
        for how, spent, found in _asked(folder, question, rounds):
            scaled = round(spent["seconds"] * 1e7 / about["decisions"], 1)
            yield {
                "question": question.title,
                "with": how,
                "found": found,
                **spent,
                "for_10_million_s": scaled,
                "goal": GOAL if question.has_goal else None,
            }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_query", description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--log", type=Path, default=machine.ROOT / "build" / "bench-query")
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-query.json")
    asked = parser.parse_args()
    began = time.perf_counter()
    folder, about = query_log.kept(asked.log, asked.records)
    gigabytes, disk = about["bytes"] / 1e9, about["bytes_on_disk"] / 1e9
    print(  # noqa: T201 - what this is for
        f"{about['decisions']:,} decisions in {about['files']} files: {gigabytes:.1f} GB, {disk:.1f} GB on the disk,"
        f" there after {time.perf_counter() - began:.0f} s\n"
    )
    print("| question | with | found | s | CPU s | peak MB | s for 10 million | goal |")  # noqa: T201
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")  # noqa: T201
    rows = []
    for row in measure(folder, about, asked.rounds):
        rows.append(row)
        print("| " + " | ".join("" if one is None else str(one) for one in row.values()) + " |", flush=True)  # noqa: T201
    slowest = max(row["for_10_million_s"] for row in rows if row["goal"])
    print(f"\nslowest usual question {slowest} s for ten million decisions, goal at most {GOAL}")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe() | {"log": about}, "rows": rows}, indent=1))
    return 0 if slowest <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

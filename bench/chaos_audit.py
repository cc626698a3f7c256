"""Attacks the promise of the signed log: no answer leaves without its record, whatever is killed, full or slow.

    python -m bench.chaos_audit [--kills N] [--only NAME …] [--rate N] [--output docs/reliability.md]

Real processes on this machine: a gate with two workers, Envoy, clients. Prints two tables, or writes them into a page.
Exit status 1 if a promise is broken. About 15 minutes; with `--kills 5`, about five.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import chaos_faults, chaos_kills, machine
from bench.chaos_gate import KEY
from tests.support.simulators.idp import IdP

_MARKS = "<!-- chaos: {} -->", "<!-- chaos: end -->"
_KILLS = ("workers", "writer", "supervisor", "everything", "envoy")
_NONE = "-"
_FEWER = {"everything": 5}  # the gate starts anew each time, which takes as long as it takes
_ENDS = 20  # one for so many kills
_KILL_HEAD = (
    "| what | times | answers | 503 | lost | doubled | `verify` | status | checks/s | longest silence |",
    "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |",
)
_FAULT_HEAD = (
    "| fault | `on_failure` | answers | 503 | no record | `gap` | doubled | `verify` | 503 | again | reason |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |",
)


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.chaos_audit", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of each kind of process")
    parser.add_argument("--rate", type=int, default=2000, help="checks a second that clients ask for, in all")
    parser.add_argument("--only", nargs="*", default=(), help="rows: " + ", ".join((*_KILLS, "ends", "faults")))
    parser.add_argument("--faults", nargs="*", default=(), help="only those faults whose name has this")
    parser.add_argument("--output", type=Path, help="the page whose tables are written")
    options = parser.parse_args()
    began, about = time.monotonic(), machine.describe()
    with tempfile.TemporaryDirectory(prefix="authz-chaos-") as folder, IdP([KEY]) as idp:
        kills = list(_shown(kill_rows(Path(folder), idp, options), kill_cells))
        faults = list(_shown(fault_rows(Path(folder), idp, options), fault_cells))
    minutes = (time.monotonic() - began) / 60
    line = (
        f"{about['time'][:10]}, commit {about['commit']}, {about['cpus']} CPUs ({about['cpu']}), "
        f"Linux {about['kernel']}, Python {about['python']}; {options.kills} kills, "
        f"{options.rate} checks a second asked for, {minutes:.0f} minutes."
    )
    tables = {
        "kills": [line, "", *_KILL_HEAD, *map(kill_cells, kills)],
        "faults": [*_FAULT_HEAD, *map(fault_cells, faults)],
    }
    if options.output:
        written(options.output, tables)
    else:
        sys.stdout.write("\n".join(["", *tables["kills"], "", *tables["faults"], ""]))
    return int(any(row.bad for row in (*kills, *faults)))


def _shown(rows, cells):
    """The rows, each on standard error as soon as it is there."""
    for row in rows:
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {'BROKEN ' * row.bad}{cells(row)}\n")
        yield row


def kill_rows(folder, idp, options):
    """A row for each kind of kill, then for each way to end."""
    for name in _KILLS:
        if not options.only or name in options.only:
            place = _folder(folder / name)
            count = max(1, options.kills // _FEWER.get(name, 1))
            yield getattr(chaos_kills, name)(place, idp, count, options.rate)
            shutil.rmtree(place)
    if not options.only or "ends" in options.only:
        yield from chaos_kills.ends(_folder(folder / "ends"), idp, max(1, options.kills // _ENDS), options.rate)


def fault_rows(folder, idp, options):
    """A row for each fault and value of `on_failure`."""
    if options.only and "faults" not in options.only:
        return
    for number, name in enumerate(chaos_faults.FAULTS):
        if options.faults and not any(part in name for part in options.faults):
            continue
        for on_failure in ("deny", "allow"):
            yield chaos_faults.run(name, folder / f"{number}-{on_failure}", idp, on_failure, options.rate)


def _folder(path):
    path.mkdir()
    return path


def kill_cells(row):
    """A line of the table."""
    verify = "passes" if row.verify == 0 else f"**fails ({row.verify})**"
    answers = row.answers
    cells = (
        row.name,
        row.kills,
        f"{answers.count:,}",
        f"{answers.statuses[503]:,}",
        row.lost,
        row.doubled,
        verify,
        row.status,
    )
    return _line(*cells, f"{answers.rate:,.0f}", f"{answers.longest_s:.1f} s")


def fault_cells(row):
    """A line of the table."""
    if row.not_run:
        return _line(row.name, row.on_failure, f"not run: {' '.join(row.not_run.split())}", *[""] * 8)
    answers, verify = row.answers, "passes" if row.verify == 0 else f"**fails ({row.verify})**"
    counts = f"{answers.count:,}", f"{answers.statuses[503]:,}", f"{row.unrecorded:,}", f"{row.gaps:,}", row.doubled
    times = (_seconds(row.refused_after), _seconds(row.allowed_after))
    return _line(row.name, row.on_failure, *counts, verify, *times, row.reason or _NONE)


def _seconds(value):
    return _NONE if value is None else f"{value:.1f} s"


def _line(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def written(path, tables):
    """Write tables between their marks in a page."""
    text = path.read_text()
    for name, lines in tables.items():
        if not any(row.startswith("| ") for row in lines[-1:]) or lines[-1].startswith("| ---"):
            continue  # no rows of this run
        begin, end = _MARKS[0].format(name), _MARKS[1]
        head, found, rest = text.partition(begin)
        if not found:
            raise SystemExit(f"{path}: there is no {begin}")
        text = head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.partition(end)[2]
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())

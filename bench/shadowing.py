"""What a candidate policy (`shadow`) costs each kind of check: CPU of the service alone, with one and without.

    python -m bench.shadowing [--pairs N] [--rows ROW,…] [--json FILE]

Both are this tree, asked in turn in short slices; each pair starts them anew (see docs/performance.md, "Comparing two
commits"). One rule of the candidate is another: with `other`, one that is about none of these requests; with `own`, the
rules about them, so that the candidate is asked too. The exit status is 1 where the lower bound of a row is above the
goal.
"""

import argparse
import contextlib
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import builds, checks, machine, runs
from bench.bounds import bounds
from bench.compare_rows import Bodies, Case
from bench.rulebook import DENIED
from bench.servers import Fleet
from bench.side import Side

GOAL = 1.10
_PAIRS = 10
_START_S = 30.0
_SLICES, _CHECKS = 40, 100
_PUBLIC = "/api/v2/monitor/health"
_RULE = '  - {id: health, public: true, plane: inbound, operations: ["health:read"]}\n'
# What the candidate has in place of a rule.
CANDIDATES = {
    "other": [('dags: ["team1_*"]', 'dags: ["team1_x*"]')],
    "own": [
        ('dags: ["sales_*"]', 'dags: ["sales_d*", "sales_e*"]'),
        ('operations: ["health:read"]', 'operations: ["health:read"], methods: [GET]'),
    ],
}


def _same(name):
    return lambda pool, _task, _start, count: pool.repeated(name, count)


def _anonymous(target):
    body = checks.framed(checks.anonymous(target))
    return lambda _pool, _task, _start, count: [body] * count


def _row(key, label, bodies, *, server="base", allows=True):
    return Case(key=key, label=label, server=server, inside=True, allows=allows, bodies=bodies)


ROWS = (
    _row("allow", "cached token", _same("allow")),
    _row("deny", "cached token, deny", _same("deny"), allows=False),
    _row("new", "new RS256 token", lambda pool, _task, start, count: pool.new_tokens(start, count)),
    _row("public", "public route, anonymous", _anonymous(_PUBLIC)),
    _row("anonymous", "anonymous, deny", _anonymous(DENIED), allows=False),
    _row("service", "a service account's call", _same("service"), server="egress"),
    _row("proxy", "a run's call, token for proxies", lambda _pool, task, _s, n: [task.borne()] * n, server="egress"),
    _row("proof", "a run's call, with a proof", lambda pool, task, _s, n: pool.proven(task, n), server="egress"),
)


class _Shadowed:
    """A fleet whose servers have a candidate."""

    def __init__(self, fleet, changes):
        self._fleet, self._changes = fleet, changes
        self._candidates = []

    def gate(self, name, **options):
        """The gate, with a public rule, and with a candidate if there are changes."""
        server = self._fleet.gate(name, **options)
        policy, settings = server.folder / "policy.yaml", server.folder / "authz.yaml"
        text = policy.read_text() + _RULE
        policy.write_text(text)
        for old, new in self._changes:
            if old not in text:
                raise ValueError(old)
            text = text.replace(old, new)
        if self._changes:
            (server.folder / "candidate.yaml").write_text(text)
            settings.write_text(settings.read_text() + "shadow: candidate.yaml\n")
            self._candidates.append((server, hashlib.sha256(text.encode()).hexdigest()[:12]))
        return server

    def wait(self):
        """Until every candidate is compared with."""
        for server, revision in self._candidates:
            end = time.monotonic() + _START_S
            while not server.metric(f'authz_shadow_info{{revision="{revision}"}}'):
                if time.monotonic() > end:
                    raise RuntimeError(f"{server.name} has no candidate: {server.log.read_text()}")
                time.sleep(0.01)


def _pair(number, folder, rows, pool, changes):
    """The ratio of each row."""
    with contextlib.ExitStack() as stack:
        airflow = stack.enter_context(contextlib.closing(runs.Airflow()))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        (place / "jwks.json").write_bytes((folder / "jwks.json").read_bytes())
        fleet = stack.enter_context(Fleet(place))
        fleets = [_Shadowed(fleet, one) for one in ([], changes)]
        sides = [
            Side(one, builds.Build(name="this tree", folder=folder / "head"), rows, pool, {"egress": airflow.url})
            for one in fleets
        ]
        for side in sides:
            stack.callback(side.stop)
        for side in sides if number % 2 else sides[::-1]:
            side.start(_fail)
        for one in fleets:
            one.wait()
        for row in rows:
            yield row.key, _measure(row, sides)


def _fail(_side, server, _inside, why):
    raise RuntimeError(f"{server}: {why}")


def _measure(row, sides):
    taken = []
    for side in sides:
        side.ask(row, _CHECKS)
    for number in range(_SLICES):
        spent = {id(side): side.ask(row, _CHECKS) for side in (sides if number % 2 else sides[::-1])}
        taken.append([spent[id(side)] for side in sides])
    without, beside = (statistics.median(side) for side in zip(*taken, strict=True))
    return without, beside, statistics.median(beside / without for without, beside in taken)


def measure(rows, pairs):
    """One result per row and candidate."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        builds.make(builds.THIS, folder / "head")
        pool = Bodies(checks.keys(folder))
        for candidate, changes in CANDIDATES.items():
            found = {row.key: [] for row in rows}
            for number in range(pairs):
                for key, sample in _pair(number, folder, rows, pool, changes):
                    found[key].append(sample)
            for row in rows:
                without, beside, ratios = zip(*found[row.key], strict=True)
                low, high = bounds(ratios)
                yield {
                    "candidate": candidate,
                    "row": row.label,
                    "without_us": round(statistics.median(without), 1),
                    "with_us": round(statistics.median(beside), 1),
                    "ratio": round(statistics.median(ratios), 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                }


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=_PAIRS)
    parser.add_argument("--rows", default="", help=f"some of: {','.join(row.key for row in ROWS)}")
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / "bench-shadow.json")
    asked = parser.parse_args()
    wanted = asked.rows.split(",") if asked.rows else [row.key for row in ROWS]
    print("| changed rule | row | without µs | with µs | ratio | 95 % bounds |")  # noqa: T201 - what this is for
    print("| --- | --- | ---: | ---: | ---: | ---: |")  # noqa: T201
    found = []
    for one in measure([row for row in ROWS if row.key in wanted], asked.pairs):
        found.append(one)
        *values, low, high = one.values()
        print("| " + " | ".join(map(str, [*values, f"{low}-{high}"])) + " |", flush=True)  # noqa: T201
    worst = max(one["ratio"] for one in found)
    print(f"\nhighest ratio {worst}, goal at most {GOAL}")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": found}, indent=1))
    return 1 if any(one["low"] > GOAL for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a feature of the gate costs each kind of check: CPU with it and without.

Law: both are this tree, asked in turn in short slices; each pair starts them anew (docs/performance.md, "Comparing two
commits"). The benchmarks of a feature say how a server is given it: see `Feature`.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bench import builds, checks, machine, runs
from bench.bounds import bounds
from bench.compare_rows import Bodies, Case
from bench.rulebook import DENIED
from bench.servers import Fleet
from bench.side import Side

GOAL = 1.10
PUBLIC_RULE = '  - {id: health, public: true, plane: inbound, operations: ["health:read"]}\n'
_PAIRS = 10
_SLICES, _CHECKS = 40, 100
_PUBLIC = "/api/v2/monitor/health"


class Feature(Protocol):
    """Gives servers the feature, or what stands in its place; one for each pair and side."""

    def prepare(self, server):
        """Change its files before it is started."""

    def wait(self):
        """Until it is in force in all servers."""


def _same(name):
    return lambda pool, _task, _start, count: pool.repeated(name, count)


def _anonymous(target):
    body = checks.framed(checks.anonymous(target))
    return lambda _pool, _task, _start, count: [body] * count


def _row(key, label, bodies, *, server="base", allows=True):
    return Case(key=key, label=label, server=server, allows=allows, bodies=bodies)


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


class _Prepared:
    """A fleet whose servers are prepared by a feature."""

    def __init__(self, fleet, feature):
        self._fleet, self._feature = fleet, feature

    def gate(self, name, **options):
        """The gate, with a public rule."""
        server = self._fleet.gate(name, **options)
        policy = server.folder / "policy.yaml"
        policy.write_text(policy.read_text() + PUBLIC_RULE)
        self._feature.prepare(server)
        return server


def _pair(number, folder, rows, pool, features):
    """The ratio of each row."""
    with contextlib.ExitStack() as stack:
        airflow = stack.enter_context(contextlib.closing(runs.Airflow()))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        (place / "jwks.json").write_bytes((folder / "jwks.json").read_bytes())
        fleet = stack.enter_context(Fleet(place))
        build = builds.Build(name="this tree", folder=folder / "head")
        sides = [Side(_Prepared(fleet, one), build, rows, pool, {"egress": airflow.url}) for one in features]
        for side in sides:
            stack.callback(side.stop)
        for side in sides if number % 2 else sides[::-1]:
            side.start(_fail)
        for one in features:
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


def measure(rows, pairs, features):
    """One result per row and feature; `features` makes, by its name, what a pair has without it and with it."""
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        builds.make(builds.THIS, folder / "head")
        pool = Bodies(checks.keys(folder))
        for feature, made in features.items():
            found = {row.key: [] for row in rows}
            for number in range(pairs):
                for key, sample in _pair(number, folder, rows, pool, made()):
                    found[key].append(sample)
            for row in rows:
                without, beside, ratios = zip(*found[row.key], strict=True)
                low, high = bounds(ratios)
                yield {
                    "feature": feature,
                    "row": row.label,
                    "without_us": round(statistics.median(without), 1),
                    "with_us": round(statistics.median(beside), 1),
                    "ratio": round(statistics.median(ratios), 3),
                    "low": round(low, 3),
                    "high": round(high, 3),
                }


def run(about, name, features, *, inside, without_goal=()):
    """Print the table; returns the exit status, 1 where the lower bound of a row is above the goal.

    `inside`: the CPU is that of the serving thread alone; else that of the gate's processes, with sockets and Envoy's
    protocol. Features in `without_goal` are shown, and not judged.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--pairs", type=int, default=_PAIRS)
    parser.add_argument("--rows", default="", help=f"some of: {','.join(row.key for row in ROWS)}")
    parser.add_argument("--json", type=Path, default=machine.ROOT / "build" / f"{name}.json")
    asked = parser.parse_args()
    wanted = asked.rows.split(",") if asked.rows else [row.key for row in ROWS]
    print("| feature | row | without µs | with µs | ratio | 95 % bounds |")  # noqa: T201 - what this is for
    print("| --- | --- | ---: | ---: | ---: | ---: |")  # noqa: T201
    found = []
    rows = [replace(row, inside=inside) for row in ROWS if row.key in wanted]
    for one in measure(rows, asked.pairs, features):
        found.append(one)
        *values, low, high = one.values()
        print("| " + " | ".join(map(str, [*values, f"{low}-{high}"])) + " |", flush=True)  # noqa: T201
    judged = [one for one in found if one["feature"] not in without_goal]
    worst = max(one["ratio"] for one in judged)
    print(f"\nhighest ratio {worst}, goal at most {GOAL}")  # noqa: T201
    asked.json.parent.mkdir(exist_ok=True)
    asked.json.write_text(json.dumps({"about": machine.describe(), "rows": found}, indent=1))
    return 1 if any(one["low"] > GOAL for one in judged) else 0

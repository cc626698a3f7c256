"""`python -m bench.compare BASE`: is this tree slower than that commit? See docs/performance.md.

The two builds are measured in pairs. Each pair starts both anew (what one process happens to be like, its addresses and
its hash seed, is then noise like any other), asks them in turn in many short slices, and gives one ratio per row.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench import builds, checks, machine, parked, runs
from bench.bounds import ALLOWED, INCONCLUSIVE, WORSE, verdict
from bench.compare_rows import CASES, Bodies
from bench.servers import Fleet
from bench.side import Side

_OUTPUT = machine.ROOT / "build" / "bench-compare.json"
_LEAST_PAIRS = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """`slices` of each build in one pair, of so many `checks`; the service alone gets many small ones."""

    pairs: int
    slices: int
    checks: int
    inside_slices: int
    inside_checks: int


PLANS = {"full": Plan(_LEAST_PAIRS, 10, 500, 40, 100), "tiny": Plan(1, 2, 40, 2, 20)}


def _say(text):
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Comparison:
    """All that was measured: by row, the pairs of CPU µs per check, and why a row has none."""

    def __init__(self, base, head, cases, plan):
        self.base, self.head, self.plan = base, head, plan
        self.cases = list(cases)
        self.samples = {case.key: [] for case in cases}
        self.missing = {}

    def run(self, folder):
        """Every pair; the one begins with BASE, the next with HEAD."""
        keys = checks.keys(folder)
        pool = Bodies(keys)
        for number in range(self.plan.pairs):
            _say(f"pair {number + 1} of {self.plan.pairs}")
            order = (self.base, self.head) if number % 2 == 0 else (self.head, self.base)
            with contextlib.ExitStack() as stack:
                airflow, slow = (
                    stack.enter_context(contextlib.closing(made())) for made in (runs.Airflow, parked.Slow)
                )
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
                (place / "jwks.json").write_bytes((folder / "jwks.json").read_bytes())
                fleet = stack.enter_context(Fleet(place))
                airflows = {"egress": airflow.url, "slow": slow.url}
                sides = [Side(fleet, build, self._left(), pool, airflows) for build in order]
                for side in sides:
                    stack.callback(side.stop)
                stack.callback(slow.let_go)  # before the servers are stopped: nothing waits for it any more
                for side in sides:
                    side.start(self._skip)
                self._pair(number, sides)

    def _left(self):
        return [case for case in self.cases if case.key not in self.missing]

    def _skip(self, side, server, inside, why):
        """A build that cannot serve a row: BASE may be too old for it, this tree may not."""
        if side.build is self.head:
            raise RuntimeError(f"{side.build.name}: {server}: {why}")
        for case in self._left():
            if (case.server, case.inside) == (server, inside):
                self.missing[case.key] = why

    def _pair(self, number, sides):
        cases = self._left()
        start = number * 5 % len(cases) if cases else 0
        for case in cases[start:] + cases[:start]:
            try:
                sample = self._measure(case, sides)
            except (RuntimeError, AssertionError, OSError) as error:
                self._judge_failure(case, sides, error)
            else:
                self.samples[case.key].append(sample)

    def _judge_failure(self, case, sides, error):
        """Only a row that BASE has never had may be left out."""
        head = next(side for side in sides if side.build is self.head)
        with head.load(case):
            head.ask(case, self.plan.checks)  # raises where the fault is not BASE's
        if self.samples[case.key]:
            raise error
        self.missing[case.key] = str(error)

    def _measure(self, case, sides):
        """CPU µs of BASE and of HEAD, and the ratio: the median of the ratios of slices that followed each other."""
        plan = self.plan
        slices, count = (plan.inside_slices, plan.inside_checks) if case.inside else (plan.slices, plan.checks)
        taken = []
        with contextlib.ExitStack() as stack:
            for side in sides:
                stack.enter_context(side.load(case))
                side.ask(case, count)  # warm, and the answers are right
            for number in range(slices):
                spent = {
                    side.build.folder: side.ask(case, count) for side in (sides if number % 2 == 0 else sides[::-1])
                }
                taken.append((spent[self.base.folder], spent[self.head.folder]))
        base, head = (statistics.median(side) for side in zip(*taken, strict=True))
        return base, head, statistics.median(head / base for base, head in taken)

    def rows(self):
        """What `bench-compare.json` has."""
        for case in self.cases:
            pairs = self.samples[case.key]
            if case.key in self.missing or not pairs:
                yield {"key": case.key, "label": case.label, "verdict": "not in BASE", "why": self.missing[case.key]}
                continue
            base, head, ratios = zip(*pairs, strict=True)
            base, head = statistics.median(base), statistics.median(head)
            median, low, high, said = verdict(ratios)
            numbers = {"base_us": base, "head_us": head, "ratio": median, "low": low, "high": high}
            yield {"key": case.key, "label": case.label, "verdict": said, "pairs": len(pairs), **numbers}


def _table(rows):
    yield f"{'row':14} {'':42} {'BASE µs':>8} {'HEAD µs':>8} {'ratio':>6} {'95 % bounds':>14}"
    for row in rows:
        name = f"{row['key']:14} {row['label']:42}"
        if "ratio" not in row:
            yield f"{name} {row['verdict']}: {row['why']}"
            continue
        bounds = f"{row['low']:.3f}-{row['high']:.3f}"
        yield f"{name} {row['base_us']:8.1f} {row['head_us']:8.1f} {row['ratio']:6.3f} {bounds:>14}  {row['verdict']}"


def _summary(rows, base):
    by_verdict = {said: [row["key"] for row in rows if row["verdict"] == said] for said in (WORSE, INCONCLUSIVE)}
    if by_verdict[WORSE]:
        yield f"Worse (the lower bound is above {ALLOWED}): {', '.join(by_verdict[WORSE])}"
    if by_verdict[INCONCLUSIVE]:
        keys = ",".join(by_verdict[INCONCLUSIVE])
        yield f"INCONCLUSIVE: {keys}. The bounds are too far apart to say anything; on an idle machine, run again:"
        yield f'  make bench-compare BASE={base} BENCH="--rows {keys} --pairs {2 * _LEAST_PAIRS}"'
    if not any(by_verdict.values()):
        yield f"Not worse: every upper bound is at most {ALLOWED}."


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("base", metavar="BASE", help="a commit, or a folder with a package `authz`")
    parser.add_argument("--head", default=builds.THIS, help="what is compared with it; default: this tree as it is")
    parser.add_argument("--rows", default="", help=f"some of: {','.join(case.key for case in CASES)}")
    parser.add_argument("--pairs", type=int, help=f"how many pairs; default: {_LEAST_PAIRS}")
    parser.add_argument("--plan", choices=PLANS, default="full", help="`tiny` shows that everything works")
    parser.add_argument("--output", type=Path, default=_OUTPUT, help="where the numbers go")
    arguments = parser.parse_args()
    wanted = [key for key in arguments.rows.split(",") if key] or [case.key for case in CASES]
    unknown = set(wanted) - {case.key for case in CASES}
    if unknown:
        parser.error(f"no such rows: {', '.join(sorted(unknown))}")
    return arguments, [case for case in CASES if case.key in wanted]


def main():
    arguments, cases = _arguments()
    plan = PLANS[arguments.plan]
    plan = replace(plan, pairs=arguments.pairs or plan.pairs)
    started, foreigners = time.monotonic(), machine.Foreigners()
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        try:
            base, head = builds.make(arguments.base, folder / "base"), builds.make(arguments.head, folder / "head")
            for role, build in (("BASE", base), ("HEAD", head)):
                print(f"{role} is {build.name}, and runs {build.prove()}", flush=True)  # noqa: T201
        except RuntimeError as error:
            _say(str(error))
            return 2
        comparison = Comparison(base, head, cases, plan)
        comparison.run(folder)
    rows = list(comparison.rows())
    about = {"base": base.name, "head": head.name, "pairs": plan.pairs, **machine.describe(), **foreigners.percent()}
    about["seconds"] = round(time.monotonic() - started)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"about": about, "rows": rows}, indent=2, ensure_ascii=False) + "\n")
    print("\n".join(["", "  ".join(f"{key}={value}" for key, value in about.items()), "", *_table(rows), ""]))  # noqa: T201
    print("\n".join(_summary(rows, arguments.base)))  # noqa: T201
    return 1 if any(row["verdict"] == WORSE for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

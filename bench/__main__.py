"""`python -m bench`: measure, print the table, write `build/bench.json`. See docs/performance.md."""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import checks, flame, machine, report, rulebook, size, soak
from bench.direct import Direct
from bench.outbound import Outbound
from bench.plans import PLANS
from bench.servers import Fleet, Peer
from bench.through import Through

_BUILD = machine.ROOT / "build"
_TOKENS = 100_000


def _say(text):
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--plan", choices=PLANS, default="full", help="how much is measured")
    parser.add_argument("--peer", metavar="HOST:PORT", help="another ext_authz server, measured beside ours")
    parser.add_argument("--output", type=Path, default=_BUILD / "bench.json", help="where the numbers go")
    parser.add_argument("--state", type=Path, default=_BUILD / "bench", help="where keys are kept from run to run")
    parser.add_argument("--soak", type=int, metavar="CHECKS", help="only this: so many checks on one process")
    parser.add_argument("--flame", type=Path, metavar="SVG", help="only this: a flame graph of a busy server")
    parser.add_argument(
        "--requests", action="store_true", help="only write what a peer needs to know to the state folder"
    )
    return parser.parse_args()


def _phase(make, plan, name):
    """Start a part, prove that its systems agree, warm up, and measure its rounds."""
    with contextlib.closing(make()) as part:
        _say(f"{name}: {len(part.rows)} rows, equivalence checked first")
        part.prove_equal()
        part.warm_up()
        for number in range(plan.rounds):
            _say(f"{name}: round {number + 1} of {plan.rounds}")
            part.round(number)
        return part.rows


def measure(plan, peer, state, folder):
    """Everything, as `bench.json` has it."""
    started, foreigners = time.monotonic(), machine.Foreigners()
    keys = checks.keys(state)
    shutil.copy(state / "jwks.json", folder)
    about = {"plan": plan.name, "rounds": plan.rounds, **machine.describe()}
    rows = {}
    with Fleet(folder) as fleet:
        rows |= _phase(lambda: Direct(fleet, keys, folder, plan, peer), plan, "checks")
        rows |= _phase(lambda: Through(fleet, keys, folder, plan, peer), plan, "through Envoy")
        rows |= _phase(lambda: Outbound(fleet, keys, folder, plan), plan, "calls of a task")
        _say("one worker: start and memory")
        rows |= size.measure(fleet, keys, plan)
    about |= foreigners.percent()
    judged, more = report.ratios(rows, _TOKENS / plan.cached_tokens)
    about["seconds"] = round(time.monotonic() - started)
    if plan.cached_tokens != _TOKENS:
        about["worker_rss_mb"] = f"estimated from {plan.cached_tokens} cached tokens"
    return {"about": about, "ratios": judged, "more": more, "rows": [row.as_json() for row in rows.values()]}


def _write_requests(state):
    """The two requests, the keys and the policy, so that anyone can set up a peer that answers the same."""
    bearer = checks.token(checks.keys(state)["RS256"])
    for name, target in (("allow", rulebook.ALLOWED), ("deny", rulebook.DENIED)):
        message = checks.request(bearer, target=target)
        (state / f"{name}.bin").write_bytes(message)
        (state / f"{name}-framed.bin").write_bytes(checks.framed(message))
    (state / "policy.yaml").write_text(rulebook.policy(100, state / "jwks.json"))
    _say(f"{state}: jwks.json, policy.yaml, allow.bin and deny.bin (the token lives two hours)")


def main():
    arguments = _arguments()
    state = arguments.state
    state.mkdir(parents=True, exist_ok=True)
    if arguments.requests:
        _write_requests(state)
        return 0
    missing = [program for program in ("h2load", "wrk") if shutil.which(program) is None]
    if missing:
        _say(f"{' and '.join(missing)} not found: run scripts/system-packages")
        return 2
    with tempfile.TemporaryDirectory(prefix="authz-bench-") as name:
        folder = Path(name)
        if arguments.soak:
            with Fleet(folder) as fleet:
                result = soak.run(fleet, checks.keys(folder), folder, arguments.soak)
            report.write(_BUILD / "soak.json", result)
            _say(", ".join(f"{name}: {result[name]}" for name in ("growth_percent", "failed", "unaccounted")))
            return 0 if result["failed"] == result["unaccounted"] == 0 else 1
        if arguments.flame:
            with Fleet(folder) as fleet:
                stacks = flame.record(fleet, checks.keys(folder), folder)
            arguments.flame.write_text(flame.draw(stacks))
            print("\n".join(f"{percent:5.1f} %  {name}" for name, percent in flame.table(stacks)))  # noqa: T201
            return 0
        peer = Peer(arguments.peer) if arguments.peer else None
        result = measure(PLANS[arguments.plan], peer, state, folder)
    report.write(arguments.output, result)
    print(report.text(result))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A million checks on one process: does its memory grow, does anything fail?

Allowed and denied requests, 14 and 40 headers, cached and new tokens take turns. Answers are counted by the client and
by the server's own metrics, and both must agree with what was sent.
"""

import itertools

from bench import checks, load
from bench.rulebook import DENIED
from bench.sender import send

_STEP = 50_000
_FRESH = 1_000  # of them with a token of their own
_CACHE = 1_000  # tokens that the process may keep: full before memory is compared, and then evicting
_SETTLED = 100_000
_REASONS = {"allow": "rule", "deny": "no_rule"}


def run(fleet, keys, folder, count):
    """Memory by checks done, and what failed; both are printed as they come."""
    bearer = checks.token(keys["RS256"])
    bodies = {
        "allow": checks.request(bearer),
        "allow40": checks.request(bearer, headers=40),
        "deny": checks.request(bearer, target=DENIED),
    }
    files = []
    for name, message in bodies.items():
        files.append(folder / f"soak-{name}.bin")
        files[-1].write_bytes(checks.framed(message))
    server = fleet.gate("soak", cached_tokens=_CACHE)
    server.start()
    server.wait_allowed(lambda: checks.framed(bodies["allow"]))
    serials = itertools.count(1)
    done, failed, memory = 0, 0, {}
    for file in itertools.cycle(files):
        step = min(_STEP, count - done)
        if step <= 0:
            break
        fresh = min(_FRESH, step // 2)
        answered = load.grpc(server.address, file, step - fresh)
        failed += step - fresh - answered.done
        failed += send(server.address, checks.fresh_bodies(keys["EdDSA"], itertools.islice(serials, fresh))).failed
        done += step
        memory[done] = server.rss_mb()
        print(f"{done:>9,} checks  {memory[done]:7.1f} MB  {answered.rate:8,.0f}/s  {failed} failed", flush=True)  # noqa: T201
    settled = min((mark for mark in memory if mark >= _SETTLED), default=done)
    sent = done + 1  # and the one that found it ready
    counted = _counted(server)
    server.stop()
    return {
        "checks": done,
        "failed": failed,
        "counted": counted,
        "unaccounted": sent - sum(counted.values()),
        "memory_mb": {str(mark): round(value, 2) for mark, value in memory.items()},
        "growth_percent": round((memory[done] / memory[settled] - 1) * 100, 2),
    }


def _counted(server):
    """Checks by the server's own account; those before it was ready are among them."""
    return {
        decision: server.metric(f'authz_checks_total{{decision="{decision}",plane="inbound",reason="{reason}"}}')
        for decision, reason in _REASONS.items()
    }

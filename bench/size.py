"""One worker with 10,000 rules: how long it takes to start, and what 100,000 cached tokens weigh."""

import itertools
import time

from bench import checks
from bench.samples import Row
from bench.sender import send

_RULES = 10_000
_BATCH = 5_000
_FIRST_SERIAL = 100_000_000


def measure(fleet, keys, plan):
    """Two rows: `start` with `ready_s`, `memory` with `empty_mb`, `rss_mb` and `peak_mb`."""
    start = Row("start", "size", f"start to the first allow, {_RULES:,} rules")
    memory = Row("memory", "size", f"one worker, {_RULES:,} rules, {plan.cached_tokens:,} cached tokens")
    body = next(checks.fresh_bodies(keys["EdDSA"], [_FIRST_SERIAL], audience="airflow"))
    for remaining in reversed(range(plan.starts)):
        server = fleet.gate("start", rules=_RULES)
        started = time.perf_counter()
        server.start()
        server.wait_allowed(lambda: body)
        start.add(ready_s=time.perf_counter() - started)
        if remaining:
            server.stop()
    memory.add(empty_mb=server.rss_mb())
    serials = iter(range(_FIRST_SERIAL + 1, _FIRST_SERIAL + plan.cached_tokens))
    bodies = checks.fresh_bodies(keys["EdDSA"], serials, audience="airflow")
    while batch := list(itertools.islice(bodies, _BATCH)):
        failed = send(server.address, batch).failed
        assert failed == 0, f"{failed} checks failed while the cache was filled"
    misses = server.metric('authz_token_cache_total{result="miss"}')
    assert misses == plan.cached_tokens, f"{misses:.0f} tokens were verified, not {plan.cached_tokens}"
    memory.add(rss_mb=server.rss_mb(), peak_mb=server.peak_mb())
    server.stop()
    return {"start": start, "memory": memory}

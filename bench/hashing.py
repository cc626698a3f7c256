"""What the log's tree costs per record: CPU time of the leaf hash and of the append, in batches as a writer makes them.

    python -m bench.hashing [--bytes N] [--rounds N]

A row per batch, the best of all rounds: other programs only add to it. Exit 1 if batches of 100 and more miss the goal.
"""

import argparse
import os
import sys
import time

from authz.core.audit.frontier import Frontier
from authz.core.audit.hashing import leaf_hashes

GOAL_US = 1.5
GOAL_FROM = 100
BATCHES = (1, 10, 100, 1000)
_RECORDS = 20_000


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.hashing", description=__doc__.partition("\n")[0])
    parser.add_argument("--bytes", type=int, default=800, help="of a record")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    best = dict.fromkeys(BATCHES, float("inf"))
    for _ in range(options.rounds):
        for batch in BATCHES:
            best[batch] = min(best[batch], measured(batch, options.bytes))
    sys.stdout.write(f"{options.bytes} bytes a record\n")
    for batch, cost in best.items():
        sys.stdout.write(f"{batch:>5} at once  {cost:.2f} µs a record\n")
    return 1 if any(cost > GOAL_US for batch, cost in best.items() if batch >= GOAL_FROM) else 0


def measured(batch, size):
    """Microseconds of CPU a record."""
    entries = [os.urandom(size) for _ in range(batch)]
    frontier = Frontier()
    begin = time.process_time()
    for _ in range(_RECORDS // batch):
        frontier.append(leaf_hashes(entries))
    frontier.root()
    return (time.process_time() - begin) / _RECORDS * 1e6


if __name__ == "__main__":
    sys.exit(main())

"""What a signed log (`audit.log`) costs each kind of check in the worker: CPU with it and without, over real sockets.

    python -m bench.signing [--pairs N] [--rows ROW,…] [--json FILE]

Without it, a thread appends the decisions to a file, as by default. With it, a check hands its record over itself, and
a process of its own writes the log. That one is not counted here: `bench.audit_log` has what it takes. `machine`: an
answer waits until its record is on the disk, which has no goal: a parked check costs what it costs. See `bench.beside`
for how it is measured.
"""

import sys

from bench import beside
from bench.servers import NO_LOG


class Logged:
    """Servers whose log is signed, or is a file."""

    def __init__(self, durability=""):
        self._durability = durability

    def prepare(self, server):
        """Name the log."""
        file = server.folder / "authz.yaml"
        text = file.read_text()
        log = next(line for line in text.splitlines() if NO_LOG in line)
        signed = f"audit: {{log: audit, keys: [audit.pem], durability: {self._durability}}}"
        file.write_text(text.replace(log, signed if self._durability else log.replace(NO_LOG, "decisions.jsonl")))

    def wait(self):
        """They serve only when the log is there."""


FEATURES = {
    durability: lambda durability=durability: (Logged(), Logged(durability)) for durability in ("process", "machine")
}

if __name__ == "__main__":
    sys.exit(beside.run(__doc__.splitlines()[0], "bench-signing", FEATURES, inside=False, without_goal=("machine",)))

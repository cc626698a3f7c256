"""What a candidate policy (`shadow`) costs each kind of check: CPU of the service alone, with one and without.

    python -m bench.shadowing [--pairs N] [--rows ROW,…] [--json FILE]

One rule of the candidate is another: with `other`, one that is about none of these requests; with `own`, the rules
about them, so that the candidate is asked too. See `bench.beside` for how it is measured.
"""

import hashlib
import sys
import time

from bench import beside

_START_S = 30.0
# What the candidate has in place of a rule.
CANDIDATES = {
    "other": [('dags: ["team1_*"]', 'dags: ["team1_x*"]')],
    "own": [
        ('dags: ["sales_*"]', 'dags: ["sales_d*", "sales_e*"]'),
        ('operations: ["health:read"]', 'operations: ["health:read"], methods: [GET]'),
    ],
}


class Shadowed:
    """Servers with a candidate that has these changes, or with none."""

    def __init__(self, changes):
        self._changes = changes
        self._candidates = []

    def prepare(self, server):
        """Write the candidate."""
        text = (server.folder / "policy.yaml").read_text()
        for old, new in self._changes:
            if old not in text:
                raise ValueError(old)
            text = text.replace(old, new)
        if self._changes:
            settings = server.folder / "authz.yaml"
            (server.folder / "candidate.yaml").write_text(text)
            settings.write_text(settings.read_text() + "shadow: candidate.yaml\n")
            self._candidates.append((server, hashlib.sha256(text.encode()).hexdigest()[:12]))

    def wait(self):
        """Until every candidate is compared with."""
        for server, revision in self._candidates:
            end = time.monotonic() + _START_S
            while not server.metric(f'authz_shadow_info{{revision="{revision}"}}'):
                if time.monotonic() > end:
                    raise RuntimeError(f"{server.name} has no candidate: {server.log.read_text()}")
                time.sleep(0.01)


FEATURES = {name: lambda changes=changes: (Shadowed([]), Shadowed(changes)) for name, changes in CANDIDATES.items()}

if __name__ == "__main__":
    sys.exit(beside.run(__doc__.splitlines()[0], "bench-shadow", FEATURES, inside=True))

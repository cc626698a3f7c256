"""Logs lint's warnings about each policy that comes into force, in one bounded line.

Law: one process logs it, once for each revision, after the policy is in force. What the prover finds is left to
`authz lint`, and lint takes less time than loading; a file larger than `MOST_BYTES` is skipped, so that checks never
wait for it. A bug in lint never stops a start or a reload.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from authz.core.cases import Suite
from authz.core.errors import Problem
from authz.settings import Settings

log = logging.getLogger(__name__)

# Some 2,000 rules: less than 100 ms in every shape of `tests/support/factories/policy_shapes.py`.
MOST_BYTES: Final = 256 * 1024
_SHOWN: Final = 3
_MOST_CHARS: Final = 300


class PolicyWarnings:
    """Logs the warnings of each revision once. `settings` are the gate's, `wall` is the time since the epoch."""

    def __init__(self, settings: Settings, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._settings = settings
        self._logged = ""

    def log(self, suite: Suite, size: int) -> None:
        """Log the warnings of a policy and its tests; `size` is that of its files in bytes."""
        policy = suite.policy
        if size > MOST_BYTES or policy.revision == self._logged:
            return
        self._logged = policy.revision
        try:
            found = self._warnings(suite)
        except Exception:
            # Lint's entry point: the policy is in force already, and a bug in lint must not end its process.
            log.exception("looking for warnings about the policy %s", policy.revision[:12])
            return
        if found:
            shown = "; ".join(_cut(str(problem)) for problem in found[:_SHOWN])
            left = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            log.warning(
                "policy %s: %d warning(s): %s%s. All are shown by: authz lint --settings FILE",
                policy.revision[:12],
                len(found),
                shown,
                left,
            )

    def _warnings(self, suite: Suite) -> list[Problem]:
        from authz.core.cases import remarks  # noqa: PLC0415 only the process that logs needs lint
        from authz.core.lint import review  # noqa: PLC0415 only the process that logs needs lint
        from authz.core.lint.ends import about_ends  # noqa: PLC0415 only the process that logs needs lint
        from authz.serve import agreement  # noqa: PLC0415 only the process that logs needs lint

        found = [*review.lint(suite.policy, proven=False), *about_ends(suite.policy, self._wall(), proven=False)]
        found += agreement.findings(suite.policy, self._settings, "settings", suite.never)
        found += remarks.findings(suite, by_settings=agreement.has_ways_out(self._settings))
        return sorted(finding.problem for finding in found if finding.severity is review.Severity.WARNING)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"

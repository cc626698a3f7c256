"""What lint thinks of the policy that came into force, in one line of the log.

Law: one process says it, once for each revision, when that is in force already, and in bounded length. Lint takes a
part of the time that loading takes; a file larger than `MOST_BYTES` is left to `authz lint`, so that checks never wait
for it. A bug in lint ends neither a start nor a reload.
"""

import logging
from typing import Final

from authz.errors import Problem
from authz.policy import Policy
from authz.settings import Settings

log = logging.getLogger(__name__)

MOST_BYTES: Final = 256 * 1024  # some 2,000 rules, under 100 ms in every shape of `tests/policy_shapes.py`
_SHOWN: Final = 3
_MOST_CHARS: Final = 300


class PolicyWarnings:
    """Tells each revision's warnings once. `settings` are those that the policy is used with."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._told = ""

    def tell(self, policy: Policy, size: int) -> None:
        """Log the warnings about a policy that is in force; `size` is that of its file in bytes."""
        if size > MOST_BYTES or policy.revision == self._told:
            return
        self._told = policy.revision
        try:
            found = self._warnings(policy)
        except Exception:
            # Lint's door: the policy is in force, and what lint thinks of it changes nothing.
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

    def _warnings(self, policy: Policy) -> list[Problem]:
        from authz import agreement, review  # noqa: PLC0415 only the process that tells needs lint

        found = sorted([*review.lint(policy), *agreement.findings(policy, self._settings, "settings")])
        return [finding.problem for finding in found if finding.severity is review.Severity.WARNING]


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else text[: _MOST_CHARS - 1] + "…"

"""The candidate policy of one process, from the settings: its file, its watcher, and what compares checks with it.

Law: without `shadow` in the settings no check pays for it. A start never waits for the candidate, and no check waits
until it is known where it differs from the policy in force: the watchers' threads find that out.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from authz.check.shadow import Candidate, Shadow
from authz.core.cases import Suite
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import Problem
from authz.core.policy import Policy, as_of
from authz.core.shadow import Changes
from authz.ops.candidate_file import CandidateFile
from authz.ops.file_watcher import Watcher
from authz.ops.metrics import Metrics
from authz.ops.named_files import NamedFiles
from authz.settings import Settings

log = logging.getLogger(__name__)

_LISTED: Final = 20  # problems shown on `/readyz`


class ShadowParts:
    """What compares checks; nothing where the settings name no candidate.

    Args:
        settings: the settings.
        metrics: count the comparisons.
        check: problems of a policy that only the settings show.

    Attributes:
        service: what the service is given.
        watchers: to be started and stopped with the others.
    """

    def __init__(self, settings: Settings, metrics: Metrics, check: Callable[[Suite], Sequence[Problem]]) -> None:
        self.service: Shadow | None = None
        self.watchers: tuple[Watcher, ...] = ()
        self._file: CandidateFile | None = None
        self._newest: Candidate | None = None
        self._in_force: Policy | None = None
        self._lock = threading.Lock()
        if settings.shadow:
            path = Path(settings.shadow)
            file = self._file = CandidateFile(path, check=check, changed=self._turn)
            self.service = Shadow(lambda: self._newest, metrics)
            self.watchers = (Watcher(path, file.take, most_bytes=MAX_BYTES, others=NamedFiles(path)),)
            metrics.watch_shadow(lambda: (file.current.revision if file.current else "", file.state == "refused"))

    def beside(self, policy: Policy) -> None:
        """Compare with this policy: it is about to be in force. Any thread."""
        file = self._file
        if file is not None:
            with self._lock:
                self._in_force = policy
                self._newest = self._made(file.current)

    def details(self, policy: Policy | None) -> dict[str, object]:
        """What `/readyz` shows: it never makes the gate unready."""
        file = self._file
        if file is None:
            return {}
        candidate = file.current
        shown: dict[str, object] = {"state": file.state, "revision": candidate.revision if candidate else ""}
        if file.problems:
            shown["problems"] = [str(problem) for problem in file.problems[:_LISTED]]
        if differing := _issuers(policy, candidate):
            shown["issuers_not_compared"] = differing
        return {"shadow": shown}

    def _turn(self, candidate: Policy | None) -> None:
        """Another candidate, or none."""
        with self._lock:
            self._newest = self._made(candidate)
            differing = _issuers(self._in_force, candidate)
        if candidate is not None and differing:
            log.warning(
                "the candidate %s has another entry for these issuers, or none; their callers are not compared: %s",
                candidate.revision[:12],
                ", ".join(differing),
            )

    def _made(self, candidate: Policy | None) -> Candidate | None:
        policy = self._in_force
        if candidate is None:
            return None
        candidate = as_of(candidate, time.time())
        if policy is None:
            return Candidate(policy=candidate)
        return Candidate(policy=candidate, beside=policy, changes=Changes(policy, candidate))


def _issuers(policy: Policy | None, candidate: Policy | None) -> list[str]:
    """The issuers of the policy in force that the candidate has not, or not the same."""
    if policy is None or candidate is None:
        return []
    return sorted(issuer.name for key, issuer in policy.issuers.items() if candidate.issuers.get(key) != issuer)

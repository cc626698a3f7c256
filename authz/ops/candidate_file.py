"""The candidate for the policy: a file that may be absent, and whose mistakes change nothing.

Law: only a candidate that the gate would take as its policy is compared. One that does not load, or whose own tests
fail, is not, and neither is the one before it: figures about a file that is not there any more would mislead. Its
problems are kept for `/readyz` and logged. `current` is one reference. Only its watcher reads the files.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from authz.core import cases, policy
from authz.core.errors import PolicyError, Problem
from authz.ops.file_watcher import Content

log = logging.getLogger(__name__)

_LISTED: Final = 20  # problems written to the log; the rest is counted
_SHOWN: Final = 12  # characters of a revision

State = Literal["", "absent", "compared", "refused"]


class CandidateFile:
    """Loads what is in `path` and holds the result.

    Args:
        path: the candidate; its name for problems, and the base of the files that it names.
        check: problems of a policy that only other files show.
        changed: called with every candidate that is compared from now on; with None where there is none any more.
    """

    def __init__(
        self,
        path: Path,
        *,
        check: Callable[[cases.Suite], Sequence[Problem]],
        changed: Callable[[policy.Policy | None], None],
    ) -> None:
        self._path = path
        self._check = check
        self._changed = changed
        self._tried = ""
        self.state: State = ""
        self.current: policy.Policy | None = None
        self.problems: tuple[Problem, ...] = ()

    def take(self, content: Content) -> None:
        """Load what the watcher found. The same bytes are not loaded twice."""
        if content.data is None:
            self._tried = ""
            if content.absent:
                self._none()
            else:
                self._refuse([Problem(str(self._path), 0, 0, f"cannot be read: {content.problem}")])
            return
        bundle = policy.Bundle(content.data, str(self._path), content.parts)
        digest = bundle.revision
        if digest != self._tried:
            self._load(bundle)
            self._tried = digest

    def _load(self, bundle: policy.Bundle) -> None:
        try:
            suite = cases.load(bundle)
        except PolicyError as error:
            self._refuse(error.problems)
            return
        problems, loaded = self._check(suite), suite.policy
        if problems:
            self._refuse(PolicyError(problems).problems)
            return
        log.info("checks are compared with the candidate %s from now on", loaded.revision[:_SHOWN])
        self._set(loaded, "compared")

    def _none(self) -> None:
        before = self.state
        self._set(None, "absent")
        if before != "absent":
            log.info("there is no candidate, so nothing is compared: %s is absent", self._path)

    def _refuse(self, problems: Sequence[Problem]) -> None:
        self._set(None, "refused", problems)
        log.warning(
            "the candidate cannot be used, so nothing is compared; no answer is affected; %d problem(s):", len(problems)
        )
        for problem in self.problems[:_LISTED]:
            log.warning("  %s", problem)

    def _set(self, current: policy.Policy | None, state: State, problems: Sequence[Problem] = ()) -> None:
        self.current, self.state, self.problems = current, state, tuple(problems)
        self._changed(current)

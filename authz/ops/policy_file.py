"""The policy in force: loaded once, replaced as a whole, never by a broken one.

Law: a policy that does not load changes nothing: the one in force stays, the problems are kept for `/readyz`, counted
and logged. A mistake in a file of a team concerns that file alone (`authz.core.cases.settle`). A policy that
contradicts its own tests or `never` does not load. Whether it loads never depends on the time: what has ended is
checked and tested like the rest, and left out only then. `current` is one reference; a reader works with one policy to
the end. Only its watcher reads the files, and passes on the bytes.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from authz.core import cases, policy
from authz.core.errors import PolicyError, Problem
from authz.ops.file_watcher import SETTLE_S, Content
from authz.ops.in_force import PolicyInForce
from authz.ops.kept_policy import KeptPolicy

log = logging.getLogger(__name__)

_LISTED: Final = 20  # problems written to the log; the rest is counted
_IN_PLACE: Final = (
    "%s was written in place: where an editor pauses for more than %d ms, what it has written so far is taken if it is"
    " valid. Replace the file by a rename, or say `end_mark: true` at its top"
)


class ReloadEvents(Protocol):
    """Counts reloads."""

    def policy_loaded(self, revision: str, rules: Iterable[str]) -> None:
        """A policy with these ids of rules came into force."""
        ...

    def policy_restored(self, revision: str, rules: Iterable[str]) -> None:
        """The policy from before the restart came into force in place of the file."""
        ...

    def policy_files_refused(self, files: Mapping[str, str]) -> None:
        """These files of teams are not in force as they are; by name, what is in their place."""
        ...

    def policy_refused(self, test: str) -> None:
        """A policy could not be used; `test` names the first of its tests that failed, "" if it has other problems."""
        ...


class PolicyFile:
    """Loads what is in `path` and holds the result.

    Args:
        path: the policy file; its name for problems, and the base of the files that it names.
        check: problems of a policy and its entries of `never` that only other files show; without any, it comes into
            force.
        accept: called with every policy that loaded, before it is in force (keys for new issuers are fetched then).
        kept: where the last good policy is kept for a restart.
        events: notified of every policy that came into force and of every one that was refused.
        look: called with a policy that came into force, its tests, and the size of its files in bytes.
        wall: the time since the epoch.
    """

    def __init__(
        self,
        path: Path,
        *,
        accept: Callable[[policy.Policy], None],
        events: ReloadEvents,
        check: Callable[[cases.Suite], Sequence[Problem]] = lambda _suite: (),
        kept: KeptPolicy | None = None,
        look: Callable[[cases.Suite, int], None] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._accept = accept
        self._check = check
        self._kept = kept
        self._events = events
        self._look = look
        self._tried = ""
        self.in_force = PolicyInForce(wall)
        self.problems: tuple[Problem, ...] = ()
        self.faults: tuple[cases.Fault, ...] = ()
        self._good: Mapping[str, bytes] | None = None
        self._refused = False
        self.restored = ""

    @property
    def current(self) -> policy.Policy | None:
        """The policy in force."""
        return self.in_force.current

    def take(self, content: Content) -> None:
        """Load what the watcher found; if nothing is in force then, the policy from before the restart."""
        self._take(content)
        if self.current is None and self._kept is not None:
            self._restore(self._kept)

    def _take(self, content: Content) -> None:
        """The same bytes are not loaded twice."""
        if content.data is None:
            self._reject([Problem(str(self._path), 0, 0, f"cannot be read: {content.problem}")])
            self._tried = ""
            return
        bundle = policy.Bundle(content.data, str(self._path), content.parts)
        digest = bundle.revision
        if digest == self._tried:
            return
        self._load(bundle)
        self._tried = digest  # only now: what a bug kept from loading is tried again
        if content.in_place and self.current is not None and not self.current.end_mark:
            log.warning(_IN_PLACE, self._path, round(SETTLE_S * 1000))

    def notes(self) -> list[str]:
        """All that is wrong with the files, for `/readyz`."""
        notes = [str(problem) for problem in self.problems]
        notes += [f"{fault.name}: {fault.consequence}: {one}" for fault in self.faults for one in fault.problems]
        return [*notes, self.restored] if self.restored else notes

    def _checked(self, bundle: policy.Bundle) -> cases.Suite:
        suite = cases.load(bundle)
        if problems := self._check(suite):
            raise PolicyError(problems)
        return suite

    def _last_good(self) -> Mapping[str, bytes]:
        """The last good content of each file of a team; before the first load, of those kept from before a restart."""
        if self._good is None and self._kept is not None:
            return self._kept.good(str(self._path))
        return self._good or {}

    def _load(self, bundle: policy.Bundle) -> None:
        try:
            settled = cases.settled(bundle, self._checked, self._last_good)
        except PolicyError as error:
            self._reject(error.problems, test=error.test)
            return
        suite, loaded = settled.suite, settled.suite.policy
        self._accept(loaded)
        before = self.current.revision[:12] if self.current else "none"
        self.in_force.put(loaded)
        self.problems = ()
        self.restored = ""
        self._events.policy_loaded(loaded.revision, loaded.rules)
        self._tell(settled.faults)
        # The first one is part of a start, whose last line names it.
        level = logging.DEBUG if before == "none" and not self._refused else logging.INFO
        if before == loaded.revision[:12]:
            log.info("policy %s stays in force%s", before, "" if self.faults else ": its file can be used again")
        else:
            log.log(level, "policy %s is in force (before: %s)", loaded.revision[:12], before)
        if self._kept is not None:
            self._kept.keep(settled.bundle, loaded)
        self._good = cases.good_parts(settled.bundle)
        if self._look is not None:
            self._look(suite, bundle.size)

    def _restore(self, kept: KeptPolicy) -> None:
        """Bring the kept policy into force, if it passes the current checks."""
        found = kept.load(str(self._path))
        if found is None:
            return
        loaded = found.settled.suite.policy
        problems = self._check(found.settled.suite)
        if problems:
            kept.refuse(str(problems[0]))
            return
        self._accept(loaded)
        self.in_force.put(loaded)
        self.restored = (
            f"the policy {loaded.revision[:12]}, in force since {found.since} and kept from before the restart,"
            " serves in place of the file"
        )
        self._events.policy_restored(loaded.revision, loaded.rules)
        log.warning("%s", self.restored)
        self._tell(found.settled.faults)
        self._good = cases.good_parts(found.settled.bundle)
        if self._look is not None:
            self._look(found.settled.suite, found.settled.bundle.size)

    def _tell(self, faults: tuple[cases.Fault, ...]) -> None:
        """Report the files of teams that are not in force as they are."""
        if faults or self.faults:
            self._events.policy_files_refused({fault.name: fault.status for fault in faults})
        self.faults = faults
        for fault in faults:
            log.error("%s cannot be used, %s; %d problem(s):", fault.name, fault.consequence, len(fault.problems))
            for problem in fault.problems[:_LISTED]:
                log.error("  %s", problem)

    def _reject(self, problems: Sequence[Problem], *, test: str = "") -> None:
        self.problems = tuple(problems)
        self._refused = True
        self._events.policy_refused(test)
        kept = f"the policy {self.current.revision[:12]} stays in force" if self.current else "every check is denied"
        log.error("the policy cannot be used, %s; %d problem(s):", kept, len(self.problems))
        for problem in self.problems[:_LISTED]:
            log.error("  %s", problem)

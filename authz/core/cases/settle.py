"""A bundle with files of teams → the policy that may come into force, and the files whose last good content stays.

Law 1: a team's mistake is a matter of its file alone. In place of a file that has one stands its last good content, or
nothing: then all that its rules might forbid is denied (`authz.core.policy.confines`). All other files come into force.
Law 2: a mistake of the policy file, or one that is there with the last good content of every team too, is a mistake of
the whole: nothing comes into force.
Law 3: nothing comes into force that `load` would not take. Which files are at fault is found by loading.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from authz.core.cases.load import Suite
from authz.core.errors import PolicyError, Problem
from authz.core.policy import Bundle
from authz.core.policy.bundle import AS_FOUND, LAST_GOOD, LEFT_OUT, Part, included

Load: TypeAlias = Callable[[Bundle], Suite]
_Choice: TypeAlias = Mapping[str, Part]


class Fault(NamedTuple):
    """A file of a team that is not in force as it was found, what is in its place (a part's status), and why."""

    name: str
    status: str
    problems: tuple[Problem, ...]

    @property
    def consequence(self) -> str:
        """What that means, in words."""
        if self.status == LAST_GOOD:
            return "its last good content stays in force"
        return "no content of it is good, so all that its rules might forbid is denied to its roles"


@dataclass(frozen=True, slots=True)
class Settled:
    """A policy that may come into force, the files that it was made of, and the files that are at fault."""

    suite: Suite
    bundle: Bundle
    faults: tuple[Fault, ...] = ()


def good_parts(bundle: Bundle) -> dict[str, bytes]:
    """The last good content of each file of a team in a bundle that came into force."""
    names = included(bundle.data)
    return {part.name: part.data for part in bundle.parts if part.name in names and part.data}


def settled(bundle: Bundle, load: Load, good: Callable[[], Mapping[str, bytes]]) -> Settled:
    """The bundle with the best content of each file of a team; `good` gives their last good contents, if need be.

    Raises:
        PolicyError: a mistake that is no team's alone, with all mistakes that were found.
    """
    try:
        return Settled(load(bundle), bundle)
    except PolicyError as error:
        if not included(bundle.data):
            raise
        first = error
    return _Settling(bundle, load, good()).settle(first)


@dataclass
class _Settling:
    """The search for the best content of each file. `_left` has what may still be tried, the best first."""

    bundle: Bundle
    load: Load
    good: Mapping[str, bytes]
    _left: dict[str, list[Part]] = field(init=False)
    _faults: dict[str, tuple[Problem, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        names = included(self.bundle.data)
        self._left = {part.name: self._contents(part) for part in self.bundle.parts if part.name in names}

    def _contents(self, part: Part) -> list[Part]:
        good = self.good.get(part.name, b"")
        older = [Part(part.name, good, status=LAST_GOOD)] if good else []
        return [replace(part, status=AS_FOUND), *older, Part(part.name, good, status=LEFT_OUT)]

    def settle(self, error: PolicyError) -> Settled:
        """The result; `error` is why the bundle cannot be loaded as it was found."""
        while True:
            self._blame(error)
            chosen = {name: parts[0] for name, parts in self._left.items()}
            bundle = self._with(chosen)
            try:
                suite = self.load(bundle)
            except PolicyError as failure:
                error = failure
            else:
                return Settled(suite, bundle, tuple(self._told(chosen)))

    def _told(self, chosen: _Choice) -> list[Fault]:
        return [Fault(name, chosen[name].status, why) for name, why in sorted(self._faults.items())]

    def _blame(self, error: PolicyError) -> None:
        """Give up the contents that are at fault for this error, each for the next one.

        Raises:
            PolicyError: none of them is.
        """
        own = self._own(error)
        for name, problems in own.items():
            self._drop(name, problems)
        if not own:
            self._blame_for_the_whole(error)

    def _blame_for_the_whole(self, error: PolicyError) -> None:
        """The error is about the policy as a whole: find the file without whose new content it is not there."""
        older = {name: parts[0] if parts[0].status else parts[1] for name, parts in self._left.items()}
        try:
            self.load(self._with(older))
        except PolicyError as failure:
            own = self._own(failure)
            if not own:  # no team has anything to do with it
                problems = [one for found in self._faults.values() for one in found]
                raise PolicyError({*failure.problems, *problems}, test=failure.test) from None
            for name in own:  # what was good is not any more; the file as it was found may be
                self._left[name].remove(older[name])
            return
        name, first = self._boundary(older, error)
        hint = "the policy as a whole must hold with each file of it"
        text = f"with this file the policy has a mistake: {first.problems[0]}"
        self._drop(name, (Problem(self._path(name), 0, 0, text, hint),))

    def _boundary(self, older: _Choice, error: PolicyError) -> tuple[str, PolicyError]:
        """The first file in order with whose new content the policy cannot be loaded any more, and why.

        What is as it was comes first, so that it is not held responsible for what others changed.
        """
        names = [name for name, part in older.items() if self._left[name][0] is not part]
        names.sort(key=lambda name: self._left[name][0].data != older[name].data)
        good, bad = 0, len(names)
        while bad - good > 1:
            middle = (good + bad) // 2
            newer = {name: self._left[name][0] for name in names[:middle]}
            try:
                self.load(self._with({**older, **newer}))
                good = middle
            except PolicyError as failure:
                bad, error = middle, failure
        return names[good], error

    def _own(self, error: PolicyError) -> dict[str, tuple[Problem, ...]]:
        """The problems in files of teams, by the name of the file."""
        found: dict[str, list[Problem]] = {}
        paths = {self._path(name): name for name, parts in self._left.items() if len(parts) > 1}
        for problem in error.problems:
            if problem.file in paths:
                found.setdefault(paths[problem.file], []).append(problem)
        return {name: tuple(problems) for name, problems in found.items()}

    def _drop(self, name: str, problems: tuple[Problem, ...]) -> None:
        """Give up the best content of a file; why the first of them was given up is reported."""
        del self._left[name][0]
        self._faults.setdefault(name, problems)

    def _path(self, name: str) -> str:
        return self.bundle.path_of(Part(name, b""))

    def _with(self, chosen: _Choice) -> Bundle:
        """The bundle with these contents."""
        return replace(self.bundle, parts=tuple(chosen.get(part.name, part) for part in self.bundle.parts))

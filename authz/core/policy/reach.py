"""Whether the conditions of a rule can hold together: a rule that can never apply is a mistake.

Law: it checks only against the catalogue, and only where the catalogue knows enough: a rule with operations, or
with DAGs on the inbound plane, concerns only routes of the catalogue.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from authz.core.catalogue import ANY_DAG, Catalogue
from authz.core.policy.operations import Words
from authz.core.policy.patterns import Glob
from authz.core.policy.rule_schema import RuleDraft
from authz.core.request.path import METHODS

_Found = tuple[tuple[str | int, ...], str, str]
_Verdict = tuple[str, str, str] | None
_NONE: Final = 0


@dataclass(frozen=True, slots=True)
class _Target:
    """One route of an operation: `segments` has None for a parameter; `rest` when the last one takes any rest."""

    operation: str
    method: str
    segments: tuple[str | None, ...]
    rest: bool
    dag_id: str
    narrowed: bool


class _Targets:
    """The catalogue's targets, as sets: numbers with one bit for each target."""

    def __init__(self, catalogue: Catalogue) -> None:
        targets = tuple(_each_target(catalogue))
        self.paths = Overlaps(targets)
        names = {target.operation for target in targets}
        self.operation = {name: _bits(target.operation == name for target in targets) for name in names}
        self.method = {method: _bits(target.method == method for target in targets) for method in METHODS}
        self.method["HEAD"] |= self.method["GET"]
        self.any_dag = _bits(target.dag_id == ANY_DAG for target in targets)
        self.narrowed = _bits(target.narrowed for target in targets)
        self.of_dags = _bits(bool(target.dag_id) and target.dag_id != ANY_DAG for target in targets)


_targets_of = cache(_Targets)  # making them takes as long as loading a small policy


class Reach:
    """Answers for the rules of one policy; equal questions are answered once.

    A rule costs a few steps and not one for each target, because sets of targets are numbers.
    """

    def __init__(self, catalogue: Catalogue, words: Words) -> None:
        self._catalogue = catalogue
        self._words = words
        self._targets = _targets_of(catalogue)
        self._named: dict[tuple[tuple[str, ...], bool], int] = {}
        self._verdicts: dict[object, _Verdict] = {}

    def unreachable(self, entry: RuleDraft) -> list[_Found]:
        """The condition with which the rule can no longer apply, if there is one."""
        if not entry.operations and self._only_never(entry):
            hint = "the catalogue marks them so that a rule must name the operation: add `operations`"
            return [(("paths",), "these paths are allowed only by name, so the rule can never apply", hint)]
        if not entry.operations and not (entry.dags and entry.plane == "inbound"):
            return []
        every_dag = any(glob.text == "*" for glob in entry.dags)
        question = (entry.operations, entry.methods, entry.paths, bool(entry.dags), every_dag, entry.deny)
        if question not in self._verdicts:
            self._verdicts[question] = self._judge(entry, every_dag=every_dag)
        verdict = self._verdicts[question]
        return [] if verdict is None else [((verdict[0],), verdict[1], verdict[2])]

    def _only_never(self, entry: RuleDraft) -> bool:
        """Whether an inbound allow rule has exact paths only, all of operations that a rule must name."""
        if entry.deny or entry.plane == "egress" or not entry.paths or not all(path.literal for path in entry.paths):
            return False
        paths = [tuple(map(str, path.segments)) for path in entry.paths]
        routes = [self._catalogue.match(path, method) for path in paths for method in entry.methods or METHODS]
        return not any(route is None or not self._catalogue.operations[route.operation].never for route in routes)

    def _by_name(self, words: tuple[str, ...], *, never: bool) -> int:
        """The targets of the operations that the words stand for."""
        found = self._named.get((words, never))
        if found is None:
            names = self._words.stand_for(words, never=never)
            found = self._named[words, never] = _union(self._targets.operation.get(name, _NONE) for name in names)
        return found

    def _judge(self, entry: RuleDraft, *, every_dag: bool) -> _Verdict:
        left = self._by_name(entry.operations or ("*",), never=entry.deny)
        if entry.methods:
            left &= _union(self._targets.method.get(method, _NONE) for method in entry.methods)
            if not left:
                return (
                    "methods",
                    "none of the rule's operations has these methods, so it can never apply",
                    "remove `methods`",
                )
        if entry.paths:
            left &= _union(self._targets.paths.of(path) for path in entry.paths)
            if not left and entry.operations:
                return "paths", "none of the rule's operations has these paths, so it can never apply", "remove `paths`"
        of_any = self._targets.any_dag if every_dag or entry.deny else self._targets.any_dag & self._targets.narrowed
        if entry.dags and not left & (self._targets.of_dags | of_any):
            hint = 'remove `dags`; for routes that reach any DAG write dags: ["*"]'
            return "dags", "nothing that the rule covers names a DAG like these, so it can never apply", hint
        return None


class _Shaped(Protocol):
    """What has the shape of paths: see `_Target`."""

    @property
    def segments(self) -> tuple[str | Glob | None, ...]: ...

    @property
    def rest(self) -> bool: ...


class Overlaps:
    """Which targets share a path with a pattern: at most one segment more than the longer of the two."""

    def __init__(self, targets: Sequence[_Shaped]) -> None:
        self._every = _bits(True for _ in targets)
        self._rest = _bits(target.rest for target in targets)
        longest = max(len(target.segments) for target in targets)
        # By number of segments: the targets that have exactly as many, and those that have more.
        self._exactly = [_bits(len(target.segments) == size for target in targets) for size in range(longest + 1)]
        self._longer = [_bits(len(target.segments) > size for target in targets) for size in range(longest + 1)]
        self._at = [_Position(targets, position) for position in range(longest)]

    def of(self, path: _Shaped) -> int:
        """The targets that the pattern overlaps."""
        left, over = self._every, _NONE
        for position, want in enumerate(path.segments):
            over |= left & self._exactly[position] & self._rest
            left &= self._longer[position]
            if not left:
                return over
            left &= self._at[position].fitting(want)
        size = len(path.segments)
        exactly = left & self._exactly[size] & (self._rest if path.rest else ~self._rest)
        return over | exactly | (left & self._longer[size] if path.rest else _NONE)


class _Position:
    """The targets that have a segment in this place, by its kind."""

    def __init__(self, targets: Sequence[_Shaped], position: int) -> None:
        self._parameter = _NONE
        self._words: dict[str, int] = {}
        for number, target in enumerate(targets):
            for have in target.segments[position : position + 1]:
                if isinstance(have, str):
                    self._words[have] = self._words.get(have, _NONE) | 1 << number
                else:
                    self._parameter |= 1 << number
        self._not_empty = self._parameter | _union(bits for word, bits in self._words.items() if word)

    def fitting(self, want: str | Glob | None) -> int:
        """The targets whose segment a pattern's segment may match."""
        if want is None:
            return self._not_empty
        if isinstance(want, str):
            return self._words.get(want, _NONE) | (self._parameter if want else _NONE)
        return self._parameter | _union(bits for word, bits in self._words.items() if word and want.matches(word))


def _bits(holds: Iterable[bool]) -> int:
    """The set of the positions at which something holds."""
    return sum(1 << position for position, held in enumerate(holds) if held)


def _union(sets: Iterable[int]) -> int:
    found = _NONE
    for one in sets:
        found |= one
    return found


def _each_target(catalogue: Catalogue) -> Iterator[_Target]:
    for operation in catalogue.operations.values():
        for route in operation.routes:
            words = route.template[1:].split("/")
            rest = words[-1].endswith(":path}")
            shape = tuple(None if word.startswith("{") else word for word in words)
            match = catalogue.match(tuple("x" if word is None else word for word in shape), route.method)
            dag_id, narrowed = (match.dag_id, match.narrowed) if match is not None else ("", False)
            yield _Target(operation.name, route.method, shape[:-1] if rest else shape, rest, dag_id, narrowed)

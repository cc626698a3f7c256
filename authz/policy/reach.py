"""Whether the conditions of a rule can hold together: a rule that can never apply is a mistake.

Law: judged against the catalogue alone, and only where the catalogue knows enough: a rule with operations, or with
DAGs on the inbound plane, concerns routes of the catalogue and no others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from authz.catalogue import ANY_DAG, Catalogue
from authz.path import METHODS
from authz.policy.operations import Words
from authz.policy.patterns import PathPattern, segment_matches
from authz.policy.schema import RuleDraft

_Found = tuple[tuple[str | int, ...], str, str]
_Verdict = tuple[str, str, str] | None
_TELLING: Final = 2  # the position of `dags` in /api/v2/dags


@dataclass(frozen=True, slots=True)
class _Target:
    """One route of an operation: `segments` has None for a parameter; `rest` when the last one takes any rest."""

    operation: str
    method: str
    segments: tuple[str | None, ...]
    rest: bool
    dag_id: str
    narrowed: bool


class Reach:
    """Answers for the rules of one policy; equal questions are answered once."""

    def __init__(self, catalogue: Catalogue, words: Words) -> None:
        self._catalogue = catalogue
        self._words = words
        self._targets = tuple(_each_target(catalogue))
        self._by_segment = _by_segment(self._targets)
        self._others = [target for target in self._targets if _may_have(target, "")]
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

    def _near(self, path: PathPattern) -> Sequence[_Target]:
        """The targets that the path may overlap: all of them, where it does not say which word stands there."""
        want = path.segments[_TELLING] if len(path.segments) > _TELLING else None
        return self._by_segment.get(want, self._others) if isinstance(want, str) else self._targets

    def _judge(self, entry: RuleDraft, *, every_dag: bool) -> _Verdict:
        words = entry.operations or ("*",)
        names = self._words.stand_for(words, never=entry.deny)
        left = [target for target in self._targets if target.operation in names]
        if entry.methods:
            left = [target for target in left if target.method in entry.methods or _is_head(target, entry)]
            if not left:
                return (
                    "methods",
                    "none of the rule's operations has these methods, so it can never apply",
                    "remove `methods`",
                )
        if entry.paths:
            near = {id(target) for path in entry.paths for target in self._near(path) if _overlap(target, path)}
            left = [target for target in left if id(target) in near]
            if not left and entry.operations:
                return "paths", "none of the rule's operations has these paths, so it can never apply", "remove `paths`"
        if entry.dags and not any(_concerns(target, entry, every_dag=every_dag) for target in left):
            hint = 'remove `dags`; for routes that reach any DAG write dags: ["*"]'
            return "dags", "nothing that the rule covers names a DAG like these, so it can never apply", hint
        return None


def _by_segment(targets: Sequence[_Target]) -> Mapping[str, Sequence[_Target]]:
    """The targets by the segment that tells most of them apart, for each word that stands there."""
    words = {target.segments[_TELLING] for target in targets if len(target.segments) > _TELLING} - {None}
    return {word: [target for target in targets if _may_have(target, word)] for word in words if word is not None}


def _may_have(target: _Target, word: str) -> bool:
    return len(target.segments) <= _TELLING or target.segments[_TELLING] in {None, word}


def _is_head(target: _Target, entry: RuleDraft) -> bool:
    return target.method == "GET" and "HEAD" in entry.methods


def _concerns(target: _Target, entry: RuleDraft, *, every_dag: bool) -> bool:
    if target.dag_id == ANY_DAG:
        return every_dag or entry.deny or target.narrowed
    return bool(target.dag_id)


def _each_target(catalogue: Catalogue) -> Iterator[_Target]:
    for operation in catalogue.operations.values():
        for route in operation.routes:
            words = route.template[1:].split("/")
            rest = words[-1].endswith(":path}")
            shape = tuple(None if word.startswith("{") else word for word in words)
            match = catalogue.match(tuple("x" if word is None else word for word in shape), route.method)
            dag_id, narrowed = (match.dag_id, match.narrowed) if match is not None else ("", False)
            yield _Target(operation.name, route.method, shape[:-1] if rest else shape, rest, dag_id, narrowed)


def _overlap(target: _Target, path: PathPattern) -> bool:
    """Whether a path exists that both the route and the pattern stand for. At most one segment more than the longer."""
    shorter = min(len(target.segments), len(path.segments))
    if not all(
        segment_matches(want, have) if have is not None else want != ""
        for want, have in zip(path.segments[:shorter], target.segments[:shorter], strict=True)
    ):
        return False
    if len(target.segments) == len(path.segments):
        return target.rest == path.rest
    return path.rest if len(path.segments) == shorter else target.rest

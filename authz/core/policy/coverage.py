"""Whether one rule covers another: the wide rule concerns every request that the narrow one concerns.

Law: careful. True only if it is certain; what the two rules alone do not show is "no". Which rules change nothing in a
policy is another question, which the prover answers exactly (`authz.core.proof.idle`).
"""

from collections.abc import Callable, Sequence
from itertools import starmap
from typing import TypeVar

from authz.core.policy.index import METHOD_KEYS
from authz.core.policy.operations import Words
from authz.core.policy.outbound import SATISFIED, is_tunnel
from authz.core.policy.patterns import Glob, HostPattern, PathPattern, segment_matches
from authz.core.policy.rules import Effect, Rule

_Entry = TypeVar("_Entry")


def covers(wide: Rule, narrow: Rule, words: Words) -> bool:
    """Whether `wide` applies wherever `narrow` does, if both are about the same callers."""
    return (
        narrow.planes <= wide.planes
        and (_tunnels(wide) if is_tunnel(narrow.methods) else _methods_and_paths(wide, narrow))
        and _each(wide.dags, narrow.dags, _glob)
        and _each(wide.tasks, narrow.tasks, _glob)
        and _each(wide.hosts, narrow.hosts, _host)
        and _each(wide.destinations, narrow.destinations, str.__eq__)
        and (wide.identity is None or (narrow.identity is not None and wide.identity in SATISFIED[narrow.identity]))
        and _operations(wide, narrow, words)
    )


def _operations(wide: Rule, narrow: Rule, words: Words) -> bool:
    meant = _meant(narrow, words)
    if wide.operations:
        return bool(meant) and meant <= _meant(wide, words)
    # An allow rule without operations is not about those that a rule must name.
    return wide.effect is Effect.DENY or meant <= words.stand_for(("*",), never=False)


def _meant(rule: Rule, words: Words) -> frozenset[str]:
    return words.stand_for(rule.operations, never=rule.effect is Effect.DENY)


def _methods_and_paths(wide: Rule, narrow: Rule) -> bool:
    return _each(wide.paths, narrow.paths, _path) and _each(wide.methods, narrow.methods, _method)


def _tunnels(wide: Rule) -> bool:
    """Whether a rule is about tunnels: deny rules always are (`authz.core.policy.outbound`)."""
    return wide.effect is Effect.DENY or is_tunnel(wide.methods)


def _each(wide: Sequence[_Entry], narrow: Sequence[_Entry], covered: Callable[[_Entry, _Entry], bool]) -> bool:
    """Whether the wide condition covers each entry of the narrow one; an absent condition covers all."""
    return not wide or (bool(narrow) and all(any(covered(want, have) for want in wide) for have in narrow))


def _method(wide: str, narrow: str) -> bool:
    return narrow in METHOD_KEYS and wide in METHOD_KEYS[narrow]


def _host(wide: HostPattern, narrow: HostPattern) -> bool:
    if wide == narrow:
        return True
    return wide.text.startswith("*") and wide.matches(narrow.text.removeprefix("*."))


def _glob(wide: Glob, narrow: Glob) -> bool:
    """Whether `wide` covers `narrow`: its literal parts are in the text of `narrow`, so in whatever that matches."""
    return wide.matches(narrow.text)


def _path(wide: PathPattern, narrow: PathPattern) -> bool:
    more = len(narrow.segments) - len(wide.segments)
    if (more < 0 or (more == 0 and not narrow.rest)) if wide.rest else (more != 0 or narrow.rest):
        return False
    return all(starmap(_segment, zip(wide.segments, narrow.segments, strict=False)))


def _segment(wide: str | Glob | None, narrow: str | Glob | None) -> bool:
    if wide is None:
        return narrow != ""
    if isinstance(wide, str):
        return wide == narrow
    if isinstance(narrow, Glob):
        return _glob(wide, narrow)
    return narrow is not None and segment_matches(wide, narrow)

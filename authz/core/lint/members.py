"""Finds a group, client or subject of a role that is nearly another one that the policy names: perhaps a slip.

Law: that of `authz.core.lint.review`. Only an identity provider knows which names there are. A slip gives a role to
no one, so that a deny rule or an entry of `never` about it holds in vain. Two names that several roles have are both
meant, and so are names whose difference is in digits or in a short word: there are many such groups.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, islice
from typing import Final

from authz.core.errors import Problem
from authz.core.policy import Policy, Role

_KINDS: Final = ("groups", "clients", "subjects")
_SHORT: Final = 4
_MOST_LIKE: Final = 100
"""Names that differ in one word only; of more, none is compared with another."""
_MOST_COMPARED: Final = 100_000
"""Pairs of names, each for some microseconds; a very large policy gets fewer notes."""
_WORDS: Final = re.compile(r"([\W_]+)")
_DOUBLED: Final = re.compile(r"(.)\1+")
_DIGITS: Final = re.compile(r"\d+")
_HINT: Final = "check how it is written; if both are right, there is nothing to do"


def near_members(policy: Policy) -> Iterator[Problem]:
    """Names of members that are nearly others, at the role that has the rarer one."""
    seen: set[tuple[int, int]] = set()
    for kind in _KINDS:
        having = _having(policy, kind)
        for pair in _pairs(having):
            rare, other = sorted(pair, key=lambda name: (len(having[name]), -having[name][0].line, name))
            [slip, *more], [role, *_] = having[rare], having[other]
            if more or (slip.team and role.team and slip.team != role.team):
                continue  # both are meant, or two teams have like names
            if (slip.line, slip.column) not in seen:
                seen.add((slip.line, slip.column))  # the same for another team is said
                message = (
                    f"the role `{slip.name}` has the {kind.removesuffix('s')} `{rare}`, and the role `{role.name}`"
                    f" at {policy.where(role)} has `{other}`"
                )
                yield Problem(*policy.place_of(slip), message, _HINT)


def _having(policy: Policy, kind: str) -> dict[str, list[Role]]:
    """The roles that have each name, in the order of the file."""
    found: dict[str, list[Role]] = defaultdict(list)
    for role in policy.roles.values():
        ended = {member.name for member in role.ended if member.kind == kind}
        for name in sorted(getattr(role, kind) | ended):
            found[name].append(role)
    return found


def _pairs(names: dict[str, list[Role]]) -> Iterator[tuple[str, str]]:
    """The names that are nearly each other, found among those that differ in one word."""
    like: dict[tuple[int, tuple[str, ...]], list[tuple[str, str]]] = defaultdict(list)
    for name in names:
        words = _WORDS.split(name.casefold())
        for at in range(0, len(words), 2):
            like[at, (*words[:at], "", *words[at + 1 :])].append((words[at], name))
    both = (pair for those in like.values() if len(those) <= _MOST_LIKE for pair in combinations(those, 2))
    near = ((one[1], other[1]) for one, other in islice(both, _MOST_COMPARED) if _nearly(one[0], other[0]))
    yield from dict.fromkeys(near)


def _nearly(one: str, other: str) -> bool:
    """Whether one word is a slip of the other: one letter, two exchanged ones, or another one that is doubled."""
    if one == other:
        return True  # the names differ in upper and lower case
    if min(len(one), len(other)) < _SHORT or one[0] != other[0] or _DIGITS.sub("", one) == _DIGITS.sub("", other):
        return False
    if _DOUBLED.sub(r"\1", one) == _DOUBLED.sub(r"\1", other):
        return True
    both = zip(one, other, strict=False)
    same = next((at for at, letters in enumerate(both) if letters[0] != letters[1]), min(len(one), len(other)))
    left, right = one[same:], other[same:]
    exchanged = left[:2] == right[1::-1] and left[2:] == right[2:]
    return exchanged or left[1:] == right[1:] or left[1:] == right or left == right[1:]

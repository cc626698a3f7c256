"""Lint for rules that are there for each team.

Law: that of `authz.core.lint.review`, which reports this. What a rule or role of the file has for all teams is found
for each of them, and reported once: the finding names the first team's.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Final, NamedTuple

from authz.core.errors import Problem
from authz.core.model import Plane
from authz.core.policy import Effect, Policy, Role, Rule
from authz.core.policy.operations import Words
from authz.core.policy.overlap import agree, symbol_beside
from authz.core.policy.patterns import Glob

_QUOTED: Final = re.compile("`([^`]+)`")
_DAG: Final = "{dag_id}"
_SHOWN: Final = 3
_EVERY: Final = "*"
_MOST_COMPARED: Final = 100
"""Patterns of teams that one pattern is compared with: there may be ten thousand of each."""


def about_teams(policy: Policy, words: Words) -> Iterator[Problem]:
    """Rules for each team that give each of them all DAGs."""
    for rule in policy.rules.values():
        if rule.team and not rule.dags and rule.effect is Effect.ALLOW and Plane.INBOUND in rule.planes:
            names = sorted(name for name in words.stand_for(rule.operations, never=False) if _names_dags(policy, name))
            if names:
                more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
                some = ", ".join(f"`{name}`" for name in names[:_SHOWN]) + more
                message = f"the rule `{rule.id}` gives {some} with every DAG, those of other teams too"
                hint = "add dags: team; give what concerns no DAG a rule of its own"
                yield Problem(*policy.place_of(rule), message, hint)


def across_teams(policy: Policy) -> Iterator[Problem]:
    """Allow rules for no team whose pattern has DAGs of a team, and others: perhaps a slip, or a team that came later.

    A pattern that is all within a team's is meant, and so is `*`. The team's own roles may have more than its DAGs.
    """
    owned = _Owned(policy)
    for rule in policy.rules.values():
        if rule.team or rule.effect is Effect.DENY or not owned.any:
            continue
        of_roles = {policy.roles[name].team for name in rule.roles if name in policy.roles}
        for glob in rule.dags:
            found = next((one for one in owned.crossed_by(glob) if of_roles != {one.team}), None)
            if found is not None:
                message = (
                    f"the rule `{rule.id}` names DAGs like `{glob.text}`, which are some of the team"
                    f" `{found.team}` (`{found.glob.text}`) and others"
                )
                hint = "if you mean that team's, write its pattern; if not, a narrower one"
                yield Problem(*policy.place_of(rule), message, hint)


class _Pattern(NamedTuple):
    """A pattern of one team."""

    team: str
    glob: Glob


class _Owned:
    """The patterns of teams, as their rules have them, by their beginnings."""

    def __init__(self, policy: Policy) -> None:
        teams: dict[str, set[str]] = {}
        globs = {}
        for rule in policy.rules.values():
            for glob in rule.dags if rule.team else ():
                teams.setdefault(glob.text, set()).add(rule.team)
                globs[glob.text] = glob
        self._by: dict[str, list[_Pattern]] = {}
        for text, of in teams.items():
            if len(of) == 1:  # else it is what the rule says for all teams
                self._by.setdefault(globs[text].parts[0], []).append(_Pattern(next(iter(of)), globs[text]))
        self._beginnings = sorted(self._by)
        self.any = bool(self._by)

    def crossed_by(self, glob: Glob) -> Iterator[_Pattern]:
        """The patterns of teams that share DAGs with this one, and do not have all of its DAGs."""
        if glob.text == _EVERY or len(glob.parts) == 1:
            return
        sample = glob.text.replace(_EVERY, symbol_beside(glob.text))
        for one in islice(self._agreeing(glob.parts[0]), _MOST_COMPARED):
            ends = agree(glob.parts[-1][::-1], one.glob.parts[-1][::-1])
            shared = ends if len(one.glob.parts) > 1 else glob.matches(one.glob.text)
            if shared and not one.glob.matches(sample):
                yield one

    def _agreeing(self, first: str) -> Iterator[_Pattern]:
        for size in range(len(first)):
            yield from self._by.get(first[:size], ())
        at = bisect_left(self._beginnings, first)
        for begun in takewhile(lambda one: one.startswith(first), islice(self._beginnings, at, None)):
            yield from self._by[begun]


def _names_dags(policy: Policy, operation: str) -> bool:
    return any(_DAG in route.template for route in policy.catalogue.operations[operation].routes)


class OncePerTeams:
    """Which problems are the first of their kind: the others say the same about another team's rule or role."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seen: set[tuple[int, int, str]] = set()
        made: list[Rule | Role] = [*policy.rules.values(), *policy.roles.values()]
        self._places = {(one.line, one.column) for one in made if one.team}

    def __call__(self, problem: Problem) -> bool:
        """Whether no problem before it says the same."""
        if problem.file != self._policy.file or (problem.line, problem.column) not in self._places:
            return True
        kind = problem.line, problem.column, _QUOTED.sub(self._as_written, problem.message)
        new = kind not in self._seen
        self._seen.add(kind)
        return new

    def _as_written(self, quoted: re.Match[str]) -> str:
        """A name as it is the same for each team."""
        word = quoted[1]
        rule, role = self._policy.rules.get(word), self._policy.roles.get(word)
        if rule is not None:
            return rule.written
        return f"{role.line}:{role.column}" if role is not None and role.team else word

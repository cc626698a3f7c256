"""Lint for rules that are there for each team.

Law: that of `authz.core.lint.review`, which reports this. What a rule or role of the file has for all teams is found
for each of them, and reported once: the finding names the first team's.
"""

import re
from collections.abc import Iterator
from typing import Final

from authz.core.errors import Problem
from authz.core.model import Plane
from authz.core.policy import Effect, Policy, Role, Rule
from authz.core.policy.coverage import Covering

_QUOTED: Final = re.compile("`([^`]+)`")
_DAG: Final = "{dag_id}"
_SHOWN: Final = 3


def about_teams(covering: Covering) -> Iterator[Problem]:
    """Rules for each team that give each of them all DAGs."""
    policy = covering.policy
    for rule in policy.rules.values():
        if rule.team and not rule.dags and rule.effect is Effect.ALLOW and Plane.INBOUND in rule.planes:
            names = sorted(name for name in covering.meant(rule) if rule.operations and _names_dags(policy, name))
            if names:
                some = ", ".join(f"`{name}`" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
                message = f"the rule `{rule.id}` gives {some} with every DAG, those of other teams too"
                hint = "add dags: team; give what concerns no DAG a rule of its own"
                yield Problem(*policy.place_of(rule), message, hint)


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

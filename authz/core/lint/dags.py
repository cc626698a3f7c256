"""Lint for a policy's rules about DAGs: limits without effect, and limits that deny more than they say.

Law: that of `authz.core.lint.review`, which reports this. The cost grows with the rules, not with their pairs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from authz.core.errors import Problem
from authz.core.lint.idle import is_limited
from authz.core.model import Plane
from authz.core.policy import AUTHENTICATED, BUILT_IN, Effect, Policy, Rule
from authz.core.policy.dags import EVERY
from authz.core.policy.operations import Words

_SHOWN: Final = 3
_UI: Final = "ui:read"
_SHELL: Final = "ui:shell"
_DAGS: Final = "dags:read"


def about_dags(policy: Policy, words: Words, moot: Collection[str]) -> Iterator[Problem]:
    """Every finding about DAGs; all are warnings. `moot` are rules that limit nothing, of which is said so already."""
    allowed = _Allowed(policy, words)
    yield from _like_regexes(policy)
    yield from _seeing_all(policy, words, moot)
    yield from _closed(policy, allowed, words)
    yield from _seen_in_ui(policy, allowed)


def _at(policy: Policy, rule: Rule, message: str, hint: str) -> Problem:
    return Problem(*policy.place_of(rule), message, hint)


class _Allowed:
    """The operations of allow rules, and what each role may do with all DAGs and with some."""

    def __init__(self, policy: Policy, words: Words) -> None:
        self._policy = policy
        self._words = words
        # Under every role that a caller with a role of the rule has, whatever other roles the caller has.
        self.everywhere: dict[str, set[str]] = defaultdict(set)
        self._reads_all: set[str] = set()
        self.reading: dict[str, str] = {}  # role → the rule by which it may read some DAGs
        named: dict[str, set[str]] = defaultdict(set)
        for rule in policy.rules.values():
            if rule.effect is Effect.ALLOW:
                self._add(rule, named)
        for role, names in named.items():  # each role once, however many rules name it
            for held in policy.roles[role].includes if role in policy.roles else {role}:
                self.everywhere[held] |= names
            self.everywhere[AUTHENTICATED] |= names

    def _add(self, rule: Rule, named: dict[str, set[str]]) -> None:
        names = self.operations(rule)
        for role in rule.roles:
            if is_limited(rule):
                if _DAGS in names:
                    self.reading.setdefault(role, rule.id)
                continue
            if _DAGS in names:
                self._reads_all.add(role)
            named[role] |= names

    def limit_of(self, role: str) -> str:
        """The rule that lets this role read only some DAGs; "" if it may read none or all."""
        held = self._policy.roles[role].includes if role in self._policy.roles else {role}
        return "" if not self._reads_all.isdisjoint({AUTHENTICATED, *held}) else self.reading.get(role, "")

    def operations(self, rule: Rule) -> frozenset[str]:
        """The operations that an allow rule names."""
        return self._words.stand_for(rule.operations, never=False)


def _like_regexes(policy: Policy) -> Iterator[Problem]:
    """Globs that use `.*` as in a regular expression: in a glob the dot is literal.

    In patterns of teams it ends the team's name, which has no dot.
    """
    for rule in (rule for rule in policy.rules.values() if not rule.team):
        for glob in (*rule.dags, *rule.tasks):
            if ".*" in glob.text:
                message = f"`{glob.text}` of the rule `{rule.id}` matches only ids with a dot in that place"
                hint = f"patterns are not regular expressions: write {glob.text.replace('.*', '*')} if no dot is meant"
                yield _at(policy, rule, message, hint)


def _seeing_all(policy: Policy, words: Words, moot: Collection[str]) -> Iterator[Problem]:
    """Roles that rules limit to some DAGs, but that see all because they include a built-in role."""
    reported: set[str] = set()
    for rule in policy.rules.values():
        if rule.effect is not Effect.ALLOW or not is_limited(rule) or Plane.INBOUND not in rule.planes:
            continue
        if rule.id in moot:
            continue
        for name in rule.roles:
            role = policy.roles.get(name)
            wide = [other for other in BUILT_IN if role is not None and other in role.includes and other != name]
            sees = [other for other in wide if _DAGS in words.stand_for((other,), never=False)]
            if role is None or not sees or name in reported or name in BUILT_IN:
                continue
            reported.add(name)
            message = (
                f"the role `{name}` sees every DAG, though `{rule.id}` limits it to some: it includes `{sees[-1]}`"
            )
            hint = f"to show only these, do not include `{sees[-1]}`: name it in the `operations` of `{rule.id}`"
            yield Problem(policy.file, role.line, role.column, message, hint)


def _closed(policy: Policy, allowed: _Allowed, words: Words) -> Iterator[Problem]:
    """Deny rules about DAGs that also deny what is allowed for all DAGs and Airflow does not narrow."""
    for rule in policy.rules.values():
        denies = rule.effect is Effect.DENY and rule.dags and Plane.INBOUND in rule.planes
        if not denies or rule.paths or rule.hosts:
            continue
        denied = words.stand_for(rule.operations or (EVERY,), never=True)
        granted = set().union(*(allowed.everywhere.get(role, ()) for role in rule.roles or (AUTHENTICATED,)))
        names = sorted(_reaching(policy, denied & granted, rule.methods))
        if names:
            some = ", ".join(f"`{name}`" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            message = (
                f"the rule `{rule.id}` also denies lists and bulk requests of {some}: Airflow does not narrow them"
            )
            yield _at(policy, rule, message, "name the `operations` that it is for, if these must stay possible")


def _reaching(policy: Policy, names: Iterable[str], methods: tuple[str, ...]) -> Iterator[str]:
    """The operations with a route that may reach any DAG and is not narrowed."""
    for name in names:
        routes = policy.catalogue.operations[name].routes
        if any(route.open and (not methods or route.method in methods) for route in routes):
            yield name


def _seen_in_ui(policy: Policy, allowed: _Allowed) -> Iterator[Problem]:
    """Rules that show all DAGs in the UI's overviews to callers who may read only some."""
    for rule in policy.rules.values():
        if rule.effect is not Effect.ALLOW or is_limited(rule) or _UI not in allowed.operations(rule):
            continue
        for role in rule.roles:
            if limit := allowed.limit_of(role):
                message = f"the rule `{rule.id}` shows every DAG in the UI to `{role}`, which `{limit}` limits to some"
                yield _at(policy, rule, message, f"give `{_UI}` with the same `dags`; `{_SHELL}` is about no DAG")

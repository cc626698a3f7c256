"""The confines of a file that `include` names: what its rules may be about, and for which callers.

Law: exact. The confines are rules themselves, the widest that the file may have. A rule is confined if, on each of its
planes, one of them of the same effect applies wherever the rule does (`authz.core.policy.coverage`): to lists of DAGs
that are not narrowed (`~`) and to calls whose run is not sure as well. Its roles are compared by name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.core.model import Level, Plane
from authz.core.policy.coverage import covers
from authz.core.policy.operations import Words
from authz.core.policy.outbound import is_tunnel
from authz.core.policy.patterns import Glob
from authz.core.policy.rule_compiler import compile_rule
from authz.core.policy.rule_schema import RuleDraft
from authz.core.policy.rules import Effect, Rule, of_file
from authz.core.policy.team_schema import TEAM_DAGS, WORD
from authz.core.request.path import CONNECT

_STAND_IN: Final = "left-out"
_SHOWN: Final = 5
_KEYS: Final = ("dags", "operations", "destinations", "identity")
_WHATS: Final = {
    "dags": ("DAGs", f"name some of them, or write dags: {WORD} if the file has a team"),
    "operations": ("operations", "name some of them under `operations`"),
    "destinations": ("destinations", "name some of them under `destinations`"),
}

_Found = tuple[tuple[str | int, ...], str, str]
"""Where in the rule, what, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confines:
    """Those of the file `name`. Without `operations`: all on these DAGs; without `destinations`: nothing on egress."""

    name: str
    roles: tuple[str, ...] = ()
    dags: tuple[Glob, ...] = ()
    operations: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()

    def widest(self, effect: Effect) -> Iterator[Rule]:
        """The widest rules of this effect that the file may have. A deny rule of it has roles in every case."""
        made = Rule(id=_id(self.name), effect=effect, planes=frozenset({Plane.INBOUND}))
        if self.roles and (self.dags or self.operations):
            yield replace(made, roles=self.roles, dags=self.dags, operations=self.operations)
        if not self.destinations:
            return
        egress = replace(
            made,
            id=_id(self.name, Plane.EGRESS),
            planes=frozenset({Plane.EGRESS}),
            destinations=self.destinations,
        )
        if effect is Effect.DENY:
            yield from [replace(egress, roles=self.roles)] if self.roles else []
            return
        for methods in ((), (CONNECT,)):
            named = replace(egress, id=_id(self.name, Plane.EGRESS, *methods), methods=methods)
            if self.roles:
                yield replace(named, roles=self.roles)
            if self.dags:  # the DAG of a run is sure from this level on, and such runs have no roles
                runs = _id(self.name, Plane.EGRESS, *methods, "runs")
                yield replace(named, id=runs, dags=self.dags, identity=Level.VERIFIED_BEARER)

    def completed(self, entry: RuleDraft) -> RuleDraft:
        """The entry with what these confines give it: the roles of a deny rule, and the DAGs of the team."""
        if entry.deny and not entry.roles and not entry.public:
            entry = replace(entry, roles=self.roles)
        return replace(entry, dags=self.dags) if entry.dags == TEAM_DAGS and self.dags else entry

    def outside(self, entry: RuleDraft, words: Words) -> Iterator[_Found]:
        """Why a completed entry is not within the confines."""
        if entry.public:
            yield ("public",), "a public rule is for everyone, and this file has rules for its roles", "remove it"
            return
        if entry.dags == TEAM_DAGS:
            hint = "ask for `team` or `dags` in its entry of `include`"
            yield ("dags",), "the confines of this file have no DAGs", hint
            return
        for position, role in enumerate(entry.roles):
            if role not in self.roles:
                yield ("roles", position), f"`{role}` is not a role of this file", f"it may name {_listed(self.roles)}"
        if entry.deny and not entry.roles:
            hint = "ask for `roles` in its entry of `include`"
            yield (), "a deny rule of this file is about its roles, and it has none", hint
            return
        rule = compile_rule(entry, (0, 0))
        for plane in sorted(rule.planes):
            if not (plane is Plane.EGRESS and entry.operations):  # operations are inbound: there it never applies
                yield from self._on(plane, replace(rule, planes=frozenset({plane})), words)

    def _on(self, plane: Plane, rule: Rule, words: Words) -> Iterator[_Found]:
        about_runs = "dags" if rule.dags else "tasks"
        if plane is Plane.EGRESS and rule.effect is Effect.DENY and (rule.dags or rule.tasks):
            message = "runs have no roles, so a deny rule for roles cannot be about them"
            yield (about_runs,), message, f"remove `{about_runs}`, or add plane: inbound"
            return
        tunnel = is_tunnel(rule.methods) and rule.effect is Effect.ALLOW
        wide = next(
            (
                one
                for one in self.widest(rule.effect)
                if one.planes == rule.planes and bool(one.roles) == bool(rule.roles) and bool(one.methods) == tunnel
            ),
            None,
        )
        if wide is None:
            other = Plane.INBOUND if plane is Plane.EGRESS else Plane.EGRESS
            message = f"the confines of this file have nothing for this rule on the {plane} plane"
            yield (), message, f"add plane: {other}"
            return
        for key in _KEYS:
            yield from _beyond(key, wide, rule if key == "operations" else replace(rule, operations=()), words)


def _id(name: str, *words: str) -> str:
    """Ids of the widest rules of a file; each is another one."""
    return of_file("-".join([_STAND_IN, *words]), name)


def _beyond(key: str, wide: Rule, rule: Rule, words: Words) -> Iterator[_Found]:
    """Where one condition of a rule is wider than that of the confines."""
    others: dict[str, Any] = {other: None if other == "identity" else () for other in _KEYS if other != key}
    only = replace(wide, **others)
    if covers(only, rule, words):
        return
    if key == "identity":
        message = "a run that is only asserted may be one of another team"
        yield (key,), message, f"write identity: {Level.VERIFIED_BEARER}, or {Level.VERIFIED}"
        return
    have, want = getattr(rule, key), getattr(wide, key)
    what, hint = _WHATS[key]
    if not want:  # an operation that a rule must name, where the confines name none
        hint = "the `operations` of the file's entry of `include` must name it"
    for position, item in enumerate(have):
        alone: dict[str, Any] = {key: (item,)}
        if not covers(only, replace(rule, **alone), words):
            text = item.text if isinstance(item, Glob) else item
            beyond = f": {_listed(want)}" if want else ""
            yield (key, position), f"`{text}` is not within the {what} of this file{beyond}", hint
    if not have:
        yield (), f"the rule has no `{key}`, so it is about more than this file may: {_listed(want)}", hint


def _listed(items: tuple[str | Glob, ...]) -> str:
    texts = [f"`{item.text if isinstance(item, Glob) else item}`" for item in items[:_SHOWN]]
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return (", ".join(texts) or "none") + more

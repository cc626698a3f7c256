"""Lint of a policy against its settings: finds rules about egress routes that do not exist.

Law: that of `authz.core.lint.review`, except that two findings are errors: a destination that the settings lack,
because the policy's own loader cannot know it, and a deny rule that can never apply. If the settings have a route to
any host, rules by host are not checked.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.documents.wording import Vocabulary, near
from authz.core.errors import Problem
from authz.core.lint.egress_map import WayOut, WaysOut, overlap
from authz.core.lint.review import Finding, Severity
from authz.core.lint.teams import OncePerTeams
from authz.core.model import Level, Plane
from authz.core.policy import Effect, Policy, Rule
from authz.core.policy.outbound import SATISFIED, is_tunnel
from authz.core.public_addresses import is_never_a_service, is_not_public


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The destinations of the settings by name, made once for all rules: a policy may have a hundred thousand."""

    ways: dict[str, WayOut]
    names: Vocabulary

    def about(self, rule: Rule) -> list[WayOut]:
        """The destinations that the rule's calls may reach."""
        named = [self.ways[name] for name in rule.destinations if name in self.ways]
        return [way for way in (named if rule.destinations else self.ways.values()) if _serves(way, rule)]

    def unknown(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """The rule's destinations that the settings do not have, each with a hint."""
        for name in rule.destinations:
            if name not in self.ways:
                yield name, self.names.near(name) or _some(self.ways)


_MOST_NAMED: Final = 10
_NEVER: Final = (
    "remove it: Envoy never reaches a loopback, link-local or metadata address by its Host; for a base URL name the"
    " destination"
)
_PRIVATE: Final = "other hosts must have public addresses: make this service a destination, or remove it"


def against(policy: Policy, ways: WaysOut) -> list[Finding]:
    """Every finding, sorted by place."""
    known = _known(ways)
    once = OncePerTeams(policy)
    each = (finding for rule in policy.rules.values() for finding in _rule(policy, rule, ways, known))
    found = [finding for finding in each if once(finding.problem)]
    return sorted([*found, *_unused(policy, ways, known)])


def unknown(rule: Rule, ways: WaysOut) -> list[tuple[str, str]]:
    """The destinations of a rule, or of an entry of `never`, that the settings do not have, each with a hint."""
    return [*_known(ways).unknown(rule)] if rule.destinations else []


def _known(ways: WaysOut) -> _Known:
    by_name = {way.name: way for way in ways.destinations}
    return _Known(ways=by_name, names=Vocabulary(by_name))


def _rule(policy: Policy, rule: Rule, ways: WaysOut, known: _Known) -> Iterator[Finding]:
    if Plane.EGRESS not in rule.planes:
        return
    unknown = [*known.unknown(rule)]
    for name, hint in unknown:
        yield _at(policy, rule, f"the rule `{rule.id}` names an unknown destination `{name}`", hint, Severity.ERROR)
    if not unknown and rule.planes == {Plane.EGRESS}:
        yield from _leads_nowhere(policy, rule, ways, known)
    if rule.identity is not None:
        yield from _too_sure(policy, rule, ways)
    elif rule.effect is Effect.DENY and (rule.dags or rule.tasks) and ways.surest is not Level.VERIFIED:
        message = f"the rule `{rule.id}` denies every call that it covers, whichever run makes it"
        hint = "with these settings the run of a call is never certain: see `run_identity.signing_key_isolated`"
        yield _at(policy, rule, message, hint, Severity.WARNING)


def _some(names: Collection[str]) -> str:
    """The first names: a hint need not list hundreds."""
    listed = sorted(names)[:_MOST_NAMED]
    more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
    return "the settings have " + (", ".join(listed) or "none") + more


def _leads_nowhere(policy: Policy, rule: Rule, ways: WaysOut, known: _Known) -> Iterator[Finding]:
    """Rules that can never apply, because Envoy has no such route."""
    tunnel = is_tunnel(rule.methods)
    reached = known.about(rule)
    at_other_hosts = bool(ways.others) and not rule.destinations and not tunnel
    if (rule.hosts or rule.destinations) and not reached and not at_other_hosts:
        of = "of its destinations" if rule.destinations else "of the settings"
        message = f"the rule `{rule.id}` can never apply: no destination {of} serves its hosts"
        severity = Severity.ERROR if rule.effect is Effect.DENY else Severity.WARNING
        special = all(is_never_a_service(pattern.text) for pattern in rule.hosts) and rule.hosts
        yield _at(policy, rule, message, _NEVER if special else "add the host to the destination's `hosts`", severity)
    elif rule.effect is Effect.DENY and not at_other_hosts:
        yield from _empty_hosts(policy, rule, reached)
    elif at_other_hosts:
        yield from _not_public(policy, rule, reached)
    elif tunnel and rule.effect is Effect.ALLOW and not any(way.tunnel for way in reached):
        message = f"the rule `{rule.id}` allows tunnels that the settings do not"
        yield _at(policy, rule, message, "set `tunnel: true` for the destination in the settings", Severity.WARNING)


def _empty_hosts(policy: Policy, rule: Rule, reached: Sequence[WayOut]) -> Iterator[Finding]:
    """Deny rules with several hosts, one of which is misspelt and so denies nothing."""
    served = sorted({host for way in reached for host in way.hosts})
    for pattern in rule.hosts:
        if not any(overlap(pattern.text, host) for host in served):
            message = f"the deny rule `{rule.id}` names the host `{pattern.text}`, which no destination serves"
            yield _at(policy, rule, message, near(pattern.text, served) or "remove it", Severity.ERROR)


def _not_public(policy: Policy, rule: Rule, reached: Sequence[WayOut]) -> Iterator[Finding]:
    """Allow rules for addresses that are no destinations: of other hosts, Envoy connects to public addresses only."""
    served = {host for way in reached for host in way.hosts}
    for pattern in rule.hosts if rule.effect is Effect.ALLOW else ():
        if is_not_public(pattern.text) and pattern.text not in served:
            message = f"the rule `{rule.id}` names `{pattern.text}`, which Envoy never reaches"
            hint = _NEVER if is_never_a_service(pattern.text) else _PRIVATE
            yield _at(policy, rule, message, hint, Severity.WARNING)


def _too_sure(policy: Policy, rule: Rule, ways: WaysOut) -> Iterator[Finding]:
    if ways.surest is None:
        message = f"the rule `{rule.id}` can allow nothing: with these settings no call comes from a run"
        yield _at(policy, rule, message, "set `run_identity`", Severity.WARNING)
    elif rule.identity not in SATISFIED[ways.surest]:
        message = (
            f"the rule `{rule.id}` can allow nothing: it asks for `{rule.identity}`,"
            f" and with these settings a run is `{ways.surest}` at most"
        )
        hint = "see `run_identity.signing_key_isolated`; or write identity: asserted, which any DAG author can claim"
        yield _at(policy, rule, message, hint, Severity.WARNING)


def _unused(policy: Policy, ways: WaysOut, known: _Known) -> Iterator[Finding]:
    allowing = [r for r in policy.rules.values() if r.effect is Effect.ALLOW and Plane.EGRESS in r.planes]
    used = {way.name for rule in allowing for way in known.about(rule)}
    for way in ways.destinations:
        if way.name not in used:
            message = f"no rule allows anything at the destination `{way.name}`"
            yield Finding(
                problem=Problem(ways.file, 0, 0, message, f"add a rule with destinations: [{way.name}], or remove it"),
                severity=Severity.NOTE,
            )


def _serves(way: WayOut, rule: Rule) -> bool:
    """Whether the destination has a host that the rule is about."""
    return not rule.hosts or any(overlap(pattern.text, host) for pattern in rule.hosts for host in way.hosts)


def _at(policy: Policy, rule: Rule, message: str, hint: str, severity: Severity) -> Finding:
    return Finding(problem=Problem(*policy.place_of(rule), message, hint), severity=severity)

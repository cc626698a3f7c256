"""Checks that policy and settings agree: one check, for the server and for lint.

Law: a typing mistake in a name must not leave a deny rule without effect. The server refuses an error found here like
any other mistake in the policy: the current policy stays in force.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from authz import settings as files
from authz.core.errors import Problem
from authz.core.lint import destinations
from authz.core.lint.egress_map import WayOut, WaysOut, overlap
from authz.core.lint.review import Finding, Severity
from authz.core.lint.teams import OncePerTeams
from authz.core.model import Level, Plane
from authz.core.policy import Effect, Policy, Rule
from authz.core.policy.operations import Words
from authz.core.proof.never import Invariant

_LISTED: Final = "dags:read"  # one DAG, and the list of them


def mistakes(policy: Policy, settings: files.Settings, file: str, never: Iterable[Invariant] = ()) -> list[Problem]:
    """Why a gate with these settings must not serve this policy, sorted by place; `file` is the settings file.

    `never` are the policy's entries of that name: one about a destination that is not there would hold in vain.
    """
    found = findings(policy, settings, file, never)
    return [one.problem for one in found if one.severity is Severity.ERROR]


def findings(policy: Policy, settings: files.Settings, file: str, never: Iterable[Invariant] = ()) -> list[Finding]:
    """All findings when policy, its entries of `never` and settings are read together, sorted by place."""
    ways = ways_out(settings, file)
    found = destinations.against(policy, ways) if ways is not None else []
    found += _in_vain(never, ways) if ways is not None else ()
    once = OncePerTeams(policy)
    unserved = (finding for finding in _unserved(policy, settings) if once(finding.problem))
    return sorted([*found, *unserved, *_lists(policy, settings), *_strangers(policy, settings, file)])


def has_ways_out(settings: files.Settings) -> bool:
    """Whether the settings say which destinations there are."""
    return settings.envoy is not None and settings.envoy.egress is not None


def _in_vain(never: Iterable[Invariant], ways: WaysOut) -> Iterator[Finding]:
    """Entries of `never` about destinations that the settings do not have."""
    for one in never:
        for name, hint in destinations.unknown(one.rule, ways):
            message = f"the entry `{one.name}` of `never` names an unknown destination `{name}`"
            problem = Problem(one.file, one.line, one.column, message, hint)
            yield Finding(problem=problem, severity=Severity.ERROR)


def _strangers(policy: Policy, settings: files.Settings, file: str) -> Iterator[Finding]:
    """Decision clients of issuers that the policy lacks: each of their questions is a 401."""
    authzen = settings.http_check.authzen if settings.http_check is not None else None
    for client in authzen.decision_clients if authzen is not None else ():
        if client.issuer not in policy.issuers:
            message = f"the decision client `{client.name}` is of `{client.issuer}`, which is no issuer of the policy"
            problem = Problem(file, 0, 0, message, f"its issuers: {', '.join(policy.issuers) or 'none'}")
            yield Finding(problem=problem, severity=Severity.WARNING)


def _lists(policy: Policy, settings: files.Settings) -> Iterator[Finding]:
    """Rules limited to some DAGs, with an Airflow that lists all DAGs: the gate denies every list."""
    inbound = settings.envoy.inbound if settings.envoy is not None else None
    if inbound is None or any(upstream.narrows_dags for upstream in inbound.upstreams):
        return
    words = Words(policy.catalogue)
    limited = (rule for rule in policy.rules.values() if rule.effect is Effect.ALLOW and rule.dags and rule.operations)
    listing = (rule for rule in limited if _LISTED in words.stand_for(rule.operations, never=False))
    if (rule := next(listing, None)) is not None:
        message = f"the rule `{rule.id}` is limited to some DAGs, and no upstream limits its lists, so lists are denied"
        hint = "set `narrows_dags: true` for an Airflow with `AuthzAuthManager`, and render Envoy's configuration again"
        yield _at(policy, rule, message, hint, Severity.WARNING)


def _at(policy: Policy, rule: Rule, message: str, hint: str, severity: Severity) -> Finding:
    return Finding(problem=Problem(*policy.place_of(rule), message, hint), severity=severity)


def _unserved(policy: Policy, settings: files.Settings) -> Iterator[Finding]:
    """Inbound deny rules for hosts that no upstream has."""
    inbound = settings.envoy.inbound if settings.envoy is not None else None
    served = [host for upstream in inbound.upstreams for host in upstream.hosts] if inbound is not None else ["*"]
    if "*" in served:
        return
    for rule in policy.rules.values():
        if rule.effect is not Effect.DENY or rule.planes != {Plane.INBOUND}:
            continue
        for host in rule.hosts:
            if not any(overlap(host.text, other) for other in served):
                message = f"the deny rule `{rule.id}` names the host `{host.text}`, which no upstream serves"
                hint = "the upstreams serve " + ", ".join(served)
                yield _at(policy, rule, message, hint, Severity.ERROR)


def ways_out(settings: files.Settings, file: str) -> WaysOut | None:
    """The egress routes in the settings of a file; None if they have none."""
    egress = settings.envoy.egress if settings.envoy is not None else None
    if egress is None:
        return None
    return WaysOut(
        file=file,
        listen=egress.listen,
        destinations=tuple(
            WayOut(
                name=destination.name,
                hosts=destination.hosts,
                ports=destination.ports,
                listen=destination.listen or "",
                path=destination.path or "",
                tunnel=destination.tunnel,
            )
            for destination in egress.destinations
        ),
        others=egress.dynamic.ports if egress.dynamic is not None else (),
        surest=_surest(settings),
    )


def _surest(settings: files.Settings) -> Level | None:
    runs = settings.run_identity
    if runs is None:
        return None
    return Level.VERIFIED if runs.issues and runs.signing_key_isolated else Level.ASSERTED

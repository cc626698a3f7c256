"""How long an answer holds, and what ended before it: for `authz check` and `authz explain`.

Law: this decides nothing. It says what has an end, or had one, among the rules that apply and the memberships that
give their roles.
"""

from collections.abc import Iterator

from authz.core.decision.conditions import Condition, Facts, conditions
from authz.core.decision.decide import route_of
from authz.core.documents.moments import moment_text
from authz.core.model import Claims, Decision, Deny, Identity, Request
from authz.core.policy import NEVER, Policy, Rule
from authz.core.policy.rules import Member


def condition(rule: Rule, policy: Policy) -> Iterator[Condition]:
    """The end of a rule as one of its conditions; none if it has no end."""
    if rule.until == NEVER:
        return
    ended = rule.id not in policy.rules
    text = f"ended on {moment_text(rule.until)}" if ended else f"until {moment_text(rule.until)}"
    yield Condition(name="until", holds=not ended, text=text)


def lifetime(request: Request, identity: Identity | None, decision: Decision, policy: Policy) -> Iterator[str]:
    """Until when what decided is in force; for a denial, also what has ended and would have applied."""
    rule = policy.rules.get(decision.rule)
    if rule is not None and rule.until < NEVER:
        yield f"the rule `{rule.id}` holds until {moment_text(rule.until)}"
    if rule is not None and identity is not None:
        for role in policy.roles.values():
            for member in role.ends if not role.includes.isdisjoint(rule.roles) else ():
                if _is(member, identity.claims):
                    yield f"the {_named(member)} has the role `{role.name}` until {moment_text(member.until)}"
    if isinstance(decision, Deny):
        yield from _ended(request, identity, policy)


def _ended(request: Request, identity: Identity | None, policy: Policy) -> Iterator[str]:
    facts = Facts(request=request, identity=identity, route=route_of(request, policy), policy=policy)
    for rule in policy.ended:
        if request.plane in rule.planes and all(found.holds for found in conditions(rule, facts)):
            yield f"the rule `{rule.id}` would have applied: it ended on {moment_text(rule.until)}"
    for role in policy.roles.values() if identity is not None else ():
        for member in role.ended:
            if identity is not None and _is(member, identity.claims):
                yield f"the {_named(member)} had the role `{role.name}`: that ended on {moment_text(member.until)}"


def _is(member: Member, claims: Claims) -> bool:
    """Whether a token with these claims is this member."""
    if member.kind == "groups":
        return member.name in claims.groups
    return member.name == (claims.client_id if member.kind == "clients" else claims.subject)


def _named(member: Member) -> str:
    return f"{member.kind.removesuffix('s')} `{member.name}`"

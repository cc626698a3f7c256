"""Checks entries of `grantable`: names that are there twice, roles that are not defined, entries that give nothing.

Law: what an entry allows as a rule is checked with all other rules (`authz.core.policy.rule_checks`), and whether
anyone can have a role that it names with all other roles (`authz.core.policy.roles`).
"""

from collections.abc import Iterator

from authz.core.errors import Problem
from authz.core.policy.draft import Draft
from authz.core.policy.grant_schema import GrantableDraft
from authz.core.policy.patterns import TEAM
from authz.core.policy.rule_checks import Found, Known, unknown_roles
from authz.core.policy.rules import AUTHENTICATED, of_grant


def check_grantable(draft: Draft) -> Iterator[Problem]:
    """Every mistake of entries of `grantable` that is not one of their rules."""
    known = Known(draft)
    first: dict[str, int] = {}
    of_teams = {rule.id for loc, rule in draft.rules if rule.team}
    for index, entry in draft.grantable.items():
        found = [*_roles(entry, draft, known)]
        if first.setdefault(entry.id, index) != index:
            line = draft.document.place(("grantable", first[entry.id]))[0]
            hint = f"the first is on line {line}: choose another id"
            found.append((("id",), f"the entry `{entry.id}` is there twice", hint))
        elif of_grant(entry.id) in of_teams:
            message = f"its rule is `{of_grant(entry.id)}`, which is the id of a team's rule too"
            found.append((("id",), message, "choose another id, here or for the rule `grant`"))
        if not entry.roles and entry.rule is None and ("grantable", index) not in draft.partial:
            hint = "add roles: [...], or what an allow rule has, such as operations: [dag_runs:create]"
            found.append(((), f"the entry `{entry.id}` gives nothing", hint))
        for inner, message, hint in found:
            yield draft.document.problem(("grantable", index, *inner), message, hint)


def _roles(entry: GrantableDraft, draft: Draft, known: Known) -> Iterator[Found]:
    for key in ("requesters", "approvers", "roles"):
        named = []
        for position, role in enumerate(getattr(entry, key)):
            if TEAM in role:
                hint = "name the role of one team; each team has an entry of its own"
                yield (key, position), f"`{TEAM}` stands for no team here", hint
            elif key == "roles" and role == AUTHENTICATED:
                yield (key, position), f"every caller with a valid token has `{role}`", "remove it"
            else:
                named.append((position, role))
        yield from unknown_roles(key, named, draft, known)
